"""Feedback: the patient is asked whether the care that a facility claims for was given, and the answer is kept.

It is information for reviewers and supervisors. It moves no claim and holds up no payment; a message goes through the
notification port, the answer is recorded by whoever hears it, never by the facility that claims.
Source: health_insurance.md 4; openIMIS knows the same as feedback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import persons
from imis_core.claims.moving import ClaimRow, locked_claims
from imis_core.claims.selecting import drawn
from imis_core.claims.states import NUMBERS as STATES
from imis_core.claims.states import VOID_NUMBERS
from imis_core.claims.tables import claim_feedback, claims
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.notifications.outbox import Message, notify
from imis_core.places.tables import providers
from imis_core.queries import Listing, query
from imis_core.translations import SOURCE, Writer, language_for

RATING_MAX: Final = 5
ASKED: Final = "asked"
ANSWERED: Final = "answered"


@frozen(kw_only=True)
class AskFeedback:
    claim: str


@frozen(kw_only=True)
class FeedbackState:
    code: str
    status: str


@command("claims.ask_feedback", input=AskFeedback, result=FeedbackState)
def ask_feedback(context: Context, items: tuple[AskFeedback, ...]) -> list[FeedbackState | Refusal]:
    """Ask the patients of claims whether the care was given; each gets a message."""
    known = locked_claims(context, [item.claim for item in items])
    stands = _stored(context, {claim.id for claim in known.values()})
    outcomes: list[FeedbackState | Refusal] = []
    fresh: list[int] = []
    for item in items:
        claim = known.get(item.claim)
        refusal = _not_askable(item.claim, claim)
        if refusal is not None or claim is None:
            outcomes.append(refusal or not_found("claim", "claim", item.claim))
        elif claim.id in stands or claim.id in fresh:
            outcomes.append(Refusal("claims.feedback_asked", f"the patient of {claim.code!r} was asked already"))
        else:
            fresh.append(claim.id)
            outcomes.append(FeedbackState(code=claim.code, status=ASKED))
    _ask(context, fresh)
    return outcomes


def ask_by_chance(context: Context, scheme: str, numbers: Sequence[int]) -> None:
    """Ask the patients of the share of claims that the scheme's settings say (`feedback`), chosen by chance."""
    table = context.settings.schemes[scheme].feedback
    if table is not None:
        _ask(context, drawn(context, "claims.feedback", numbers, table.share))


@frozen(kw_only=True)
class RecordFeedback:
    """What the patient says. `items_received`: everything that the claim names; `paid`: he or she had to pay for it;
    `rating`: of the care, 0 to 5."""

    claim: str
    care_given: bool
    items_received: bool | None = None
    paid: bool | None = None
    rating: int | None = None
    note: str | None = None
    on: date | None = None


@command("claims.record_feedback", input=RecordFeedback, result=FeedbackState)
def record_feedback(context: Context, items: tuple[RecordFeedback, ...]) -> list[FeedbackState | Refusal]:
    """Keep what a patient says of the care, asked or not; a later answer replaces it, the history keeps both."""
    known = locked_claims(context, [item.claim for item in items])
    providers_of = _providers(context, {claim.id for claim in known.values()})
    stands = _stored(context, {claim.id for claim in known.values()})
    outcomes: list[FeedbackState | Refusal] = []
    answers: dict[int, RecordFeedback] = {}
    for item in items:
        claim = known.get(item.claim)
        refusal = _not_askable(item.claim, claim) or _not_recorded(context, item)
        if refusal is not None or claim is None:
            outcomes.append(refusal or not_found("claim", "claim", item.claim))
        elif not context.caller.everywhere and providers_of[claim.id] in context.caller.providers:
            outcomes.append(Refusal("permission.denied", "a facility does not answer for its own patient"))
        else:
            answers[claim.id] = item
            outcomes.append(FeedbackState(code=claim.code, status=ANSWERED))
    _write(context, answers, stands)
    return outcomes


def _not_askable(name: str, claim: ClaimRow | None) -> Refusal | None:
    if claim is None:
        return not_found("claim", "claim", name)
    if STATES[claim.state] in VOID_NUMBERS:
        return Refusal("claims.wrong_state", f"the claim {claim.code!r} is {claim.state}; nothing is asked about it")
    return None


def _not_recorded(context: Context, item: RecordFeedback) -> Refusal | None:
    if item.on is not None and item.on > context.today:
        return invalid(Problem("on", "future", "the patient answered in the future"))
    if item.rating is not None and not 0 <= item.rating <= RATING_MAX:
        return invalid(Problem("rating", "range", f"expected a rating from 0 to {RATING_MAX}"))
    return None


def _stored(context: Context, numbers: Iterable[int]) -> set[int]:
    wanted = set(numbers)
    if not wanted:
        return set()
    rows = context.execute(sa.select(claim_feedback.c.claim).where(claim_feedback.c.claim == any_of(wanted)))
    return set(rows.scalars())


