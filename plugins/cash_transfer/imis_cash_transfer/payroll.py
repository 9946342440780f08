"""What a payroll owes the active beneficiaries of a package: one select for all of them, arrears included.

It answers the kernel's hook and writes nothing. Source: contract-cash-transfer.md, 'Terms'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from imis_cash_transfer.amounts import ask, worth
from imis_cash_transfer.columns import Sql, apart, whole_tables
from imis_cash_transfer.moves import active_on, first_active
from imis_cash_transfer.tables import beneficiaries
from imis_cash_transfer.targets import any_of, key_array
from imis_cash_transfer.terms import CashTransferTerms
from imis_core.api import (
    Criteria,
    CycleRow,
    PayrollRun,
    groups,
    parsed_terms,
    persons,
    to_minor,
    version_for,
    versions_of,
)

REGULAR: Final = "regular"


def lines(run: PayrollRun) -> Sequence[sa.Select[Any]]:
    """The columns of `imis_payroll_lines_sql` for everyone who is active on the run's day."""
    if not isinstance(run.terms, CashTransferTerms):
        return ()
    terms, currency = run.terms, run.currency
    table = _table(terms)
    active = _active(run)
    criteria = _criteria(run, terms, run.cycle, active.units, "criteria")
    asked = ask(criteria, terms, currency)
    named = active.named()
    rows = apart(
        sa.select(named.c.beneficiary, table.c.id.label("unit"), table.c.place, *asked.columns).select_from(
            criteria.from_clause().join(named, named.c.unit == table.c.id)
        )
    )
    owed = _arrears(run)
    source: Any = rows
    arrears: tuple[Sql, Sql] | None = None
    cycles: Sql = sa.cast(sa.null(), ARRAY(sa.BigInteger))
    if owed is not None:
        source = rows.outerjoin(owed, owed.c.beneficiary == rows.c.beneficiary)
        nothing = sa.literal_column("'[]'::jsonb", JSONB)
        arrears = (sa.func.coalesce(owed.c.minor, 0), sa.func.coalesce(owed.c.steps, nothing, type_=JSONB))
        cycles = owed.c.cycles
    amount = worth(asked, rows.c, terms, currency, arrears)
    limit = to_minor(terms.approval_limit, currency)
    nobody = sa.cast(sa.null(), sa.BigInteger)
    household = terms.unit == "household"
    return (
        sa.select(
            (nobody if household else rows.c.unit).label("person"),
            (rows.c.unit if household else nobody).label("group"),
            rows.c.place.label("place"),
            sa.literal(REGULAR, sa.Text).label("source_kind"),
            sa.cast(0, sa.BigInteger).label("source"),
            sa.false().label("once"),
            sa.cast(run.version, sa.BigInteger).label("package_version"),
            sa.cast(amount.net, sa.BigInteger).label("amount_minor"),
            amount.steps.label("steps"),
            (amount.net > limit if limit else sa.false()).label("waits"),
            cycles.label("arrears"),
        ).select_from(source),
    )


@frozen
class _Units:
    """Beneficiaries and their units, in the same order.

    They travel as arrays: the planner knows how long an array is, and nothing of tables that were filled just now.
    """

    beneficiaries: tuple[int, ...]
    units: tuple[int, ...]

    def named(self) -> Any:
        """The pairs as a table."""
        return (
            sa.func.unnest(key_array(self.beneficiaries), key_array(self.units))
            .table_valued(sa.column("beneficiary", sa.BigInteger), sa.column("unit", sa.BigInteger))
            .render_derived()
        )


def _active(run: PayrollRun) -> _Units:
    """Who is active on the run's day, there to be paid, and in its places."""
    holder, table = _holder(run.terms), _table(run.terms)
    with whole_tables(run.context):
        rows = run.context.execute(
            sa.select(beneficiaries.c.id, holder.label("unit"))
            .join(table, table.c.id == holder)
            .where(
                beneficiaries.c.package == run.package,
                beneficiaries.c.id.in_(active_on(run.package, run.active_on)),
                *_there(run),
                _within(run),
            )
            .order_by(beneficiaries.c.id)
        ).all()
    return _Units(tuple(row.id for row in rows), tuple(row.unit for row in rows))


def _criteria(run: PayrollRun, terms: CashTransferTerms, cycle: CycleRow, units: Sequence[int], name: str) -> Criteria:
    """Expressions on a cycle's first day; only the members of these units are grouped."""
    only = key_array(units) if terms.unit == "household" else None
    return Criteria(run.context, terms.unit, sa.literal(cycle.starts, sa.Date), only=only, name=name)


def _within(run: PayrollRun) -> sa.ColumnElement[bool]:
    """Units that live in the places of the run: one village's payroll carries no country through the application."""
    return sa.true() if run.places is None else _table(run.terms).c.place == any_of(run.places)


def _there(run: PayrollRun) -> list[sa.ColumnElement[bool]]:
    """Somebody is there to be paid: a household with members, a living person.

    Nobody is paid as two persons: not as one who was merged into another, nor again for a cycle that that one had.
    """
    if run.terms.unit == "household":
        return [groups.c.status == "active"]
    had = _entitled(run)
    own = sa.exists().where(had.c.cycle == run.cycle.id, had.c.unit == persons.c.id, had.c.person != persons.c.id)
    alive = sa.or_(persons.c.death_date.is_(None), persons.c.death_date > run.active_on)
    return [persons.c.merged_into.is_(None), alive, sa.not_(own)]


