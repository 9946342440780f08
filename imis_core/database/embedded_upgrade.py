"""A cluster of an older PostgreSQL major beside a new one, and the change from one to the other.

The old cluster is only read, and kept as `pg.MAJOR` beside the new one; what is carried over is the caller's business.
Until the change nothing has happened; the change itself is two renames, and one that was killed is finished at the
next call.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from attrs import evolve, frozen

from imis_core.database import embedded, embedded_server
from imis_core.database.embedded_server import SUPERUSER, EmbeddedServerError, Server

_UPGRADING = "upgrading"
_START_SECONDS = 120.0


@frozen
class Upgraded:
    """What was changed: the majors, and where the old cluster is kept (delete it when nothing misses it)."""

    before: int
    after: int
    kept: Path


def upgrade(
    folder: Path, old_programs: Callable[[int], Path], transfer: Callable[[str, str, str], None]
) -> Upgraded | None:
    """Bring a folder's cluster to the installed major; None if it is of that one already.

    `old_programs(major)` is the folder of the old version's programs; `transfer(old, new, password)` gets the addresses
    of the superuser on both servers. Raises EmbeddedServerError, `database.in_use` while a process uses the server.
    """
    installed = int(embedded_server.program_version(embedded_server.programs_folder()).partition(".")[0])
    with embedded._alone(folder, _START_SECONDS) as start_lock:
        folder = folder.resolve()
        finished = _finish(_place(folder), installed)
        if finished is not None:
            return finished
        server = embedded._existing(folder)
        if server is None:
            raise EmbeddedServerError("database.missing", f"{folder} holds no database yet: run `imis migrate`")
        if server.major() == installed:
            return None
        if embedded._in_use(folder):
            message = f"processes use the embedded server of {folder}: stop them, then upgrade"
            raise EmbeddedServerError("database.in_use", message)
        before = server.major()
        old = evolve(server, programs=old_programs(before))
        new = Server(folder, server.place / _UPGRADING, server.account)
        if new.place.exists():  # of an attempt that was killed before the change
            _stop(new)
            shutil.rmtree(new.place)
        new.account.make_folder(new.place)
        password = embedded._secret(folder)
        try:
            try:
                reached = embedded_server.run(old, password, {}, _START_SECONDS)
                embedded_server.make_cluster(new, password, start_lock)
                made = embedded_server.run(new, password, {}, _START_SECONDS)
                transfer(_address(reached, password), _address(made, password), password)
            finally:
                for one in (old, new):
                    _stop(one)
        except BaseException:
            shutil.rmtree(new.place)
            raise
        server.data.rename(server.place / f"pg.{before}")
        done = _finish(server.place, installed)
        assert done is not None
        return done


def _finish(place: Path, installed: int) -> Upgraded | None:
    """The second half of the change: the new cluster takes the place of the one that was put aside."""
    ready = place / _UPGRADING / "pg"
    aside = sorted(place.glob("pg.[0-9]*"), key=lambda path: path.stat().st_mtime)
    if (place / "pg").is_dir() or not aside or not ready.is_dir():
        return None
    ready.rename(place / "pg")
    shutil.rmtree(place / _UPGRADING)
    return Upgraded(int(aside[-1].suffix[1:]), installed, aside[-1])


def _place(folder: Path) -> Path:
    pointer = folder / "location"
    return Path(pointer.read_text().rstrip("\n")) if pointer.exists() else folder


def _stop(server: Server) -> None:
    with suppress(FileNotFoundError):  # it was never made
        pid = server.postmaster()
        if pid is not None:
            embedded_server.stop(server, pid)


def _address(socket_folder: Path, password: str) -> str:
    return embedded.address(socket_folder, "postgres", SUPERUSER, password)
