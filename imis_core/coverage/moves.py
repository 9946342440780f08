"""Suspending, resuming and terminating policies. The reason given stays in the audit log.

Source: health_insurance.md 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import evolve, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.dues import Due, book_dues, subsidies_of
from imis_core.coverage.enrolment import future
from imis_core.coverage.lookup import NOUN, Policy, PolicyShown, load_policies, show_policies
from imis_core.coverage.paid import Paid, given_up_minor, paid_for
from imis_core.coverage.states import ACTIVE, COVERAGES, SUSPENDED, TERMINATED, state_on
from imis_core.coverage.tables import coverage_members, coverage_suspensions
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows
from imis_core.errors import Problem, Refusal, invalid, not_found


@frozen(kw_only=True)
class Move:
    coverage: str
    on: date | None = None
    reason: str | None = None


@frozen
class _Moved:
    policy: Policy
    on: date


Judge = Callable[[Policy, date], Refusal | None]


@command("coverage.suspend", input=Move, result=PolicyShown)
def suspend(context: Context, items: tuple[Move, ...]) -> list[PolicyShown | Refusal]:
    """Suspend an active policy: nobody is covered from that day until it is resumed."""
    return _move(context, items, SUSPENDED, _suspend)


@command("coverage.resume", input=Move, result=PolicyShown)
def resume(context: Context, items: tuple[Move, ...]) -> list[PolicyShown | Refusal]:
    """Resume a suspended policy: it covers again from that day."""
    return _move(context, items, ACTIVE, _resume)


@command("coverage.terminate", input=Move, result=PolicyShown)
def terminate(context: Context, items: tuple[Move, ...]) -> list[PolicyShown | Refusal]:
    """Terminate a policy: that day is its last; what was not paid of its contribution is owed no longer."""
    return _move(context, items, TERMINATED, _terminate)


def _move(
    context: Context,
    items: Sequence[Move],
    wanted: str,
    write: Callable[[Context, Sequence[_Moved], dict[int, date]], None],
) -> list[PolicyShown | Refusal]:
    """Judge the items in order (each after those before it), write the moves as a set, show the policies."""
    numbers = [context.ids.decode(NOUN, item.coverage) for item in items]
    policies = load_policies(context, [n for n in numbers if n is not None], lock=True)
    pauses = _open_suspensions(context, policies) if wanted == ACTIVE else {}
    outcomes: list[Any] = [None] * len(items)
    moved: list[_Moved] = []
    places: list[int] = []
    for position, (item, number) in enumerate(zip(items, numbers, strict=True)):
        one = policies.get(number) if number is not None else None
        if one is None:
            outcomes[position] = not_found("coverage", "coverage", item.coverage)
            continue
        on = item.on or context.today
        refusal = _refusal(context, item, one, on, wanted, pauses)
        if refusal is not None:
            outcomes[position] = refusal
            continue
        one = evolve(one, state=wanted, terminated_on=on if wanted == TERMINATED else None)
        policies[one.id] = one
        moved.append(_Moved(one, on))
        places.append(position)
    if moved:
        context.execute(
            _UPDATE,
            {
                "id": [m.policy.id for m in moved],
                "state": [m.policy.state for m in moved],
                "terminated_on": [m.policy.terminated_on for m in moved],
            },
        )
        write(context, moved, pauses)
        for position, view in zip(places, show_policies(context, [m.policy for m in moved]), strict=True):
            outcomes[position] = view
    return outcomes


def _refusal(
    context: Context, item: Move, one: Policy, on: date, wanted: str, pauses: dict[int, date]
) -> Refusal | None:
    if on > context.today:
        return invalid(future(context.today))
    state = state_on(one.state, one.ends, on)
    # Idle, or suspended because it was paid in part, or not paid any more.
    unpaid = wanted == ACTIVE and (one.id not in pauses or one.effective_from is None)
    if not COVERAGES.allows(state, wanted) or unpaid:
        return COVERAGES.refusal(f"policy {item.coverage}", state, wanted)
    if wanted == ACTIVE and on < pauses[one.id]:
        return invalid(Problem("on", "order", f"the day is before the suspension ({pauses[one.id]})"))
    if wanted == SUSPENDED and one.effective_from is None:
        return COVERAGES.refusal(f"policy {item.coverage}", state, wanted)
    if on < one.enrolled_on:
        return invalid(Problem("on", "order", f"the day is before the enrolment ({one.enrolled_on})"))
    return None


_UPDATE = sa.text("""
    UPDATE core.coverages AS c SET state = n.state, terminated_on = n.terminated_on
    FROM unnest(CAST(:id AS bigint[]), CAST(:state AS text[]), CAST(:terminated_on AS date[]))
         AS n(id, state, terminated_on)
    WHERE c.id = n.id
""")

_RESUME = sa.text("""
    UPDATE core.coverage_suspensions AS s SET resumed_on = n.resumed_on
    FROM unnest(CAST(:id AS bigint[]), CAST(:resumed_on AS date[])) AS n(id, resumed_on)
    WHERE s.coverage = n.id AND s.resumed_on IS NULL
""")


def _open_suspensions(context: Context, policies: dict[int, Policy]) -> dict[int, date]:
    """The first day of the suspension that each policy is in, by policy."""
    s = coverage_suspensions.c
    rows = context.execute(
        sa.select(s.coverage, s.suspended_on).where(s.coverage == any_of(policies), s.resumed_on.is_(None))
    )
    return {row.coverage: row.suspended_on for row in rows}


def _suspend(context: Context, moved: Sequence[_Moved], pauses: dict[int, date]) -> None:
    columns: dict[str, list[Any]] = {"coverage": [m.policy.id for m in moved], "suspended_on": [m.on for m in moved]}
    insert_rows(context.connection, coverage_suspensions, columns)


def _resume(context: Context, moved: Sequence[_Moved], pauses: dict[int, date]) -> None:
    context.execute(_RESUME, {"id": [m.policy.id for m in moved], "resumed_on": [m.on for m in moved]})


def _terminate(context: Context, moved: Sequence[_Moved], pauses: dict[int, date]) -> None:
    """Give the days up, and take back what is still owed. Source: contract.md, 'Ledger accounts of every scheme'."""
    ids = [m.policy.id for m in moved]
    context.execute(
        sa.update(coverage_members)
        .where(coverage_members.c.coverage == any_of(ids), sa.not_(sa.func.isempty(coverage_members.c.held)))
        .values(held=sa.text("'empty'"))
    )
    paid, subsidies = paid_for(context, ids), subsidies_of(context, ids)
    dues = []
    for one in (m.policy for m in moved):
        # A credit stays the household's, and what was refunded of it and not paid after all its debt.
        rest = given_up_minor(one.due_minor, paid.get(one.id, Paid()).minor)
        # What never covered anybody is owed by nobody: others owe their part no longer either.
        back = {} if one.effective_from is not None else subsidies.get(one.id, {})
        change = {category: -minor for category, minor in back.items()}
        dues.append(Due(one.id, one.scheme, -rest + sum(change.values()), change))
    book_dues(context, dues, "coverage.terminate")
