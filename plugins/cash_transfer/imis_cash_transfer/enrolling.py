"""Preview, enrolment and approval: a selection is shown, proposed as it stands, and agreed to by somebody else.

Source: contract-cash-transfer.md, 'Selection and enrolment'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import evolve, frozen

from imis_cash_transfer.moves import Move, write_moves
from imis_cash_transfer.selection import HIDDEN_MEMBERS, NOT_SELECTED, SELECTED, selection
from imis_cash_transfer.selection import WAITING as TO_WAIT
from imis_cash_transfer.states import ACTIVE, APPROVED, AWAITING, ENROLMENTS, WAITING
from imis_cash_transfer.tables import enrolment_lines, enrolments
from imis_cash_transfer.targets import Target, any_of, lock_packages, resolve_targets, rows_about, scheme_refusal
from imis_core.api import (
    Context,
    Listing,
    Money,
    Refusal,
    command,
    groups,
    insert_rows,
    not_found,
    packages,
    parsed_terms,
    persons,
    query,
    user_names,
    versions_by_id,
)

NOUN: Final = "targeting"


@frozen(kw_only=True)
class Select:
    """Who is to be looked at: everybody registered, or those named."""

    scheme: str
    package: str
    groups: tuple[str, ...] | None = None
    persons: tuple[str, ...] | None = None
    on: date | None = None


@frozen
class Line:
    """`rank` within the place if there is a quota, else overall; `reason` why not selected."""

    beneficiary: str
    outcome: str
    rank: int | None
    score: Decimal | None
    reason: str | None


@frozen(kw_only=True)
class Preview:
    candidates: int
    selected: int
    waiting: int
    not_selected: int
    cost_per_cycle: Money
    list_: tuple[Line, ...]


@frozen(kw_only=True)
class Enrolled(Preview):
    id: str
    status: str


@frozen(kw_only=True)
class Approve:
    enrolment: str


@frozen(kw_only=True)
class Approved:
    status: str
    enrolled: int
    waiting: int
    refused: int


@query("targeting.preview", input=Select, result=Preview)
def preview(context: Context, asked: Select) -> Preview | Refusal:
    """Who would be selected, who would wait or not be selected and why, and what a cycle would cost."""
    (target,) = resolve_targets(context, (asked,), future=True)
    if isinstance(target, Refusal):
        return target
    rows = rows_about(context, target, selection(context, target))
    return Preview(**_fields(target, rows))


@command("targeting.enrol", input=Select, result=Enrolled)
def enrol(context: Context, items: tuple[Select, ...]) -> list[Enrolled | Refusal]:
    """Propose a selection as it stands now; nobody is enrolled before somebody else approves it."""
    targets = resolve_targets(context, items)
    return [t if isinstance(t, Refusal) else _enrol(context, t) for t in targets]


def _enrol(context: Context, target: Target) -> Enrolled:
    rows = rows_about(context, target, selection(context, target))
    shown = _fields(target, rows)
    number: int = context.execute(
        sa.insert(enrolments)
        .values(
            scheme=target.version.scheme, package=target.package, package_version=target.version.id,
            reference_date=target.on, state=AWAITING, listed=len(rows), cost_minor=shown["cost_per_cycle"].minor,
            currency=target.version.currency, proposed_by=context.caller.user,
        )
        .returning(enrolments.c.id)
    ).scalar_one()  # fmt: skip
    insert_rows(
        context.connection,
        enrolment_lines,
        {
            "enrolment": [number] * len(rows),
            target.holder: [row.id for row in rows],
            **{name: [getattr(row, name) for row in rows] for name in ("outcome", "rank", "score", "reason")},
        },
    )
    return Enrolled(**shown, id=context.ids.encode(NOUN, number), status=AWAITING)


def _fields(target: Target, rows: Sequence[Any]) -> dict[str, Any]:
    """The fields of a preview; what a cycle costs is the sum of the amounts of the selected."""
    cost = sum(row.amount_minor for row in rows if row.outcome == SELECTED)
    return {**_counts(rows), "cost_per_cycle": Money(int(cost), target.version.currency)}


def _counts(rows: Sequence[Any]) -> dict[str, Any]:
    counts = Counter(row.outcome for row in rows)
    return {
        "candidates": len(rows),
        "selected": counts[SELECTED],
        "waiting": counts[TO_WAIT],
        "not_selected": counts[NOT_SELECTED],
        "list_": tuple(Line(row.code, row.outcome, row.rank, row.score, row.reason) for row in rows),
    }


@command("targeting.approve", input=Approve, result=Approved, approval=True)
def approve(context: Context, items: tuple[Approve, ...]) -> list[Approved | Refusal]:
    """Agree to somebody else's enrolment: who still fits is active from today, as far as there are places."""
    numbers = [context.ids.decode(NOUN, item.enrolment) for item in items]
    proposed = {
        row.id: row
        for row in context.execute(
            sa.select(enrolments)
            .where(enrolments.c.id == any_of({n for n in numbers if n is not None}), *_seen_whole(context))
            .order_by(enrolments.c.id)
            .with_for_update()
        )
    }
    lock_packages(context, [row.package for row in proposed.values()])
    versions = versions_by_id(context, {row.package_version for row in proposed.values()})
    terms = parsed_terms(context, versions.values())
    states = {number: row.state for number, row in proposed.items()}
    outcomes: list[Approved | Refusal] = []
    for item, number in zip(items, numbers, strict=True):
        row = None if number is None else proposed.get(number)
        if row is None:
            outcomes.append(not_found("enrolment", "enrolment", item.enrolment))
        elif row.proposed_by == context.caller.user:
            message = "whoever proposed the enrolment does not approve it; ask somebody else"
            outcomes.append(Refusal("targeting.same_person", message))
        elif not ENROLMENTS.allows(states[row.id], APPROVED):
            outcomes.append(ENROLMENTS.refusal("the enrolment", states[row.id], APPROVED))
        else:
            version = versions[row.package_version]
            target = Target(version=version, terms=terms[version.id], on=row.reference_date)
            outcome = _approve(context, item, row, target)
            if isinstance(outcome, Approved):
                states[row.id] = APPROVED
            outcomes.append(outcome)
    return outcomes


