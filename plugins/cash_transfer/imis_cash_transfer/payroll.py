"""What a payroll owes the active beneficiaries of a package: one select for all of them, arrears included.

It answers the kernel's hook and writes nothing. Source: contract-cash-transfer.md, 'Terms'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from imis_cash_transfer.amounts import ask, worth
from imis_cash_transfer.columns import Sql, apart
from imis_cash_transfer.moves import active_on, first_active
from imis_cash_transfer.tables import beneficiaries
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
    table, holder = _unit(terms)
    criteria = Criteria(run.context, terms.unit, sa.literal(run.cycle.starts, sa.Date))
    asked = ask(criteria, terms, currency)
    rows = apart(
        sa.select(beneficiaries.c.id.label("beneficiary"), table.c.id.label("unit"), table.c.place, *asked.columns)
        .select_from(criteria.from_clause().join(beneficiaries, holder == table.c.id))
        .where(
            beneficiaries.c.package == run.package,
            beneficiaries.c.id.in_(active_on(run.package, run.active_on)),
            *_there(run),
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


def _there(run: PayrollRun) -> list[sa.ColumnElement[bool]]:
    """Somebody is there to be paid: a household with members, a living person.

    Nobody is paid as two persons: not as one who was merged into another, nor again for a cycle that that one had.
    """
    if run.terms.unit == "household":
        return [groups.c.status == "active"]
    had = _entitled(run)
    own = sa.exists().where(
        had.c.cycle == run.cycle.id, had.c.unit == beneficiaries.c.person, had.c.person != beneficiaries.c.person
    )
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


def _unit(terms: CashTransferTerms) -> tuple[sa.Table, Any]:
    if terms.unit == "person":
        return persons, beneficiaries.c.person
    return groups, beneficiaries.c.group


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
    open_cycles = _lacking(run, [cycle for cycle, _ in under])
    owed = [
        _of_cycle(run, cycle, terms[version.id])
        for cycle, version in under
        if cycle.id in open_cycles and terms[version.id].unit == run.terms.unit
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


def _lacking(run: PayrollRun, cycles: Sequence[CycleRow]) -> set[int]:
    """The cycles of which anybody at all is owed something: the others need no amounts."""
    if not cycles:
        return set()
    asked = sa.union_all(
        *(
            sa.select(sa.cast(cycle.id, sa.BigInteger).label("cycle")).where(sa.exists(_owed(run, cycle)))
            for cycle in cycles
        )
    )
    return set(run.context.execute(asked).scalars())


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
    _, holder = _unit(run.terms)
    return sa.select(beneficiaries.c.id.label("beneficiary"), holder.label("unit")).where(
        beneficiaries.c.package == run.package,
        holder.is_not(None),
        sa.or_(*reasons),
        sa.not_(sa.exists().where(entitled.c.cycle == cycle.id, entitled.c.unit == holder)),
    )


def _of_cycle(run: PayrollRun, cycle: CycleRow, terms: CashTransferTerms) -> sa.Select[Any]:
    """What each of those who are owed a cycle would have got in it."""
    table, _ = _unit(terms)
    owed = _owed(run, cycle).subquery()
    criteria = Criteria(
        run.context, terms.unit, sa.literal(cycle.starts, sa.Date),
        only=sa.select(owed.c.unit) if terms.unit == "household" else None, name=f"cycle{cycle.id}",
    )  # fmt: skip
    asked = ask(criteria, terms, run.currency, deductions=False)
    rows = apart(
        sa.select(owed.c.beneficiary, *asked.columns).select_from(
            criteria.from_clause().join(owed, owed.c.unit == table.c.id)
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
