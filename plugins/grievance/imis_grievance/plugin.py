"""Grievances as a plugin: all its hook implementations on one page. They import lazily and compute nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from imis_core.api import Manifest, hookimpl

if TYPE_CHECKING:
    from imis_core.api import Command, HoldRule, Job, PayrollHolds, PersonMove, Query, Report


@hookimpl
def imis_plugin() -> Manifest:
    from imis_grievance import __version__

    return Manifest(
        name="grievance",
        version=__version__,
        kernel=">=0.1,<0.2",
        nouns={"grievances": 1030, "grievance_categories": 1031},
        migrations="imis_grievance.migrations",
        tables="imis_grievance.tables",
        kernel_revision="core_0002",
    )


@hookimpl
def imis_register_commands() -> Iterable[Command]:
    from imis_grievance import categories, handling, opening

    return [
        categories.define_category,
        opening.open_grievance,
        handling.move,
        handling.assign,
        handling.comment,
        handling.resolve,
        handling.close,
        handling.reopen,
        handling.appeal,
    ]


@hookimpl
def imis_register_queries() -> Iterable[Query]:
    from imis_grievance import categories, queries

    return [categories.list_categories, queries.show, queries.list_grievances, queries.performance]


@hookimpl
def imis_register_jobs() -> Iterable[Job]:
    from imis_grievance.escalation import JOB

    return [JOB]


@hookimpl
def imis_register_reports() -> Iterable[Report]:
    from imis_core.api import Report

    return [Report("grievances_in_time", "Grievances dealt with in time", "grievances.performance")]


@hookimpl
def imis_person_merge_sql() -> Iterable[PersonMove]:
    from imis_core.api import PersonMove
    from imis_grievance.tables import grievances

    return [PersonMove(grievances, "person"), PersonMove(grievances, "reporter_person")]


@hookimpl
def imis_payroll_hold_sql(holds: PayrollHolds) -> Sequence[HoldRule]:
    from imis_grievance.entitlements import hold_rules

    return hold_rules(holds)
