"""Employment injury insurance as a plugin: all its hook implementations on one page. They import lazily."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from imis_core.api import Manifest, hookimpl

if TYPE_CHECKING:
    import sqlalchemy as sa

    from imis_core.api import Command, PayrollRun, PersonMove, Query, SchemeType

NOUNS = {"eii": 1020, "accidents": 1021, "awards": 1022, "lumps": 1023}


@hookimpl
def imis_plugin() -> Manifest:
    from imis_eii import __version__

    return Manifest(
        name="eii",
        version=__version__,
        kernel=">=0.1,<0.2",
        nouns=NOUNS,
        migrations="imis_eii.migrations",
        tables="imis_eii.tables",
        kernel_revision="core_0002",
    )


@hookimpl
def imis_register_scheme_types() -> Iterable[SchemeType]:
    from imis_core.api import SchemeType
    from imis_eii import checks, medical, tables, terms
    from imis_eii.rules import contributions

    return [
        SchemeType(
            name="eii",
            terms=terms.EiiTerms,
            check_terms=checks.check_terms,
            version_users=(tables.accidents,),
            has_wage_rates=contributions.has_contributions,
            wage_rates=contributions.contributions,
            store_package=medical.store_package,
            covers_sql=medical.covers_sql,
            line_terms_sql=medical.line_terms_sql,
            package_limits_sql=medical.package_limits_sql,
            claim_fields=medical.AccidentOfClaim,
            claim_cases=medical.claim_cases,
            store_claims=medical.store_claims,
            stored_cases=medical.stored_cases,
        )
    ]


@hookimpl
def imis_register_commands() -> Iterable[Command]:
    from imis_eii import assessing, deciding, ending, grants, indexing, reporting, survivors, temporary

    return (
        *reporting.COMMANDS,
        *deciding.COMMANDS,
        *temporary.COMMANDS,
        *survivors.COMMANDS,
        *ending.COMMANDS,
        *grants.COMMANDS,
        *assessing.COMMANDS,
        *indexing.COMMANDS,
    )


@hookimpl
def imis_register_queries() -> Iterable[Query]:
    from imis_eii.queries import QUERIES

    return QUERIES


@hookimpl
def imis_payroll_lines_sql(run: PayrollRun) -> Sequence[sa.Select[Any]]:
    from imis_eii.payroll import payroll_lines

    return payroll_lines(run)


@hookimpl
def imis_person_merge_sql() -> Iterable[PersonMove]:
    from imis_core.api import PersonMove
    from imis_eii.tables import accidents, awards

    return [PersonMove(accidents, "person"), PersonMove(awards, "person")]
