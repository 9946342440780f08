"""`imis restore`: an archive back into an empty database and a folder, whole or not at all.

The archive is read through and compared with its manifest before anything is touched. Files come first, and none that
is there is overwritten; then the database in one transaction, which compares every table's count and the ledger's sum
before it commits. A restore that fails takes its files away again; one that is killed leaves an empty database and
may be run again.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.engine import make_url

from imis_core.application import Composition
from imis_core.audit_verification import seals_of_lines, told_in_words, verify
from imis_core.database.engine import Roles, driver_url, unreachable
from imis_core.database.server import Addresses, ensure_roles, find_database
from imis_core.deployment import load_settings, read_toml
from imis_core.errors import Refusal, Unavailable, refused
from imis_core.migrations.runner import LOCK, known_revisions
from imis_core.opening import open_application
from imis_core.operations import facts
from imis_core.operations.archive import FILES, KEYS, SETTINGS, Archive, Told, read_archive
from imis_core.operations.programs import running

_FROM_17_ON: Final = re.compile(rb"^SET transaction_timeout = 0;\n", re.MULTILINE)
_READ_BYTES: Final = 1024 * 1024


@frozen
class Restored:
    """What `imis restore` did."""

    database: str
    rows: int
    files: int
    seconds: float
    kept: tuple[str, ...]  # settings that were there and differ from the archive's
    behind: bool  # the tables are those of an older version: `imis migrate` comes next
    audit: tuple[str, ...] = ()  # what the check of the audit's seals proves, in words; nothing if `behind`
    audit_is_whole: bool = True


def restore(folder: Path, path: Path, told: Told) -> Restored:
    """Restore an archive into a deployment's folder and its empty database.

    A folder without `imis.toml` gets the archive's settings; settings that are there stay. Raises what `read_archive`
    raises, `restore.other_deployment`, `restore.newer`, `restore.other_key`, `restore.not_empty`, `restore.exists`,
    `restore.failed`.
    """
    begun = time.monotonic()
    archive = read_archive(path, told)
    _same_deployment(folder, archive)
    placed: list[Path] = []
    try:
        kept = _place(archive, folder, (SETTINGS,), placed)
        settings = load_settings(folder)
        behind = _check_revisions(Composition(settings, str(folder / "imis.toml")), archive)
        _check_keys(archive, folder)
        _place(archive, folder, (KEYS, FILES), placed)
        addresses = find_database(settings.database.url, settings.database.owner_url, settings.folder, settings.name)
        try:
            _into_database(archive, addresses, told)
            files, placed = sum(not p.is_dir() for p in placed), []  # whole: from here on nothing is taken away
        finally:
            addresses.release()
    except BaseException:
        _take_away(placed)
        raise
    rows = sum(archive.manifest["rows"].values())
    audit, whole = ((), True) if behind else _verify_audit(folder, archive)
    return Restored(
        addresses.database, rows, files, time.monotonic() - begun, tuple(kept), behind, audit, whole
    )  # fmt: skip


def _verify_audit(folder: Path, archive: Archive) -> tuple[tuple[str, ...], bool]:
    """Whether the audit is what was sealed, up to the seal that the archive's manifest keeps."""
    with open_application(folder) as app:
        found = verify(app, seals_of_lines(archive.manifest["audit_seals"]))
    return tuple(line for one in found for line in told_in_words(one)), all(one.is_whole for one in found)


def _same_deployment(folder: Path, archive: Archive) -> None:
    file = folder / "imis.toml"
    if not file.exists():
        return
    table = read_toml(file).get("deployment")
    name = table.get("name") if isinstance(table, dict) else None
    if name != archive.manifest["deployment"]:
        message = (
            f"{archive.path} is a backup of {archive.manifest['deployment']!r}, {file} is {name!r}; "
            "restore into a folder of its own"
        )
        raise refused("restore.other_deployment", message)


def _check_revisions(composition: Composition, archive: Archive) -> bool:
    """Refuse an archive of a newer version; whether it is of an older one."""
    behind = False
    for name, known in known_revisions(composition.plugins.manifests).items():
        found = archive.manifest["revisions"].get(name)
        if found is not None and found not in known:
            message = (
                f"the backup's {name} is at revision {found}, which this version does not know; install a newer one"
            )
            raise refused("restore.newer", message)
        behind = behind or found != known[0]
    return behind


def _check_keys(archive: Archive, folder: Path) -> None:
    """The keys that are there must be the backup's; those that the archive leaves out must be there."""
    inside = {name.removeprefix(KEYS) for name in archive.manifest["files"] if name.startswith(KEYS)}
    for name, fingerprint in archive.manifest["keys"].items():
        path = folder / "keys" / name
        if path.exists():
            if hashlib.sha256(path.read_bytes()).hexdigest() != fingerprint:
                message = f"{path} is another key than the backup's; if nothing uses it, move it away and try again"
                raise refused("restore.other_key", message)
        elif name not in inside:
            message = f"the backup was made without keys: put the deployment's own key back as {path}, then try again"
            raise refused("restore.key_missing", message)


def _place(archive: Archive, folder: Path, prefixes: tuple[str, ...], placed: list[Path]) -> list[str]:
    """Write files that are not there; the names of settings that are there and differ. Raises `restore.exists`."""
    differing = []
    for name, content in archive.files():
        prefix = next((p for p in prefixes if name.startswith(p)), None)
        if prefix is None:
            continue
        path = {SETTINGS: folder, KEYS: folder / "keys", FILES: folder / "var"}[prefix] / name.removeprefix(prefix)
        try:
            if path.exists():
                if not _is_same(path, content):
                    if prefix != SETTINGS:
                        message = f"{path} is there and differs from the backup's; restore into a folder without it"
                        raise refused("restore.exists", message)
                    differing.append(name.removeprefix(prefix))
                continue
            _write(path, content, 0o644 if prefix == SETTINGS else 0o600, placed)
        except OSError as error:
            message = f"{path} cannot be written: {error.strerror or error}; mend this and try again"
            raise Unavailable(Refusal("restore.unwritable", message)) from None
    return differing