def _approve(context: Context, item: Approve, row: Any, target: Target) -> Approved | Refusal:
    """Judge the frozen list again, under the package's lock: nobody twice, no place above the maximum or a quota."""
    lines = context.execute(
        sa.select(enrolment_lines.c[target.holder].label("unit"), enrolment_lines.c.outcome).where(
            enrolment_lines.c.enrolment == row.id, context.scoped(enrolment_lines)
        )
    ).all()
    listed = tuple(line.unit for line in lines if line.outcome != NOT_SELECTED)
    agreed = [line.unit for line in lines if line.outcome == SELECTED]
    target = evolve(target, only=listed)
    judged = rows_about(context, target, selection(context, target, agreed=agreed))
    hidden = next((one.code for one in judged if one.reason == HIDDEN_MEMBERS), None)
    if hidden is not None:
        message = f"{hidden} has members in places that you do not see; ask somebody who sees the whole household"
        return Refusal("targeting.hidden_members", message)
    moves = [
        Move(
            target, one.id, ACTIVE if one.agreed and one.outcome == SELECTED else WAITING, context.today,
            one.reason, row.id,
        )
        for one in judged
        if one.outcome != NOT_SELECTED
    ]  # fmt: skip
    write_moves(context, moves, changes_only=True)
    context.execute(
        sa.update(enrolments).where(enrolments.c.id == row.id).values(state=APPROVED, approved_by=context.caller.user)
    )
    enrolled = sum(move.state == ACTIVE for move in moves)
    return Approved(status=APPROVED, enrolled=enrolled, waiting=len(moves) - enrolled, refused=len(listed) - len(moves))


def _seen_whole(context: Context) -> list[sa.ColumnElement[bool]]:
    """An enrolment is there for whoever may see all that it lists."""
    if context.caller.everywhere:
        return []
    line = enrolment_lines.c
    seen = sa.select(sa.func.count()).where(line.enrolment == enrolments.c.id, context.scoped(enrolment_lines))
    return [enrolments.c.listed == seen.scalar_subquery()]


@frozen(kw_only=True)
class ShowEnrolment:
    enrolment: str


@query("targeting.show", input=ShowEnrolment, result=Enrolled)
def show(context: Context, asked: ShowEnrolment) -> Enrolled | Refusal:
    """An enrolment as it was proposed, with its list, for whoever is to approve it."""
    number = context.ids.decode(NOUN, asked.enrolment)
    row = context.execute(sa.select(enrolments).where(enrolments.c.id == number)).first()
    line = enrolment_lines.c
    code = sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text)
    lines = context.execute(
        sa.select(code.label("code"), line.outcome, line.rank, line.score, line.reason)
        .outerjoin_from(enrolment_lines, groups, groups.c.id == line.group)
        .outerjoin(persons, persons.c.id == line.person)
        .where(line.enrolment == number, context.scoped(enrolment_lines))
        .order_by(code.collate("C"))
    ).all()
    if row is None or len(lines) != row.listed:
        return not_found("enrolment", "enrolment", asked.enrolment)
    return Enrolled(
        **_counts(lines), cost_per_cycle=Money(row.cost_minor, row.currency), id=asked.enrolment, status=row.state
    )


@frozen(kw_only=True)
class ListEnrolments:
    scheme: str
    status: Literal["awaiting_approval", "approved"] | None = None


@frozen(kw_only=True)
class EnrolmentShown:
    """`on` is the reference date; `proposed_by` the name of a user."""

    id: str
    package: str
    on: date
    status: str
    candidates: int
    cost_per_cycle: Money
    proposed_by: str


@query("targeting.enrolments", input=ListEnrolments, result=EnrolmentShown, listing=True)
def list_enrolments(context: Context, asked: ListEnrolments) -> Listing | Refusal:
    """The enrolments of a scheme in the order in which they were proposed, with who proposed them."""
    refusal = scheme_refusal(context, asked.scheme)
    if refusal is not None:
        return refusal
    e = enrolments.c
    select = (
        sa.select(e.id, packages.c.code, e.reference_date, e.state, e.listed, e.cost_minor, e.currency, e.proposed_by)
        .join(packages, packages.c.id == e.package)
        .where(e.scheme == asked.scheme)
    )
    if asked.status is not None:
        select = select.where(e.state == asked.status)
    select = select.where(*_seen_whole(context))

    def build(rows: Sequence[Any]) -> list[EnrolmentShown]:
        ids = context.ids.encode_all(NOUN, [row.id for row in rows])
        names = user_names(context, {row.proposed_by for row in rows})
        return [
            EnrolmentShown(
                id=id_, package=row.code, on=row.reference_date, status=row.state, candidates=row.listed,
                cost_per_cycle=Money(row.cost_minor, row.currency), proposed_by=names[row.proposed_by],
            )
            for id_, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (e.id,), build)


QUERIES = (preview, show, list_enrolments)
COMMANDS = (enrol, approve)
