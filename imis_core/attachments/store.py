"""Files on disk, named by their content, and their rows. It decides nothing about who may read them.

A file is written once: to a temporary name, flushed to the disk, and renamed before its row is committed, so that a row
never names half a file. A transaction that is rolled back leaves a file without a row, which harms nobody.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from attrs import frozen

from imis_core.attachments.tables import attachments
from imis_core.context import Context
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.errors import Refusal, Unavailable

WRITE_BUFFER: Final = 1024 * 1024  # bytes
FOLDER: Final = "attachments"  # below the deployment's var


@frozen
class NewFile:
    """A file to be kept. `about`: noun and number of what it belongs to, None for nothing."""

    name: str
    media_type: str
    content: bytes
    about: tuple[str, int] | None = None


@frozen
class StoredFile:
    """A file that lies on the disk already, under its digest; `size` in bytes."""

    name: str
    media_type: str
    digest: str
    size: int
    about: tuple[str, int] | None = None


def store_files(context: Context, files: Sequence[NewFile]) -> list[int]:
    """Keep files and give the numbers of their attachments, in order; equal content lies on the disk once.

    Raises `attachments.unwritable` where the disk does not take them.
    """
    folder = context.app.var / FOLDER
    return keep_files(
        context,
        [
            StoredFile(file.name, file.media_type, write_content(folder, file.content), len(file.content), file.about)
            for file in files
        ],
    )


def keep_files(context: Context, files: Sequence[StoredFile]) -> list[int]:
    """Make attachments of files that lie on the disk; their numbers, in order."""
    if not files:
        return []
    numbers = take_ids(context.connection, attachments, len(files))
    insert_rows(
        context.connection,
        attachments,
        {
            "id": numbers,
            "name": [file.name for file in files],
            "media_type": [file.media_type for file in files],
            "size": [file.size for file in files],
            "digest": [file.digest for file in files],
            "about_noun": [None if file.about is None else file.about[0] for file in files],
            "about": [None if file.about is None else file.about[1] for file in files],
            "added_by": [context.caller.user] * len(files),
            "added_at": [context.now] * len(files),
            "audit": [context.audit] * len(files),
        },
    )
    return numbers


def digest_of_content(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_content(folder: Path, content: bytes) -> str:
    """Write content under its digest, whole and durable before this returns; the digest. Once there, it stays."""
    digest = digest_of_content(content)
    if path_of(folder, digest).exists():
        return digest
    return write_stream(folder, lambda out: out.write(content))[0]


def write_stream(folder: Path, write: Callable[[BinaryIO], object]) -> tuple[str, int]:
    """As `write_content`, of what `write` writes into the file it is given, piece by piece; digest and size.

    What `write` raises is raised, and nothing stays on the disk.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = folder / f".{secrets.token_hex(8)}"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb", buffering=WRITE_BUFFER) as file:
                out = _Hashed(file)
                write(cast(BinaryIO, out))
                file.flush()
                os.fsync(file.fileno())
            digest = out.digest.hexdigest()
            target = path_of(folder, digest)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            os.replace(fresh, target)  # two that write the same content at once write the same file
        finally:
            fresh.unlink(missing_ok=True)
        _keep_names(target.parent)
        _keep_names(folder)
    except OSError as error:
        reason = f"{folder} cannot be written: {error.strerror}; make room or mend its rights, and try again"
        raise Unavailable(Refusal("attachments.unwritable", reason)) from None
    return digest, out.size


class _Hashed(io.RawIOBase):
    """A file that is written and hashed at once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, content: Any) -> int:
        self.digest.update(content)
        self.size += len(content)
        return self._file.write(content)


def read_content(folder: Path, digest: str) -> bytes:
    """The content of a digest. Raises `attachments.missing`, or `attachments.damaged` if it is no longer that."""
    path = path_of(folder, digest)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise missing(path, error) from None
    if digest_of_content(content) != digest:
        raise damaged(path)
    return content


def missing(path: Path, error: OSError) -> Unavailable:
    """`attachments.missing`: a stored file that the disk does not give."""
    reason = f"{path} cannot be read: {error.strerror}; restore var/{FOLDER} from the backup"
    return Unavailable(Refusal("attachments.missing", reason))


def damaged(path: Path) -> Unavailable:
    """`attachments.damaged`: a stored file that is no longer what was stored."""
    reason = f"{path} is not what was stored; restore it from the backup"
    return Unavailable(Refusal("attachments.damaged", reason))


def path_of(folder: Path, digest: str) -> Path:
    """Where content of a digest lies: in one of 256 folders by its first two digits."""
    return folder / digest[:2] / digest


def _keep_names(folder: Path) -> None:
    """Flush a folder's own entries; Windows, which has no such call, keeps them by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
