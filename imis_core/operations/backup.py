"""`imis backup`: database, keys, settings and stored files of a deployment in one archive.

The database comes first, in one snapshot that the counts share; stored files only grow, so that every file which the
snapshot names is there afterwards. The running deployment is not stopped. Nothing here reads what is in the tables.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core import __version__
from imis_core.database.engine import driver_url, unreachable
from imis_core.database.server import find_database
from imis_core.deployment import Settings, load_settings
from imis_core.errors import Refusal, Unavailable, refused
from imis_core.operations import facts
from imis_core.operations.archive import FILES, FORMAT, HEADER, KEYS, SETTINGS, Told, Writer
from imis_core.operations.programs import running

SUFFIX: Final = ".imis.tar"
_UNFINISHED: Final = ".unfinished"
LAST: Final = "last_backup.json"  # below var: when the last one was made, and where; for `imis doctor`
_LOCK_SECONDS: Final = 60  # a dump waits that long for a table that a migration is changing
# What of a deployment's folder is not of its making: kept elsewhere in the archive, or made again by installing.
_NOT_SETTINGS: Final = frozenset({"var", "keys", ".venv", ".git", "__pycache__", "node_modules"})
_NOT_FILES: Final = frozenset({"postgres", LAST, "restoring"})


@frozen
class BackedUp:
    """What `imis backup` did."""

    path: Path
    bytes: int
    seconds: float
    rows: int
    files: int
    removed: tuple[Path, ...] = ()


def back_up(folder: Path, target: Path, *, with_keys: bool = True, keep: int | None = None, told: Told) -> BackedUp:
    """Write an archive of the deployment to `target`: a file that is not there yet, or a folder that is.

    `keep` removes the oldest archives of this deployment in that folder, so that so many are left. Raises
    `backup.exists`, `backup.unwritable`, `backup.failed`, and what the settings and the database raise.
    """
    begun = time.monotonic()
    settings = load_settings(folder)
    made_at = datetime.now(UTC)
    path = target_of(target, settings.name, made_at)
    if keep is not None and not target.is_dir():
        raise refused("backup.keep", "--keep needs a folder: name the folder that holds the archives")
    addresses = find_database(settings.database.url, settings.database.owner_url, settings.folder, settings.name)
    try:
        with writing(path) as file, Writer(file, told) as writer:
            writer.text(HEADER, header(settings.name, made_at))
            add_settings(writer, folder)
            fingerprints = add_keys(writer, folder, with_keys=with_keys)
            found = add_database(writer, addresses.owner)
            add_files(writer, folder / "var")
            writer.finish({"keys": fingerprints, "anonymised": False, **found, **about(settings, made_at)})
    finally:
        addresses.release()
    removed = _rotate(target, settings.name, keep) if keep is not None else ()
    done = BackedUp(
        path, path.stat().st_size, time.monotonic() - begun, sum(found["rows"].values()), writer.by_content, removed
    )
    _remember(folder, done, made_at)
    return done


def about(settings: Settings, made_at: datetime) -> dict[str, Any]:
    """What the manifest says of the deployment."""
    return {
        "imis": __version__, "deployment": settings.name, "made_at": made_at.isoformat(timespec="seconds"),
        "plugins": list(settings.enabled),
    }  # fmt: skip


def header(name: str, made_at: datetime) -> bytes:
    """The archive's first member: what it is, readable without this program."""
    words = {
        "imis_backup": FORMAT, "imis": __version__, "deployment": name,
        "made_at": made_at.isoformat(timespec="seconds"),
    }  # fmt: skip
    return json.dumps(words, indent=1).encode()


def target_of(target: Path, name: str, made_at: datetime) -> Path:
    """The file to be written: `target`, or one named by the time in the folder `target`. Raises `backup.exists`."""
    path = target / f"{name}-{made_at:%Y%m%dT%H%M%SZ}{SUFFIX}" if target.is_dir() else target
    if path.exists():
        raise refused("backup.exists", f"{path} is there already, and a backup is never overwritten; name another file")
    if not path.parent.is_dir():
        raise refused("backup.no_folder", f"there is no folder {path.parent}; make it, or name another place")
    return path


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file that only this account reads and that is there whole, on the disk, or not at all."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.link(unfinished, path)  # unlike a rename it never takes the place of another file
        finally:
            unfinished.unlink(missing_ok=True)
        _keep_name(path.parent)
    except FileExistsError:
        message = f"{path} is there already, and a backup is never overwritten; name another file"
        raise refused("backup.exists", message) from None
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}; make room or name another place"
        raise Unavailable(Refusal("backup.unwritable", message)) from None