def _entitled(run: PayrollRun) -> sa.Subquery:
    """Who has an entitlement of which `cycle`: `unit`, the person into whom the entitled `person` was merged if so."""
    entitled = run.entitled().subquery()
    if run.terms.unit == "household":
        return sa.select(entitled.c.cycle, entitled.c.person, entitled.c.group.label("unit")).subquery()
    merged = persons.alias()
    return (
        sa.select(
            entitled.c.cycle, entitled.c.person, sa.func.coalesce(merged.c.merged_into, merged.c.id).label("unit")
        )
        .join(merged, merged.c.id == entitled.c.person)
        .subquery()
    )


def _table(terms: CashTransferTerms) -> sa.Table:
    return persons if terms.unit == "person" else groups


def _holder(terms: CashTransferTerms) -> sa.Column[int]:
    return beneficiaries.c.person if terms.unit == "person" else beneficiaries.c.group


def _arrears(run: PayrollRun) -> sa.Subquery | None:
    """Earlier cycles that beneficiaries are still owed: `minor`, `steps` and `cycles` by `beneficiary`; None: nothing.

    Each cycle counts with its own amount, by the terms of its own version, after their ceiling.
    """
    rule = run.terms.arrears
    if not run.earlier or not (rule.late or rule.missed):
        return None
    versions = versions_of(run.context, (run.package,))[run.package]
    chosen = [(cycle, version_for(versions, cycle.starts, cycle.ends)) for cycle in run.earlier]
    under = [(cycle, version) for cycle, version in chosen if version is not None]
    terms = parsed_terms(run.context, [version for _, version in under])
    lacking = _lacking(run, [cycle for cycle, version in under if terms[version.id].unit == run.terms.unit])
    owed = [
        _of_cycle(run, cycle, terms[version.id], lacking[cycle.id]) for cycle, version in under if cycle.id in lacking
    ]
    if not owed:
        return None
    every = sa.union_all(*owed).subquery()
    pair = sa.func.jsonb_build_array(sa.literal("arrears ", sa.Text) + every.c.code, every.c.minor)
    return (
        sa.select(
            every.c.beneficiary,
            sa.cast(sa.func.sum(every.c.minor), sa.BigInteger).label("minor"),
            sa.func.jsonb_agg(aggregate_order_by(pair, every.c.position)).filter(every.c.minor != 0).label("steps"),
            sa.func.array_agg(aggregate_order_by(every.c.cycle, every.c.position)).label("cycles"),
        )
        .group_by(every.c.beneficiary)
        .subquery()
    )


def _lacking(run: PayrollRun, cycles: Sequence[CycleRow]) -> dict[int, _Units]:
    """Who is owed each earlier cycle; cycles of which nobody is owed anything are left out. One statement."""
    if not cycles:
        return {}
    found: dict[int, list[tuple[int, int]]] = {}
    with whole_tables(run.context):
        for row in run.context.execute(sa.union_all(*(_owed(run, cycle) for cycle in cycles))):
            found.setdefault(row.cycle, []).append((row.beneficiary, row.unit))
    return {cycle: _Units(*zip(*sorted(pairs), strict=True)) for cycle, pairs in found.items()}


def _owed(run: PayrollRun, cycle: CycleRow) -> sa.Select[Any]:
    """Beneficiaries who are owed an earlier cycle: late or missed by the terms, and without an entitlement of it."""
    rule = run.terms.arrears
    day = min(cycle.ends, run.today)
    reasons = []
    if rule.missed:
        reasons.append(beneficiaries.c.id.in_(active_on(run.package, day)))
    if rule.late:
        began = first_active(run.package).subquery()
        reasons.append(beneficiaries.c.id.in_(sa.select(began.c.beneficiary).where(began.c.since > day)))
    entitled = _entitled(run)
    holder = _holder(run.terms)
    number = sa.cast(cycle.id, sa.BigInteger).label("cycle")
    table = _table(run.terms)
    return (
        sa.select(number, beneficiaries.c.id.label("beneficiary"), holder.label("unit"))
        .join(table, table.c.id == holder)
        .where(
            beneficiaries.c.package == run.package,
            sa.or_(*reasons),
            sa.not_(sa.exists().where(entitled.c.cycle == cycle.id, entitled.c.unit == holder)),
            _within(run),
        )
    )


def _of_cycle(run: PayrollRun, cycle: CycleRow, terms: CashTransferTerms, owed: _Units) -> sa.Select[Any]:
    """What each of those who are owed a cycle would have got in it."""
    table, named = _table(terms), owed.named()
    criteria = _criteria(run, terms, cycle, owed.units, f"cycle{cycle.id}")
    asked = ask(criteria, terms, run.currency, deductions=False)
    rows = apart(
        sa.select(named.c.beneficiary, *asked.columns).select_from(
            criteria.from_clause().join(named, named.c.unit == table.c.id)
        )
    )
    amount = worth(asked, rows.c, terms, run.currency, None)
    return sa.select(
        rows.c.beneficiary,
        sa.cast(cycle.id, sa.BigInteger).label("cycle"),
        sa.literal(cycle.code, sa.Text).label("code"),
        sa.cast(sa.literal(cycle.starts, sa.Date), sa.Date).label("position"),
        sa.cast(amount.regular, sa.BigInteger).label("minor"),
    )
