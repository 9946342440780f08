"""The file of a backup: one tar that is written and read as a stream, in memory of a few parts.

Its members, in this order: `imis-backup.json` (what it is), `settings/` and `keys/` (the deployment's files),
`database/` (a gzipped SQL script in numbered parts), `files/` (what lies below `var/`), `manifest.json` (what must be
there: counts, digests, revisions) and `manifest.sha256`. What is in the script is others' business.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from attrs import field, frozen

from imis_core.errors import ImisError, Refusal, Unavailable, refused

FORMAT: Final = 1
HEADER: Final = "imis-backup.json"
MANIFEST: Final = "manifest.json"
DIGEST: Final = "manifest.sha256"
DATABASE: Final = "database/"
SETTINGS: Final = "settings/"
KEYS: Final = "keys/"
FILES: Final = "files/"
PART_BYTES: Final = 8 * 1024 * 1024
_READ_BYTES: Final = 256 * 1024
_SMALL_MAX: Final = 64 * 1024 * 1024  # bytes of a manifest
_BY_CONTENT: Final = re.compile(r"files/attachments/[0-9a-f]{2}/([0-9a-f]{64})\Z")
_NAME: Final = re.compile(r"(settings|keys|files|database)/.+\Z")
Told = Callable[[int], object]  # of bytes that are done


@frozen
class Member:
    """A file of the archive as the manifest knows it."""

    size: int
    sha256: str


class Writer:
    """Writes an archive to a stream; `members` is what went in, without files that are named by their content."""

    def __init__(self, target: IO[bytes], told: Told) -> None:
        self._tar = tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_READ_BYTES)  # noqa: SIM115
        self._told = told
        self.members: dict[str, Member] = {}
        self.by_content = 0
        self.by_content_bytes = 0
        self._dump = hashlib.sha256()
        self._parts = 0
        self._dump_bytes = 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()  # also of an archive that will be thrown away: its stream must not outlive the file

    def text(self, name: str, content: bytes) -> None:
        """A member from memory."""
        self._add(name, io.BytesIO(content), len(content))
        self._tar.members = []  # type: ignore[attr-defined]

    def content(self, name: str, content: bytes) -> None:
        """A file from memory, with its digest in the manifest."""
        self._note(name, len(content), self._add(name, io.BytesIO(content), len(content)))

    def file(self, name: str, path: Path) -> None:
        """A file from the disk, as long as it was when it was opened; one of `files/` that has gone is passed over.

        Raises `backup.unreadable`.
        """
        try:
            with path.open("rb") as source:
                size = os.fstat(source.fileno()).st_size
                digest = self._add(name, source, size)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and name.startswith(FILES):
                return  # a message that was fetched, a list that was thrown away
            message = f"{path} cannot be read: {error.strerror}; mend its rights and back up again"
            raise Unavailable(Refusal("backup.unreadable", message)) from None
        self._note(name, size, digest)

    def _note(self, name: str, size: int, digest: str) -> None:
        if _BY_CONTENT.match(name):
            self.by_content += 1
            self.by_content_bytes += size
        else:
            self.members[name] = Member(size, digest)

    def dump(self, source: IO[bytes]) -> None:
        """The database's script, read to its end, in parts."""
        while part := source.read(PART_BYTES):
            self._parts += 1
            self._dump.update(part)
            self._dump_bytes += len(part)
            self.text(f"{DATABASE}{self._parts:08d}", part)

    def finish(self, facts: Mapping[str, Any]) -> None:
        """The manifest, the last members of the archive."""
        manifest = {
            **facts,
            "files": {name: {"size": m.size, "sha256": m.sha256} for name, m in self.members.items()},
            "attachments": {"count": self.by_content, "bytes": self.by_content_bytes},
            "dump": {"parts": self._parts, "bytes": self._dump_bytes, "sha256": self._dump.hexdigest()},
        }
        content = json.dumps(manifest, indent=1, sort_keys=True).encode()
        self.text(MANIFEST, content)
        self.text(DIGEST, hashlib.sha256(content).hexdigest().encode())

    def _add(self, name: str, source: IO[bytes], size: int) -> str:
        member = tarfile.TarInfo(name)
        member.size = size
        member.mode = 0o600
        through = _Digesting(source, self._told)
        self._tar.addfile(member, through)
        self._tar.members = []  # type: ignore[attr-defined]  # tarfile would keep a line for every file
        return through.digest.hexdigest()


class _Digesting:
    """A stream that digests what is read through it."""

    def __init__(self, source: IO[bytes], told: Told) -> None:
        self._source = source
        self._told = told
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        part = self._source.read(size)
        self.digest.update(part)
        self._told(len(part))
        return part


