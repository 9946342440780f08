"""Queries of the room attachments: what is stored, as far as the caller may see it, and the files themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.attachments.store import FOLDER, read_content
from imis_core.attachments.tables import attachments
from imis_core.attachments.visibility import seen, visible_subjects
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.queries import Listing, query

READ: Final = "attachments.read"


@frozen(kw_only=True)
class AttachmentRef:
    attachment: str


@frozen(kw_only=True)
class ListAttachments:
    about: str | None = None


@frozen(kw_only=True)
class Attachment:
    """`size` in bytes; `about` is the id of what it belongs to."""

    id: str
    name: str
    media_type: str
    size: int
    digest: str
    about: str | None
    added_at: datetime


@frozen(kw_only=True)
class AttachmentContent:
    name: str
    media_type: str
    content: bytes = field(repr=False)


@query("attachments.show", input=AttachmentRef, result=Attachment)
def show(context: Context, asked: AttachmentRef) -> Attachment | Refusal:
    """A stored file without its content."""
    row = found_row(context, asked.attachment)
    return not_found("attachment", "attachment", asked.attachment) if row is None else _results(context, [row])[0]


@query("attachments.list", input=ListAttachments, result=Attachment, listing=True)
def list_attachments(context: Context, asked: ListAttachments) -> Listing | Refusal:
    """Stored files, perhaps only those about one thing, in the order in which they were added."""
    select = sa.select(attachments).where(seen(context))
    if asked.about is not None:
        subject = context.ids.decode_any(asked.about)
        if subject is None or subject not in visible_subjects(context, [subject]):
            return not_found("about", "entity", asked.about)
        select = select.where(attachments.c.about_noun == subject[0], attachments.c.about == subject[1])
    return Listing(select, (attachments.c.id,), lambda rows: _results(context, rows))


@query(READ, input=AttachmentRef, result=AttachmentContent)
def read(context: Context, asked: AttachmentRef) -> AttachmentContent | Refusal:
    """A stored file with its content as base64."""
    row = found_row(context, asked.attachment)
    if row is None:
        return not_found("attachment", "attachment", asked.attachment)
    content = read_content(context.app.var / FOLDER, row.digest)
    return AttachmentContent(name=row.name, media_type=row.media_type, content=content)


def found_row(context: Context, name: str) -> Any:
    """The row of a stored file that the caller may see, by its outside id, or None."""
    number = context.ids.decode("attachments", name)
    if number is None:
        return None
    return context.execute(sa.select(attachments).where(attachments.c.id == number, seen(context))).first()


def _results(context: Context, rows: Sequence[Any]) -> list[Attachment]:
    ids = context.ids.encode_all("attachments", [row.id for row in rows])
    return [
        Attachment(
            id=identity, name=row.name, media_type=row.media_type, size=row.size, digest=row.digest,
            about=None if row.about is None else context.ids.encode(row.about_noun, row.about), added_at=row.added_at,
        )
        for identity, row in zip(ids, rows, strict=True)
    ]  # fmt: skip


QUERIES: Final = (show, list_attachments, read)
