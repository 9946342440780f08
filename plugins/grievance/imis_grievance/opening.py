"""Opening a grievance: its subject, its due day, and the payment that its category keeps back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, Literal

from attrs import field, frozen

from imis_core.api import (
    Context,
    Problem,
    Refusal,
    command,
    insert_rows,
    invalid,
    name_problem,
    not_found,
    resolve_persons,
    take_ids,
)
from imis_grievance.comments import Comment, write_comments
from imis_grievance.holding import Wanted, hold, keep_holds
from imis_grievance.rules import due_day
from imis_grievance.subjects import Found, Subject, resolve, scheme_refusal
from imis_grievance.tables import grievance_categories, grievances

FIRST: Final = "received"


@frozen(kw_only=True)
class OpenGrievance:
    """`reporter`: a person's number, or a name or address in words; with `anonymous` it is not kept anywhere."""

    scheme: str | None = None
    category: str
    description: str
    channel: str = "office"
    # The audit's copy of the request leaves it out: the row has it, unless the grievance is anonymous.
    reporter: str | None = field(default=None, metadata={"secret": "unrecorded"})
    anonymous: bool = False
    subject: Subject | None = None
    priority: Literal["low", "normal", "high", "urgent"] = "normal"


@frozen(kw_only=True)
class GrievanceOpened:
    """`due`: the last day in time; `held`: the payment that it is about is kept back."""

    id: str
    code: str
    status: str
    due: date
    held: bool


@frozen
class _Opening:
    """A grievance to be written; its references are known."""

    position: int
    number: int
    code: str
    item: OpenGrievance
    category: Any
    subject: Found
    reporter_person: Any
    due: date


@command("grievances.open", input=OpenGrievance, result=GrievanceOpened)
def open_grievance(context: Context, items: tuple[OpenGrievance, ...]) -> list[GrievanceOpened | Refusal]:
    """Take a grievance in; a category that holds payments keeps the order back that it is about, if it is unsent."""
    categories = dict(context.named(grievance_categories, {item.category for item in items}))
    subjects = resolve(context, [item.subject for item in items])
    reporters = resolve_persons(context, {i.reporter for i in items if i.reporter is not None and not i.anonymous})
    outcomes: list[Any] = [_refusal(context, item, categories, subjects) for item in items]
    positions = [position for position, outcome in enumerate(outcomes) if outcome is None]
    numbers = take_ids(context.connection, grievances, len(positions))
    openings = [
        _opening(context, position, number, items[position], categories, subjects, reporters)
        for position, number in zip(positions, numbers, strict=True)
    ]
    wanted = [
        Wanted(o.number, o.subject.order, o.code)
        for o in openings
        if o.category.holds_payment and o.subject.order is not None
    ]
    holding, notes = hold(context, wanted)
    _write(context, openings)
    keep_holds(context, holding)
    write_comments(context, [Comment(number, "note", text) for number, text in notes])
    ids = context.ids.encode_all("grievances", [o.number for o in openings])
    for opening, identity in zip(openings, ids, strict=True):
        outcomes[opening.position] = GrievanceOpened(
            id=identity, code=opening.code, status=FIRST, due=opening.due, held=opening.number in holding
        )
    return outcomes


def _refusal(
    context: Context,
    item: OpenGrievance,
    categories: Mapping[str, Any],
    subjects: Mapping[Subject, Found | Refusal],
) -> Refusal | None:
    problems = [name_problem("channel", item.channel)]
    if item.reporter is not None:
        problems.append(name_problem("reporter", item.reporter))
    if not item.description.strip():
        problems.append(Problem("description", "required", "say what the grievance is about"))
    told = [problem for problem in problems if problem is not None]
    if told:
        return invalid(*told)
    if item.category not in categories:
        return not_found("category", "category", item.category)
    subject = None if item.subject is None else subjects[item.subject]
    if isinstance(subject, Refusal):
        return subject
    return scheme_refusal(context, item.scheme, subject)


def _opening(
    context: Context, position: int, number: int, item: OpenGrievance,
    categories: Mapping[str, Any], subjects: Mapping[Subject, Found | Refusal], reporters: Mapping[str, Any],
) -> _Opening:  # fmt: skip
    found = Found() if item.subject is None else subjects[item.subject]
    assert isinstance(found, Found)
    category = categories[item.category]
    person = None if item.anonymous or item.reporter is None else reporters.get(item.reporter)
    code = f"G-{context.today.year}-{number:06d}"
    return _Opening(position, number, code, item, category, found, person, due_day(context.today, category.days))


def _write(context: Context, openings: Sequence[_Opening]) -> None:
    if not openings:
        return
    count = len(openings)
    of_subject = ("order", "person", "group", "claim", "staff", "place", "provider")
    insert_rows(
        context.connection,
        grievances,
        {
            "id": [o.number for o in openings],
            "code": [o.code for o in openings],
            "scheme": [o.item.scheme or o.subject.scheme for o in openings],
            "category": [o.category.id for o in openings],
            "days": [o.category.days for o in openings],
            "status": [FIRST] * count,
            "channel": [o.item.channel for o in openings],
            "priority": [o.item.priority for o in openings],
            "description": [o.item.description for o in openings],
            "reporter": [_reporter(o) for o in openings],
            "reporter_person": [None if o.reporter_person is None else o.reporter_person.id for o in openings],
            "anonymous": [o.item.anonymous for o in openings],
            **{column: [getattr(o.subject, column) for o in openings] for column in of_subject},
            "opened_on": [context.today] * count,
            "opened_by": [context.caller.user] * count,
            "due": [o.due for o in openings],
        },
    )


def _reporter(opening: _Opening) -> str | None:
    if opening.item.anonymous:
        return None
    person = opening.reporter_person
    return opening.item.reporter if person is None else str(person.number)
