"""A stored file given out piece by piece: a bank file of a million payments does not fit into an answer in memory."""

from __future__ import annotations

import hashlib
from typing import IO, TYPE_CHECKING, Final

from attrs import frozen

from imis_core.attachments.queries import READ, found_row
from imis_core.attachments.store import FOLDER, damaged, missing, path_of
from imis_core.context import Context
from imis_core.errors import ImisError, not_found
from imis_core.logs import work as logged
from imis_core.security.caller import Caller, denied

if TYPE_CHECKING:
    from imis_core.application import Application

PIECE: Final = 1024 * 1024  # bytes


@frozen
class OpenedFile:
    """A file from its beginning; `size` in bytes. It is what was stored: its digest was compared."""

    name: str
    media_type: str
    size: int
    content: IO[bytes]


def open_file(app: Application, attachment: str, caller: Caller) -> OpenedFile:
    """A stored file that the caller may read, as `attachments.read` tells it, but never whole in memory.

    Whoever asks closes its `content`. Raises `permission.denied`, `not_found`, and `attachments.missing` or
    `attachments.damaged` (503).
    """
    if not caller.may(READ):
        raise ImisError(denied(READ))
    with logged(query=READ, actor=caller.user), app.database.query(caller) as connection:
        context = Context(app, connection, caller, app.clock.now(), app.clock.today(), command=READ)
        row = found_row(context, attachment)
    if row is None:
        raise ImisError(not_found("attachment", "attachment", attachment))
    path = path_of(app.var / FOLDER, row.digest)
    try:
        file = path.open("rb")
    except OSError as error:
        raise missing(path, error) from None
    digest = hashlib.sha256()
    for piece in iter(lambda: file.read(PIECE), b""):
        digest.update(piece)
    if digest.hexdigest() != row.digest:
        file.close()
        raise damaged(path)
    file.seek(0)
    return OpenedFile(row.name, row.media_type, row.size, file)
