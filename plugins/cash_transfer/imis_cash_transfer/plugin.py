"""Cash transfers as a plugin: all its hook implementations on one page. They import lazily and compute nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from imis_core.api import Manifest, hookimpl

if TYPE_CHECKING:
    import sqlalchemy as sa

    from imis_core.api import (
        ChunkedJob,
        Command,
        Context,
        PayrollApproved,
        PayrollRun,
        PersonMove,
        Query,
        Report,
        SchemeType,
    )


@hookimpl
def imis_plugin() -> Manifest:
    from imis_cash_transfer import __version__
    from imis_cash_transfer.settings import CashTransferSettings

    return Manifest(
        name="cash_transfer",
        version=__version__,
        kernel=">=0.1,<0.2",
        nouns={"targeting": 1010, "cash_transfer_beneficiaries": 1011, "cash_transfer_scores": 1012},
        migrations="imis_cash_transfer.migrations",
        tables="imis_cash_transfer.tables",
        kernel_revision="core_0002",
        settings=CashTransferSettings,
    )


@hookimpl
def imis_register_scheme_types() -> Iterable[SchemeType]:
    from imis_cash_transfer import tables, terms
    from imis_core.api import SchemeType

    return [
        SchemeType(
            name="cash_transfer",
            terms=terms.CashTransferTerms,
            check_terms=terms.check_terms,
            location_codes=terms.location_codes,
            frequency=terms.frequency,
            version_users=(tables.enrolments, tables.scores),
        )
    ]


@hookimpl
def imis_register_commands() -> Iterable[Command]:
    from imis_cash_transfer import enrolling, reviews, scores, standing

    return [*scores.COMMANDS, *enrolling.COMMANDS, *standing.COMMANDS, *reviews.COMMANDS]


@hookimpl
def imis_register_queries() -> Iterable[Query]:
    from imis_cash_transfer import enrolling, standing

    return [*enrolling.QUERIES, *standing.QUERIES]


@hookimpl
def imis_payroll_lines_sql(run: PayrollRun) -> Sequence[sa.Select[Any]]:
    from imis_cash_transfer.payroll import lines

    return lines(run)


@hookimpl
def imis_on_payroll_approved(context: Context, event: PayrollApproved) -> None:
    from imis_cash_transfer.telling import begin

    begin(context, event)


@hookimpl
def imis_register_jobs() -> Iterable[ChunkedJob]:
    from imis_cash_transfer.telling import JOB

    return [JOB]


@hookimpl
def imis_person_merge_sql() -> Iterable[PersonMove]:
    from imis_cash_transfer.tables import PERSON_MOVES

    return PERSON_MOVES


@hookimpl
def imis_register_reports() -> Iterable[Report]:
    from imis_core.api import Report

    columns = ("package", "beneficiary", "state", "since")
    return [
        Report("cash_transfer_beneficiaries", "Beneficiaries of cash transfers", "targeting.beneficiaries", columns)
    ]