def _keep_name(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def add_settings(writer: Writer, folder: Path) -> None:
    """Everything of the folder that configures the deployment."""
    for name, path in settings_files(folder):
        writer.file(f"{SETTINGS}{name}", path)


def settings_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a deployment's folder that configure it, with their names in it; archives that lie there are not."""
    for path in _walk(folder, _NOT_SETTINGS):
        if not path.name.endswith((SUFFIX, _UNFINISHED)):  # nor the one that is being written
            yield path.relative_to(folder).as_posix(), path


def add_keys(writer: Writer, folder: Path, *, with_keys: bool) -> dict[str, str]:
    """The keys, or without them only what they are known by, so that a restore takes no other ones."""
    import hashlib

    found = {}
    for path in _walk(folder / "keys"):
        name = path.relative_to(folder / "keys").as_posix()
        found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        if with_keys:
            writer.file(f"{KEYS}{name}", path)
    return found


def add_files(writer: Writer, var: Path) -> None:
    """What the running system keeps as files."""
    for path in _walk(var, _NOT_FILES, hidden=False):  # what is being written has a name that begins with a dot
        writer.file(f"{FILES}{path.relative_to(var).as_posix()}", path)


def _walk(folder: Path, left_out: frozenset[str] = frozenset(), *, hidden: bool = True) -> Iterator[Path]:
    """Files below a folder, in order, one folder in memory at a time; links to folders are not followed."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name in left_out or (entry.name.startswith(".") and not hidden):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), frozenset({"__pycache__"}), hidden=hidden)
        elif entry.is_file():
            yield Path(entry.path)


def add_database(writer: Writer, owner_url: str) -> dict[str, Any]:
    """The database as a script, and its facts of the same snapshot.

    Raises `database.unreachable`, `database.not_migrated`, `backup.failed`.
    """
    engine = sa.create_engine(driver_url(owner_url), poolclass=sa.NullPool, isolation_level="REPEATABLE READ")
    try:
        connection = engine.connect()
    except sa.exc.OperationalError as error:
        raise unreachable(driver_url(owner_url), error) from None
    with connection:
        roles = facts.roles_in(connection)
        connection.execute(sa.text(f'SET ROLE "{roles.owner}"'))
        snapshot = connection.execute(sa.text("SELECT pg_export_snapshot()")).scalar_one()
        schemas = facts.schemas_of(connection, roles.owner)
        arguments = [
            "--format=plain", "--compress=gzip:6", "--no-owner", "--no-privileges", "--encoding=UTF8",
            f"--role={roles.owner}", f"--snapshot={snapshot}", f"--lock-wait-timeout={_LOCK_SECONDS}s",
            *[f'--schema="{schema}"' for schema in schemas],
        ]  # fmt: skip
        with running("pg_dump", owner_url, arguments) as dump:
            writer.dump(dump.output)
            if not dump.ended_well():
                message = f"the database could not be read: {dump.words()}; mend this and back up again"
                raise Unavailable(Refusal("backup.failed", message))
        version = connection.dialect.server_version_info
        found = {
            "schemas": schemas,
            "revisions": facts.revisions_of(connection, schemas),
            "rows": facts.counts_of(connection, schemas),
            "grants": facts.grants_of(connection, schemas, roles),
            "audit_seals": facts.seals_of(connection),
            "server": ".".join(map(str, version)) if version else None,
        }
    engine.dispose()
    return found


def _rotate(folder: Path, name: str, keep: int) -> tuple[Path, ...]:
    """Remove the oldest archives that `imis backup` made of this deployment in the folder, and of no `NAME-2` in it."""
    named = re.compile(rf"{re.escape(name)}-\d{{8}}T\d{{6}}Z{re.escape(SUFFIX)}")
    archives = sorted(path for path in folder.iterdir() if named.fullmatch(path.name))  # the name holds the time
    old = tuple(archives[: max(len(archives) - keep, 0)])
    for path in old:
        path.unlink()
    return old


def _remember(folder: Path, done: BackedUp, made_at: datetime) -> None:
    words = {
        "made_at": made_at.isoformat(timespec="seconds"), "path": str(done.path.resolve()), "bytes": done.bytes,
        "seconds": round(done.seconds, 1),
    }  # fmt: skip
    var = folder / "var"
    var.mkdir(exist_ok=True)
    fresh = var / f".{LAST}.unfinished"
    fresh.write_text(json.dumps(words) + "\n", "utf-8")
    fresh.replace(var / LAST)
