"""Working on grievances: moved, assigned, commented, resolved, closed, reopened, appealed.

Each move is judged by the table of states. A grievance that is named twice in a batch goes through both moves in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import define, evolve, field, frozen

from imis_core.api import (
    Context,
    Message,
    Problem,
    Refusal,
    command,
    invalid,
    not_found,
    notify,
    resolve_users,
    suggestion,
    user_names,
)
from imis_grievance.columns import any_of
from imis_grievance.comments import Comment, write_comments
from imis_grievance.entitlements import let_on
from imis_grievance.holding import Wanted, holds_of, let_go
from imis_grievance.rules import BY_HAND, CANCELLING, STATES
from imis_grievance.tables import grievance_categories, grievances


@define
class Case:
    """A grievance under its lock, as the batch has left it so far."""

    id: int
    code: str
    status: str
    owner: int | None
    owner_role: str | None
    decision: str | None
    resolved_on: date | None
    reporter: str | None
    reporter_person: int | None
    sensitivity: str

    def becomes(self, wanted: str, *, allowed: bool = True) -> Refusal | None:
        """Move to a state, or the refusal `grievances.wrong_state`."""
        if not allowed or not STATES.allows(self.status, wanted):
            return STATES.refusal(f"the grievance {self.code}", self.status, wanted)
        self.status = wanted
        return None


@define
class Work:
    """The grievances that a batch names, and what it has done to them; `write` puts it into the database."""

    context: Context
    cases: dict[str, Case]
    comments: list[Comment] = field(factory=list)
    _waves: list[dict[int, tuple[Any, ...]]] = field(factory=list)

    @classmethod
    def on(cls, context: Context, names: Iterable[str]) -> Work:
        """Lock the grievances that are named by code or id and that the caller may see."""
        named = context.named(grievances, names, grievances.c.id, grievances.c.code)
        table = grievances.c
        rows: Any = context.execute(
            sa.select(
                table.id, table.code, table.status, table.owner, table.owner_role, table.decision, table.resolved_on,
                table.reporter, table.reporter_person, grievance_categories.c.sensitivity,
            )
            .join(grievance_categories, grievance_categories.c.id == table.category)
            .where(
                table.id == any_of(row.id for _, row in named),
                context.scoped(grievances),
            )
            .order_by(table.id)
            .with_for_update(of=grievances)
        )  # fmt: skip
        found = {row.id: Case(*row) for row in rows}
        return cls(context, {name: found[row.id] for name, row in named if row.id in found})

    def keep(self, case: Case, kind: str, text: str | None) -> None:
        """Note the case as it is now, with what was said. Each change of one case is a version of its own."""
        wave = next((wave for wave in self._waves if case.id not in wave), None)
        if wave is None:
            wave = {}
            self._waves.append(wave)
        wave[case.id] = (case.id, case.status, case.owner, case.owner_role, case.decision, case.resolved_on)
        if text:
            self.comments.append(Comment(case.id, kind, text))

    def write(self) -> None:
        """Write all changes and comments; one statement, unless a grievance changes more than once."""
        for wave in self._waves:
            columns = zip(*wave.values(), strict=True)
            names = ("ids", "statuses", "owners", "roles", "decisions", "resolved")
            self.context.execute(_UPDATE, {name: list(column) for name, column in zip(names, columns, strict=True)})
        write_comments(self.context, self.comments)


_UPDATE: Final = sa.text(
    """
    UPDATE grievance.grievances g
    SET status = n.status, owner = n.owner, owner_role = n.owner_role, decision = n.decision,
        resolved_on = n.resolved_on
    FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:owners AS bigint[]), CAST(:roles AS text[]),
                CAST(:decisions AS text[]), CAST(:resolved AS date[]))
        AS n(id, status, owner, owner_role, decision, resolved_on)
    WHERE g.id = n.id
    """
)


@frozen(kw_only=True)
class GrievanceState:
    """`owner`: a user's name, or a role's; `decision`: the one that stands."""

    id: str
    code: str
    status: str
    owner: str | None
    decision: str | None


@frozen(kw_only=True)
class MoveGrievance:
    """`status`: open or in_progress; the other states have commands of their own."""

    grievance: str
    status: str
    comment: str | None = None


@frozen(kw_only=True)
class AssignGrievance:
    """`owner`: a user's name or id, or a role of the deployment: everybody who has it. A user wins over a role."""

    grievance: str
    owner: str