def _providers(context: Context, numbers: set[int]) -> dict[int, int]:
    if not numbers:
        return {}
    rows = context.execute(sa.select(claims.c.id, claims.c.provider).where(claims.c.id == any_of(numbers)))
    return {row.id: row.provider for row in rows}


def _ask(context: Context, numbers: Sequence[int]) -> None:
    """Note that patients are asked and queue the messages."""
    if not numbers:
        return
    rows = context.execute(
        sa.select(claims.c.id, claims.c.person, claims.c.target_date, providers.c.name)
        .join(providers, providers.c.id == claims.c.provider)
        .where(claims.c.id == any_of(numbers))
        .order_by(claims.c.id)
    ).all()
    insert_rows(
        context.connection,
        claim_feedback,
        {
            "claim": [row.id for row in rows],
            "status": [ASKED] * len(rows),
            "asked_on": [context.today] * len(rows),
        },
    )
    writer = Writer(language_for(None, context.settings.deployment.languages) or SOURCE)
    notify(
        context,
        [
            Message(
                person=row.person,
                subject=writer.say("Was the care given?"),
                text=writer.say(
                    "{facility} asks the scheme to pay for care that you had there on {day}. "
                    "Did you get it? Please tell your enrolment officer.",
                    facility=row.name,
                    day=writer.day(row.target_date),
                ),
                about=("claims", row.id),
            )
            for row in rows
        ],
    )


_UPDATE: Final = sa.text(
    """
    UPDATE core.claim_feedback f SET status = 'answered', answered_on = n.answered_on, care_given = n.care_given,
        items_received = n.items_received, paid = n.paid, rating = n.rating, note = n.note, recorded_by = :recorded_by
    FROM unnest(CAST(:claims AS bigint[]), CAST(:days AS date[]), CAST(:given AS boolean[]),
                CAST(:received AS boolean[]), CAST(:paid AS boolean[]), CAST(:ratings AS smallint[]),
                CAST(:notes AS text[])) AS n(claim, answered_on, care_given, items_received, paid, rating, note)
    WHERE f.claim = n.claim
    """
)


def _write(context: Context, answers: dict[int, RecordFeedback], stands: set[int]) -> None:
    if not answers:
        return
    unasked = [claim for claim in answers if claim not in stands]
    insert_rows(context.connection, claim_feedback, {"claim": unasked, "status": [ASKED] * len(unasked)})
    said = list(answers.values())
    context.execute(
        _UPDATE,
        {
            "claims": list(answers), "days": [item.on or context.today for item in said],
            "given": [item.care_given for item in said], "received": [item.items_received for item in said],
            "paid": [item.paid for item in said], "ratings": [item.rating for item in said],
            "notes": [item.note for item in said], "recorded_by": context.caller.user,
        },
    )  # fmt: skip


@frozen(kw_only=True)
class ListFeedback:
    """`care_given` false: those whose patient says that it was not."""

    status: Literal["asked", "answered"] | None = None
    scheme: str | None = None
    provider: str | None = None
    care_given: bool | None = None


@frozen(kw_only=True)
class ListedFeedback:
    code: str
    scheme: str
    provider: str
    number: str
    to: date
    status: str
    asked_on: date | None
    answered_on: date | None
    care_given: bool | None
    items_received: bool | None
    paid: bool | None
    rating: int | None
    note: str | None


@query("claims.feedback", input=ListFeedback, result=ListedFeedback, listing=True)
def list_feedback(context: Context, asked: ListFeedback) -> Listing:
    """What patients were asked and what they said of the care that was claimed for, in order of submission."""
    f = claim_feedback.c
    select = (
        sa.select(claim_feedback, claims, providers.c.code.label("provider_code"), persons.c.number)
        .join(claims, claims.c.id == f.claim)
        .join(providers, providers.c.id == claims.c.provider)
        .outerjoin(persons, persons.c.id == claims.c.person)
        .where(context.scoped(claims))
    )
    for column, wanted in (
        (f.status, asked.status), (claims.c.scheme, asked.scheme), (providers.c.code, asked.provider),
        (f.care_given, asked.care_given),
    ):  # fmt: skip
        if wanted is not None:
            select = select.where(column == wanted)
    return Listing(select, (f.claim,), _built)


def _built(rows: Sequence[Any]) -> list[ListedFeedback]:
    return [
        ListedFeedback(
            code=row.code, scheme=row.scheme, provider=row.provider_code, number=row.number or "", to=row.to_date,
            status=row.status, asked_on=row.asked_on, answered_on=row.answered_on, care_given=row.care_given,
            items_received=row.items_received, paid=row.paid, rating=row.rating, note=row.note,
        )
        for row in rows
    ]  # fmt: skip


COMMANDS: Final = (ask_feedback, record_feedback)
QUERIES: Final = (list_feedback,)
