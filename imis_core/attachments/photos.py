"""Photos of persons, set and read: a photo is an attachment, its day stands with the person.

Who may see the person may see the photo; earlier ones stay. Source: health_insurance.md 1.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import field, frozen
from sqlalchemy.dialects.postgresql import distinct_on

from imis_core.attachments.commands import FILE_MAX
from imis_core.attachments.store import FOLDER, NewFile, read_content, store_files
from imis_core.attachments.tables import attachments
from imis_core.attachments.visibility import seen
from imis_core.beneficiaries.lookup import PersonRow, resolve_persons
from imis_core.beneficiaries.memberships import person_reference
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.queries import query

NAME: Final = "photo"
PERSONS_MAX: Final = 1_000  # of one question
# How files of these kinds begin.
_BEGINS: Final = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}


@frozen(kw_only=True)
class SetPhoto:
    """`content`: the picture as base64; `on`: the day on which it was taken, by default today."""

    person: str | None = None
    number: str | None = None
    media_type: Literal["image/jpeg", "image/png"] = "image/jpeg"
    content: bytes = field(repr=False, metadata={"secret": "unrecorded"})
    on: date | None = None


@frozen(kw_only=True)
class PhotoSet:
    """`photo`: the attachment's id."""

    id: str
    number: str
    photo: str
    photo_on: date


@command("beneficiaries.set_photo", input=SetPhoto, result=PhotoSet)
def set_photos(context: Context, items: tuple[SetPhoto, ...]) -> list[PhotoSet | Refusal]:
    """Keep a person's photo and the day on which it was taken."""
    references = [person_reference(item) for item in items]
    found = resolve_persons(context, {r for r in references if isinstance(r, str)})
    outcomes: list[Any] = []
    taken: list[tuple[int, SetPhoto, PersonRow]] = []
    for position, (item, reference) in enumerate(zip(items, references, strict=True)):
        person = found.get(reference) if isinstance(reference, str) else None
        problem = _problem(item, context.today)
        if isinstance(reference, Refusal):
            outcomes.append(reference)
        elif person is None:
            outcomes.append(not_found("number" if item.person is None else "person", "person", reference))
        elif problem is not None:
            outcomes.append(invalid(problem))
        else:
            outcomes.append(None)
            taken.append((position, item, person))
    files = [NewFile(NAME, item.media_type, item.content, ("persons", person.id)) for _, item, person in taken]
    stored = context.ids.encode_all("attachments", store_files(context, files))
    days = {person.id: item.on or context.today for _, item, person in taken}
    if days:
        context.execute(_SET, {"ids": sorted(days), "days": [days[number] for number in sorted(days)]})
    people = context.ids.encode_all("persons", [person.id for _, _, person in taken])
    for (position, item, person), photo, identity in zip(taken, stored, people, strict=True):
        outcomes[position] = PhotoSet(id=identity, number=person.number, photo=photo, photo_on=item.on or context.today)
    return outcomes


@frozen(kw_only=True)
class AskPhotos:
    """`persons`: numbers or ids, at most 1,000."""

    persons: tuple[str, ...]


@frozen(kw_only=True)
class Photo:
    """`content`: the picture as base64."""

    person: str
    number: str
    media_type: str
    content: bytes = field(repr=False)


@query("beneficiaries.photos", input=AskPhotos, result=Photo, listing=True)
def photos(context: Context, asked: AskPhotos) -> list[Photo] | Refusal:
    """The newest photo of each of these persons, for whoever may see it; who has none is left out.

    Raises `attachments.missing` or `attachments.damaged` for one that the disk has lost.
    """
    if len(asked.persons) > PERSONS_MAX:
        message = f"{len(asked.persons)} persons are named; ask for at most {PERSONS_MAX} at once"
        return invalid(Problem("persons", "too_many", message))
    found = {person.id: person.number for person in resolve_persons(context, asked.persons).values()}
    of_persons = (
        attachments.c.about_noun == "persons",
        attachments.c.about == any_of(found),
        attachments.c.name == NAME,
        seen(context),
    )
    rows = context.execute(
        sa.select(attachments.c.about, attachments.c.digest, attachments.c.media_type)
        .ext(distinct_on(attachments.c.about))
        .where(*of_persons)
        .order_by(attachments.c.about, attachments.c.id.desc())
    ).all()
    people = context.ids.encode_all("persons", [row.about for row in rows])
    return [
        Photo(
            person=identity, number=found[row.about], media_type=row.media_type,
            content=read_content(context.app.var / FOLDER, row.digest),
        )
        for identity, row in zip(people, rows, strict=True)
    ]  # fmt: skip


COMMANDS: Final = (set_photos,)
QUERIES: Final = (photos,)


def _problem(item: SetPhoto, today: date) -> Problem | None:
    if item.on is not None and item.on > today:
        return Problem("on", "future", f"{item.on} lies in the future; today is {today}")
    if len(item.content) > FILE_MAX:
        return Problem("content", "too_large", f"the file has {len(item.content)} bytes; at most {FILE_MAX} are taken")
    if not item.content.startswith(_BEGINS[item.media_type]):
        return Problem("content", "format", f"this is no picture of the type {item.media_type}")
    return None


_SET: Final = sa.text(
    "UPDATE core.persons p SET photo_on = n.day "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS n(id, day) WHERE p.id = n.id"
)
