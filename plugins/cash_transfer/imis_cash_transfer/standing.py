"""Who is in a package and in which state, and the moves that somebody decides on.

Source: contract-cash-transfer.md, 'Selection and enrolment'.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import define, field, frozen

from imis_cash_transfer.moves import Move, write_moves
from imis_cash_transfer.places import FreePlaces
from imis_cash_transfer.states import ACTIVE, BENEFICIARIES, OCCUPYING, POTENTIAL, WAITING, State
from imis_cash_transfer.tables import beneficiaries, beneficiary_current
from imis_cash_transfer.targets import (
    HOUSEHOLD,
    REGISTERED,
    Target,
    any_of,
    lock_packages,
    resolve_standing,
    scheme_refusal,
)
from imis_core.api import (
    Context,
    GroupRow,
    Listing,
    PersonRow,
    Problem,
    Refusal,
    command,
    groups,
    invalid,
    not_found,
    packages,
    persons,
    query,
    resolve_groups,
    resolve_persons,
    self_excluded_groups_sql,
    self_excluded_persons_sql,
)


@frozen(kw_only=True)
class ListBeneficiaries:
    scheme: str
    package: str | None = None
    state: State | None = None


@frozen(kw_only=True)
class BeneficiaryShown:
    """`since` is the first day in the state."""

    beneficiary: str
    package: str
    state: str
    since: date


@query("targeting.beneficiaries", input=ListBeneficiaries, result=BeneficiaryShown, listing=True)
def list_beneficiaries(context: Context, asked: ListBeneficiaries) -> Listing | Refusal:
    """Who is or was in a scheme's packages, by code or number; who is only registered is not listed.

    Nor is a person who was merged into another one that is in the package already.
    """
    refusal = scheme_refusal(context, asked.scheme)
    if refusal is not None:
        return refusal
    b, c = beneficiaries.c, beneficiary_current.c
    code = sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text)
    select = (
        sa.select(code.label("beneficiary"), packages.c.code.label("package"), c.state, c.since)
        .select_from(beneficiaries)
        .join(beneficiary_current, c.beneficiary == b.id)
        .join(packages, packages.c.id == b.package)
        .outerjoin(groups, groups.c.id == b.group)
        .outerjoin(persons, persons.c.id == b.person)
        .where(b.scheme == asked.scheme, context.scoped(beneficiaries), persons.c.merged_into.is_(None))
    )
    if asked.package is not None:
        found = [row for _, row in context.named(packages, [asked.package]) if row.scheme == asked.scheme]
        if not found:
            return not_found("package", "benefit package", asked.package)
        select = select.where(b.package == found[0].id)
    if asked.state is not None:
        select = select.where(c.state == asked.state)

    def build(rows: Sequence[Any]) -> list[BeneficiaryShown]:
        return [
            BeneficiaryShown(beneficiary=row.beneficiary, package=row.package, state=row.state, since=row.since)
            for row in rows
        ]

    return Listing(select, (code, b.id), build)


@frozen(kw_only=True)
class ChangeState:
    scheme: str
    package: str
    beneficiary: str
    state: State
    reason: str
    on: date | None = None


@frozen
class StateChanged:
    state: str


@define
class _Standing:
    """Where beneficiaries stand as the items of a batch move them; who has no row is potential."""

    found: dict[tuple[int, str, int], tuple[str, date | None]] = field(factory=dict)

    @classmethod
    def load(cls, context: Context, wanted: Sequence[tuple[int, str, int]]) -> _Standing:
        standing = cls()
        of_kind: dict[str, set[int]] = defaultdict(set)
        for _, kind, key in wanted:
            of_kind[kind].add(key)
        b, c = beneficiaries.c, beneficiary_current.c
        rows: Any = context.execute(
            sa.select(b.package, b.group, b.person, c.state, c.since)
            .join(beneficiary_current, c.beneficiary == b.id)
            .where(
                b.package == any_of({package for package, _, _ in wanted}),
                sa.or_(b.group == any_of(of_kind["group"]), b.person == any_of(of_kind["person"])),
                context.scoped(beneficiaries),
            )
        )
        for row in rows:
            holder, unit = ("group", row.group) if row.group is not None else ("person", row.person)
            standing.found[row.package, holder, unit] = (row.state, row.since)
        return standing

    def of(self, holder: tuple[int, str, int]) -> tuple[str, date | None]:
        return self.found.get(holder, (POTENTIAL, None))


@command("targeting.change_state", input=ChangeState, result=StateChanged)
def change_state(context: Context, items: tuple[ChangeState, ...]) -> list[StateChanged | Refusal]:
    """Move a beneficiary to another state for a reason; to become active it needs a free place.

    Who is not registered any more, or asked never to be selected, neither waits nor becomes active.
    """
    targets = resolve_standing(context, items)
    lock_packages(context, [t.package for t in targets if isinstance(t, Target)])
    households = resolve_groups(context, _names(items, targets, "group"))
    people = resolve_persons(context, _names(items, targets, "person"))
    units = [
        None if isinstance(t, Refusal) else (people if t.holder == "person" else households).get(i.beneficiary)
        for i, t in zip(items, targets, strict=True)
    ]
    asked = [
        (t.package, t.holder, unit.id)
        for t, unit in zip(targets, units, strict=True)
        if isinstance(t, Target) and unit is not None
    ]
    standing = _Standing.load(context, asked)
    needing = [t for i, t in zip(items, targets, strict=True) if isinstance(t, Target) and i.state == ACTIVE]
    free = FreePlaces.load(context, needing)
    excluded = _self_excluded(context, asked)
    outcomes: list[StateChanged | Refusal] = []
    moves: list[Move] = []
    for item, target, unit in zip(items, targets, units, strict=True):
        if isinstance(target, Refusal):
            outcomes.append(target)
        elif unit is None:
            outcomes.append(not_found("beneficiary", "beneficiary", item.beneficiary))
        else:
            move = Move(target, unit.id, item.state, target.on, item.reason)
            outcome = _move(item, move, unit, standing, free, excluded)
            if isinstance(outcome, Move):
                moves.append(outcome)
                outcomes.append(StateChanged(outcome.state))
            else:
                outcomes.append(outcome)
    write_moves(context, moves)
    return outcomes


def _names(items: Sequence[ChangeState], targets: Sequence[Target | Refusal], holder: str) -> set[str]:
    return {
        item.beneficiary
        for item, target in zip(items, targets, strict=True)
        if isinstance(target, Target) and target.holder == holder
    }


def _self_excluded(context: Context, asked: Sequence[tuple[int, str, int]]) -> set[tuple[str, int]]:
    """Who of these asked never to be selected: the kind of holder and its key."""
    households, people = self_excluded_groups_sql().subquery(), self_excluded_persons_sql().subquery()
    keys = {kind: any_of(key for _, holder, key in asked if holder == kind) for kind in ("group", "person")}
    rows: Any = context.execute(
        sa.union_all(
            sa.select(sa.literal("group", sa.Text).label("kind"), households.c.group.label("key")).where(
                households.c.group == keys["group"]
            ),
            sa.select(sa.literal("person", sa.Text), people.c.person).where(people.c.person == keys["person"]),
        )
    )
    return {(row.kind, row.key) for row in rows}


def _unfit(move: Move, unit: PersonRow | GroupRow, excluded: set[tuple[str, int]]) -> str | None:
    """Why somebody cannot wait or become active: out of the register by the day, no household, or self-excluded."""
    if isinstance(unit, GroupRow):
        if unit.kind != HOUSEHOLD:
            return f"is a {unit.kind}, not a household"
        there = unit.status == REGISTERED
    else:
        there = unit.status == REGISTERED and (unit.death_date is None or unit.death_date > move.since)
    if not there:
        return "is not registered any more"
    if (move.target.holder, unit.id) in excluded:
        return "asked never to be selected"
    return None


def _move(
    item: ChangeState,
    move: Move,
    unit: PersonRow | GroupRow,
    standing: _Standing,
    free: FreePlaces,
    excluded: set[tuple[str, int]],
) -> Move | Refusal:
    """The move if the states, the days and the places allow it; it is then taken into account for the items behind."""
    state, since = standing.of(move.holder)
    if not item.reason.strip():
        return invalid(Problem("reason", "required", "say why"))
    if not BENEFICIARIES.allows(state, item.state):
        return BENEFICIARIES.refusal(f"beneficiary {item.beneficiary}", state, item.state)
    if since is not None and move.since < since:
        return invalid(Problem("on", "order", f"the day is before the present state ({state} since {since})"))
    unfit = _unfit(move, unit, excluded) if item.state in (WAITING, ACTIVE) else None
    if unfit is not None:
        return Refusal("targeting.not_eligible", f"{item.beneficiary} {unfit}; it cannot become {item.state}")
    if item.state == ACTIVE and state not in OCCUPYING:
        refusal = free.take(move.target, unit.place)
        if refusal is not None:
            return refusal
    elif state in OCCUPYING and item.state not in OCCUPYING:
        free.give_back(move.target, unit.place)
    standing.found[move.holder] = (item.state, move.since)
    return move


QUERIES = (list_beneficiaries,)
COMMANDS = (change_state,)