def _is_same(path: Path, content: IO[bytes]) -> bool:
    with path.open("rb") as there:
        while True:
            one, other = there.read(_READ_BYTES), content.read(_READ_BYTES)
            if one != other:
                return False
            if not one:
                return True


def _write(path: Path, content: IO[bytes], mode: int, placed: list[Path]) -> None:
    _make_folders(path.parent, private=mode == 0o600, placed=placed)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.unfinished")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            while part := content.read(_READ_BYTES):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)
        placed.append(path)
    finally:
        fresh.unlink(missing_ok=True)


def _make_folders(folder: Path, *, private: bool, placed: list[Path]) -> None:
    if folder.exists():
        return
    _make_folders(folder.parent, private=private, placed=placed)
    # `var` is passed by the account of an embedded server.
    folder.mkdir(mode=0o700 if private and folder.name != "var" else 0o777)
    placed.append(folder)


def _take_away(placed: list[Path]) -> None:
    """Remove what a failed restore wrote; folders stay if something else came into them."""
    for path in reversed(placed):
        if not path.is_dir():
            path.unlink(missing_ok=True)
        elif not any(path.iterdir()):
            path.rmdir()


def _into_database(archive: Archive, addresses: Addresses, told: Told) -> None:
    if addresses.lease is None:
        roles = ensure_roles(addresses.owner, addresses.app, addresses.database)
    else:
        roles = Roles.of(addresses.database)
    load_database(archive, addresses.owner, roles, told)


def load_database(archive: Archive, owner_url: str, roles: Roles, told: Told) -> None:
    """Run the archive's script as the owner, in one transaction. Raises `restore.not_empty`, `restore.failed`."""
    engine = sa.create_engine(driver_url(owner_url), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    try:
        connection = engine.connect()
    except sa.exc.OperationalError as error:
        raise unreachable(driver_url(owner_url), error) from None
    with connection:
        connection.execute(sa.text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        _refuse_unless_empty(connection, owner_url, archive.manifest["schemas"])
        version = connection.dialect.server_version_info or (0,)
        with running("psql", owner_url, ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"], fed=True) as psql:
            try:
                for part in _script(archive, roles, int(version[0]), told):
                    psql.input.write(part)
                psql.input.close()
            except BrokenPipeError:
                pass  # it has stopped at an error, and says below at which
            if not psql.ended_well():
                message = f"the database did not take the backup: {psql.words()}; nothing was restored"
                raise Unavailable(Refusal("restore.failed", message))
    engine.dispose()


def _refuse_unless_empty(connection: sa.Connection, owner_url: str, schemas: list[str]) -> None:
    there = connection.execute(
        sa.text("SELECT nspname FROM pg_namespace WHERE nspname = ANY(:schemas) ORDER BY 1"), {"schemas": schemas}
    ).scalars()
    if found := there.all():
        name = make_url(owner_url).database
        message = (
            f"the database {name} holds {', '.join(found)} already; a backup is restored into an empty database, "
            "never over another one: make a new one, or restore into a new folder"
        )
        raise refused("restore.not_empty", message)


def _script(archive: Archive, roles: Roles, major: int, told: Told) -> Iterator[bytes]:
    """All that the database is told: the archive's script in a transaction of the owner, grants, checks, the end."""
    yield f'BEGIN;\nSET ROLE "{roles.owner}";\n'.encode()
    first = True
    for part in _unzipped(archive.dump(), archive.path):
        told(len(part))
        if first:
            first = False
            if major < 17:
                part = _FROM_17_ON.sub(b"", part)
        yield part
    statements = [*facts.grant_statements(archive.manifest["grants"], roles), *_checks(archive.manifest["rows"])]
    yield "".join(f"{statement};\n" for statement in statements).encode()
    # Inside the transaction: after it nothing may fail, or a whole database would lose its files and keys again.
    yield b"ANALYZE;\nCOMMIT;\n"


def _checks(rows: Mapping[str, int]) -> Iterable[str]:
    """Statements that fail unless every table has its rows and the ledger sums to zero."""
    for table, count in rows.items():
        schema, _, name = table.partition(".")
        yield (
            "DO $check$ DECLARE found bigint; BEGIN "
            f'SELECT count(*) INTO found FROM "{schema}"."{name}"; '
            f"IF found <> {int(count)} THEN RAISE EXCEPTION '{table} has % rows, the backup {int(count)}', found; "
            "END IF; END $check$"
        )
    yield (
        "DO $check$ DECLARE wrong bigint; BEGIN "
        "SELECT entry INTO wrong FROM core.ledger_postings GROUP BY entry HAVING sum(amount) <> 0 LIMIT 1; "
        "IF FOUND THEN RAISE EXCEPTION 'ledger entry % does not balance', wrong; END IF; END $check$"
    )


def _unzipped(parts: Iterator[bytes], path: Path) -> Iterator[bytes]:
    unzip = zlib.decompressobj(wbits=31)  # gzip
    try:
        for part in parts:
            rest = part
            while rest:
                yield unzip.decompress(rest, _READ_BYTES)
                rest = unzip.unconsumed_tail
        yield unzip.flush()
    except zlib.error as error:
        raise refused("restore.damaged", f"{path} is damaged: {error}; nothing was restored") from None
    if not unzip.eof:
        raise refused("restore.damaged", f"{path} is damaged: the database's script is cut off; nothing was restored")


__all__ = ["Restored", "load_database", "restore"]
