"""The command of the room attachments: a user stores a file, perhaps about something that they may see."""

from __future__ import annotations

import re
from typing import Any, Final

from attrs import field, frozen

from imis_core.attachments.store import NewFile, digest_of_content, store_files
from imis_core.attachments.visibility import visible_subjects
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found

FILE_MAX: Final = 10 * 1024 * 1024  # bytes of one file that comes through the doors
NAME_MAX: Final = 200  # characters
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\Z")


@frozen(kw_only=True)
class AddAttachment:
    """`content`: the file's bytes as base64, at most 10 MiB of them; `about`: the id of what it belongs to."""

    name: str
    media_type: str
    # The audit keeps the request without the file; its digest is in the row.
    content: bytes = field(repr=False, metadata={"secret": "unrecorded"})
    about: str | None = None


@frozen(kw_only=True)
class AttachmentAdded:
    """`size` in bytes; `digest` is the SHA-256 of the content in hexadecimal."""

    id: str
    name: str
    size: int
    digest: str


@command("attachments.add", input=AddAttachment, result=AttachmentAdded)
def add(context: Context, items: tuple[AddAttachment, ...]) -> list[AttachmentAdded | Refusal]:
    """Store a file, perhaps about something that is named by its id; who may see that may see the file."""
    subjects = [None if item.about is None else context.ids.decode_any(item.about) for item in items]
    visible = visible_subjects(context, [subject for subject in subjects if subject is not None])
    outcomes: list[Any] = [None] * len(items)
    files: list[tuple[int, NewFile]] = []
    for position, (item, subject) in enumerate(zip(items, subjects, strict=True)):
        problems = _problems(item)
        if problems:
            outcomes[position] = invalid(*problems)
        elif item.about is not None and subject not in visible:
            outcomes[position] = not_found("about", "entity", item.about)
        else:
            files.append((position, NewFile(item.name, item.media_type, item.content, subject)))
    stored = store_files(context, [file for _, file in files])
    for (position, file), identity in zip(files, context.ids.encode_all("attachments", stored), strict=True):
        outcomes[position] = AttachmentAdded(
            id=identity, name=file.name, size=len(file.content), digest=digest_of_content(file.content)
        )
    return outcomes


def _problems(item: AddAttachment) -> list[Problem]:
    found = []
    if not item.name.strip() or len(item.name) > NAME_MAX or not item.name.isprintable() or set(item.name) & set("/\\"):
        message = f"a file's name has 1 to {NAME_MAX} printable characters and no slash"
        found.append(Problem("name", "format", message))
    if not _MEDIA_TYPE.match(item.media_type):
        found.append(Problem("media_type", "format", "expected a media type such as application/pdf"))
    if len(item.content) > FILE_MAX:
        message = f"the file has {len(item.content)} bytes; at most {FILE_MAX} are taken"
        found.append(Problem("content", "too_large", message))
    return found


COMMANDS: Final = (add,)