@frozen(kw_only=True)
class CommentOnGrievance:
    grievance: str
    comment: str


@frozen(kw_only=True)
class ResolveGrievance:
    """`cancel_payment`: with `upheld` or `partly`, what the grievance holds is cancelled rather than released."""

    grievance: str
    decision: Literal["upheld", "partly", "rejected", "withdrawn", "referred"]
    comment: str
    cancel_payment: bool = False


@frozen(kw_only=True)
class GrievanceStep:
    grievance: str
    comment: str | None = None


def _each(
    context: Context, items: Sequence[Any], step: Callable[[Work, Case, Any], Refusal | None]
) -> tuple[Work, list[Any]]:
    """Take each item in turn: the refusal of its step, or the case as the step left it. Nothing is written yet."""
    work = Work.on(context, {item.grievance for item in items})
    outcomes: list[Any] = []
    for item in items:
        case = work.cases.get(item.grievance)
        refusal = not_found("grievance", "grievance", item.grievance) if case is None else step(work, case, item)
        outcomes.append(refusal or _state(case))
    return work, outcomes


def _state(case: Case | None) -> Case:
    assert case is not None
    return evolve(case)


def _answered(context: Context, outcomes: Sequence[Any]) -> list[GrievanceState | Refusal]:
    states = [outcome for outcome in outcomes if not isinstance(outcome, Refusal)]
    names = user_names(context, {case.owner for case in states if case.owner is not None})
    ids = iter(context.ids.encode_all("grievances", [case.id for case in states]))
    return [
        outcome
        if isinstance(outcome, Refusal)
        else GrievanceState(
            id=next(ids), code=outcome.code, status=outcome.status,
            owner=outcome.owner_role if outcome.owner is None else names[outcome.owner], decision=outcome.decision,
        )
        for outcome in outcomes
    ]  # fmt: skip


def _simple(
    context: Context, items: Sequence[Any], step: Callable[[Work, Case, Any], Refusal | None]
) -> list[GrievanceState | Refusal]:
    work, outcomes = _each(context, items, step)
    work.write()
    return _answered(context, outcomes)


@command("grievances.move", input=MoveGrievance, result=GrievanceState)
def move(context: Context, items: tuple[MoveGrievance, ...]) -> list[GrievanceState | Refusal]:
    """Take a grievance up (open) or begin to work on it (in_progress)."""

    def step(work: Work, case: Case, item: MoveGrievance) -> Refusal | None:
        if item.status not in STATES.moves:
            message = f"there is no status {item.status!r}{suggestion(item.status, STATES.moves)}"
            return invalid(Problem("status", "choice", message))
        refusal = case.becomes(item.status, allowed=item.status in BY_HAND)
        if refusal is None:
            work.keep(case, "move", item.comment)
        return refusal

    return _simple(context, items, step)


@command("grievances.assign", input=AssignGrievance, result=GrievanceState)
def assign(context: Context, items: tuple[AssignGrievance, ...]) -> list[GrievanceState | Refusal]:
    """Give a grievance to a user, who is told when its time runs out, or to everybody who has a role."""
    owners = resolve_users(context, {item.owner for item in items})

    def step(work: Work, case: Case, item: AssignGrievance) -> Refusal | None:
        owner = owners.get(item.owner)
        if owner is None and item.owner in context.settings.roles:
            case.owner, case.owner_role = None, item.owner
        elif owner is None or owner.disabled:
            return not_found("owner", "user or role", item.owner)
        else:
            case.owner, case.owner_role = owner.id, None
        work.keep(case, "assign", None)
        return None

    return _simple(context, items, step)