@frozen
class Archive:
    """A whole archive that was read through and found undamaged."""

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)

    def files(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Name and content of every file but the database's parts; read each before asking for the next."""
        for name, content in _members(self.path):
            if name.startswith((SETTINGS, KEYS, FILES)):
                yield name, content

    def dump(self) -> Iterator[bytes]:
        """The database's script, gzipped, in order."""
        for name, content in _members(self.path):
            if name.startswith(DATABASE):
                yield from _parts_of(content)


def read_archive(path: Path, told: Told = lambda _: None) -> Archive:
    """Read an archive through and compare all of it with its manifest.

    Raises `restore.not_a_backup`, `restore.other_format`, `restore.damaged`.
    """
    found: dict[str, Member] = {}
    dump, parts, dump_bytes, by_content, by_content_bytes = hashlib.sha256(), 0, 0, 0, 0
    small: dict[str, bytes] = {}
    first = True
    for name, content in _members(path):
        if first and name != HEADER:
            raise _no_backup(path)
        first = False
        if name in (HEADER, MANIFEST, DIGEST):
            small[name] = content.read(_SMALL_MAX)
            if name == HEADER:
                _check_header(path, small[name])
            continue
        _check_name(path, name)
        digest, size = hashlib.sha256(), 0
        for part in _parts_of(content):
            digest.update(part)
            size += len(part)
            told(len(part))
            if name.startswith(DATABASE):
                dump.update(part)
        if name.startswith(DATABASE):
            parts += 1
            dump_bytes += size
            if name != f"{DATABASE}{parts:08d}":
                raise _damaged(path, f"the part {parts} of the database is missing")
        elif own := _BY_CONTENT.match(name):
            by_content += 1
            by_content_bytes += size
            if digest.hexdigest() != own[1]:
                raise _damaged(path, f"{name} is not what it was")
        else:
            found[name] = Member(size, digest.hexdigest())
    if first:
        raise _no_backup(path)
    if MANIFEST not in small or small.get(DIGEST, b"").decode("ascii", "replace") != _sha256(small[MANIFEST]):
        raise _damaged(path, "its end is missing or changed")
    manifest = json.loads(small[MANIFEST])
    _compare(path, "file", manifest["files"], {n: {"size": m.size, "sha256": m.sha256} for n, m in found.items()})
    seen = {"parts": parts, "bytes": dump_bytes, "sha256": dump.hexdigest()}
    _compare(path, "database's", manifest["dump"], seen)
    _compare(path, "attachments'", manifest["attachments"], {"count": by_content, "bytes": by_content_bytes})
    return Archive(path, manifest)


def _compare(path: Path, what: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    for name in (*wanted, *found):
        if wanted.get(name) != found.get(name):
            raise _damaged(path, f"the {what} {name} differs from the manifest")


def _check_header(path: Path, content: bytes) -> None:
    try:
        header = json.loads(content)
        number = header["imis_backup"]
    except (ValueError, KeyError, TypeError):
        raise _no_backup(path) from None
    if number != FORMAT:
        message = f"{path} has the form {number!r}, this version reads {FORMAT}; restore with the version that made it"
        raise refused("restore.other_format", message)


def _check_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name).parts
    if not _NAME.match(name) or ".." in parts or "\\" in name or "\x00" in name or str(PurePosixPath(name)) != name:
        raise _damaged(path, f"a member has the name {name[:60]!r}")


def _no_backup(path: Path) -> ImisError:
    return refused("restore.not_a_backup", f"{path} was not made by `imis backup`; name such a file")


def _damaged(path: Path, what: str) -> ImisError:
    return refused("restore.damaged", f"{path} is damaged: {what}; nothing was restored, take another copy of it")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _as_damage(path: Path, *, first: bool = False) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        raise _no_backup(path) if first else _damaged(path, str(error)) from None
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}; mend this and try again"
        raise Unavailable(Refusal("restore.unreadable", message)) from None


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Every member in order. Errors of the file's form become refusals."""
    with _as_damage(path, first=True):  # opening reads the first member's head
        tar = tarfile.open(path, mode="r:", bufsize=_READ_BYTES)  # noqa: SIM115
    with tar:
        while True:
            with _as_damage(path):
                member = tar.next()
            if member is None:
                return
            if not member.isreg():
                raise _damaged(path, f"the member {member.name[:60]!r} is no plain file")
            content = tar.extractfile(member)
            assert content is not None
            yield member.name, _Guarded(content, path)  # type: ignore[misc]
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep a line for every file


class _Guarded:
    """A member's content whose reading errors become refusals."""

    def __init__(self, content: IO[bytes], path: Path) -> None:
        self._content = content
        self._path = path

    def read(self, size: int = -1) -> bytes:
        with _as_damage(self._path):
            return self._content.read(size)


def _parts_of(content: IO[bytes]) -> Iterator[bytes]:
    while part := content.read(_READ_BYTES):
        yield part
