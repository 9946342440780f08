"""A kind of scheme for tests of payrolls: every household or person on the register is owed what the terms say."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.api import Amount, Manifest, PayrollRun, Recurrence, SchemeType, hookimpl, to_minor
from imis_core.beneficiaries.tables import groups, persons

TEN: Final = Amount(Decimal(10))
NONE: Final = Amount(Decimal(0))


@frozen(kw_only=True)
class Lump:
    """Paid to a household, once in all or once in each cycle; `source` is its number."""

    source: int
    group: str
    amount: Amount
    once: bool = True


@frozen(kw_only=True)
class Grant:
    """`amount`, unless the unit's attribute `amount` says otherwise (in minor units); arrears for missed cycles."""

    unit: Literal["household", "person"] = "household"
    amount: Amount = TEN
    approval_limit: Amount = NONE
    arrears: bool = False
    lumps: tuple[Lump, ...] = ()
    frequency: Recurrence | None = None


GRANT = SchemeType(
    name="grant", terms=Grant, check_terms=lambda terms, check: (), frequency=lambda terms: terms.frequency
)
SILENT = SchemeType(name="silent", terms=Grant, check_terms=lambda terms, check: ())


def _pair(name: str, amount: Any) -> Any:
    return sa.func.jsonb_build_array(sa.literal_column(f"'{name}'"), amount)


def lines(run: PayrollRun) -> sa.Select[Any]:
    """Everybody registered by the day on which one has to be active."""
    unit = groups if run.terms.unit == "household" else persons
    limit = to_minor(run.terms.approval_limit, run.currency)
    base = sa.func.coalesce(
        sa.cast(unit.c.attributes["amount"].astext, sa.BigInteger), to_minor(run.terms.amount, run.currency)
    )
    nobody = sa.cast(sa.null(), sa.BigInteger)
    missed = _missed(run, unit) if run.terms.arrears and run.earlier else sa.cast(sa.null(), ARRAY(sa.BigInteger))
    made_good = sa.func.coalesce(sa.func.cardinality(missed), 0)
    return sa.select(
        (unit.c.id if unit is groups else nobody).label("group"),
        (unit.c.id if unit is persons else nobody).label("person"),
        unit.c.place,
        sa.literal_column("'regular'").label("source_kind"),
        sa.literal_column("0").label("source"),
        sa.false().label("once"),
        sa.literal(run.version).label("package_version"),
        (base * (1 + made_good)).label("amount_minor"),
        sa.func.jsonb_build_array(_pair("base", base)).label("steps"),
        (base > limit if limit else sa.false()).label("waits"),
        missed.label("arrears"),
    ).where(unit.c.status == "active", unit.c.registered_on <= run.active_on)


def _missed(run: PayrollRun, unit: sa.Table) -> sa.ColumnElement[Any]:
    given = [c.id for c in run.earlier]
    earlier = (
        sa.func.unnest(sa.literal(given, ARRAY(sa.BigInteger)))
        .table_valued(sa.column("id", sa.BigInteger), name="earlier")
        .render_derived()
    )
    entitled = run.entitled().subquery()
    has = sa.exists().where(entitled.c.cycle == earlier.c.id, entitled.c.group == unit.c.id).correlate(earlier, unit)
    return sa.select(sa.func.array_agg(earlier.c.id)).where(sa.not_(has)).correlate(unit).scalar_subquery()


def lumps(run: PayrollRun) -> sa.Select[Any]:
    """The terms' lump sums, each with its number as the source."""
    given = sa.values(
        sa.column("source", sa.BigInteger),
        sa.column("code", sa.Text),
        sa.column("amount", sa.BigInteger),
        sa.column("once", sa.Boolean),
        name="given",
    ).data([(lump.source, lump.group, to_minor(lump.amount, run.currency), lump.once) for lump in run.terms.lumps])
    return sa.select(
        sa.cast(sa.null(), sa.BigInteger).label("person"),
        groups.c.id.label("group"),
        groups.c.place,
        sa.literal_column("'lump'").label("source_kind"),
        given.c.source,
        given.c.once,
        sa.literal(run.version).label("package_version"),
        given.c.amount.label("amount_minor"),
        sa.func.jsonb_build_array(_pair("lump", given.c.amount)).label("steps"),
        sa.false().label("waits"),
        sa.cast(sa.null(), ARRAY(sa.BigInteger)).label("arrears"),
    ).join_from(given, groups, groups.c.code == given.c.code)


class GrantsPlugin:
    """The plugin `grants` with the scheme types `grant` and `silent`."""

    @hookimpl
    def imis_plugin(self) -> Manifest:
        return Manifest(name="grants", version="1", kernel=">=0")

    @hookimpl
    def imis_register_scheme_types(self) -> Sequence[SchemeType]:
        return (GRANT,)

    @hookimpl
    def imis_payroll_lines_sql(self, run: PayrollRun) -> Sequence[sa.Select[Any]]:
        return (lines(run), lumps(run)) if run.terms.lumps else (lines(run),)


class SilentPlugin:
    """The plugin `silence`: a kind of scheme of which nobody says who is owed what."""

    @hookimpl
    def imis_plugin(self) -> Manifest:
        return Manifest(name="silence", version="1", kernel=">=0")

    @hookimpl
    def imis_register_scheme_types(self) -> Sequence[SchemeType]:
        return (SILENT,)