@command("grievances.comment", input=CommentOnGrievance, result=GrievanceState)
def comment(context: Context, items: tuple[CommentOnGrievance, ...]) -> list[GrievanceState | Refusal]:
    """Say something about a grievance; its state stays."""

    def step(work: Work, case: Case, item: CommentOnGrievance) -> Refusal | None:
        if not item.comment.strip():
            return invalid(Problem("comment", "required", "a comment says something"))
        work.comments.append(Comment(case.id, "comment", item.comment))
        return None

    return _simple(context, items, step)


@command("grievances.resolve", input=ResolveGrievance, result=GrievanceState)
def resolve(context: Context, items: tuple[ResolveGrievance, ...]) -> list[GrievanceState | Refusal]:
    """Decide a grievance: what it held is released, or cancelled; who complained is told, unless anonymous."""
    cancelling: dict[int, bool] = {}
    told: list[Message] = []

    def step(work: Work, case: Case, item: ResolveGrievance) -> Refusal | None:
        if not item.comment.strip():
            return invalid(Problem("comment", "required", "say why it is decided so"))
        refusal = case.becomes("resolved")
        if refusal is None:
            case.decision, case.resolved_on = item.decision, context.today
            work.keep(case, "decision", item.comment)
            cancelling[case.id] = item.cancel_payment and item.decision in CANCELLING
            told.extend(_news(case, item))
        return refusal

    work, outcomes = _each(context, items, step)
    codes = {case.id: case.code for case in work.cases.values()}
    holding = holds_of(context, cancelling)
    wanted = [Wanted(number, order, codes[number], cancelling[number]) for number, order in holding.items()]
    notes = let_go(context, wanted)
    owed, later = let_on(context, cancelling)
    notes += later
    notes += [
        (number, "no payment is cancelled: the grievance holds none")
        for number, cancel in cancelling.items()
        if cancel and number not in holding and number not in owed
    ]
    work.comments += [Comment(number, "note", text) for number, text in notes]
    work.write()
    notify(context, told)
    return _answered(context, outcomes)


def _news(case: Case, item: ResolveGrievance) -> list[Message]:
    """What the complainant is told; of a sensitive matter only that there is an answer."""
    text = f"Your grievance {case.code} is decided: {item.decision}. {item.comment}"
    if case.sensitivity == "sensitive":
        text = f"There is an answer to {case.code}. Please ask at the office."
    about = ("grievances", case.id)
    if case.reporter_person is not None:
        return [Message(text=text, person=case.reporter_person, subject=case.code, about=about)]
    return [] if case.reporter is None else [Message(text=text, to=case.reporter, subject=case.code, about=about)]


@command("grievances.close", input=GrievanceStep, result=GrievanceState)
def close(context: Context, items: tuple[GrievanceStep, ...]) -> list[GrievanceState | Refusal]:
    """End a resolved grievance."""

    def step(work: Work, case: Case, item: GrievanceStep) -> Refusal | None:
        refusal = case.becomes("closed")
        if refusal is None:
            work.keep(case, "close", item.comment)
        return refusal

    return _simple(context, items, step)


def _reopening(kind: str) -> Callable[[Work, Case, GrievanceStep], Refusal | None]:
    """Its decision stands no more; its due day stays, so that the clock goes on."""

    def step(work: Work, case: Case, item: GrievanceStep) -> Refusal | None:
        refusal = case.becomes("reopened")
        if refusal is None:
            case.decision, case.resolved_on = None, None
            work.keep(case, kind, item.comment)
        return refusal

    return step


@command("grievances.reopen", input=GrievanceStep, result=GrievanceState)
def reopen(context: Context, items: tuple[GrievanceStep, ...]) -> list[GrievanceState | Refusal]:
    """Take a resolved or closed grievance up again."""
    return _simple(context, items, _reopening("reopen"))


@command("grievances.appeal", input=GrievanceStep, result=GrievanceState)
def appeal(context: Context, items: tuple[GrievanceStep, ...]) -> list[GrievanceState | Refusal]:
    """Take a resolved or closed grievance up again because the complainant does not accept the decision."""
    return _simple(context, items, _reopening("appeal"))
