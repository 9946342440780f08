"""PostgreSQL's own programs (`pg_dump`, `psql`) as clients of a deployment's database, whatever they carry.

They are those of the wheel, or of the folder in `IMIS_POSTGRES_PROGRAMS`: the wheel's speak no TLS and know servers up
to their own version. Passwords go by the environment, which other accounts cannot read, never on a command line.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, cast

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from imis_core.database.embedded_server import programs_folder
from imis_core.errors import Refusal, Unavailable

VARIABLE: Final = "IMIS_POSTGRES_PROGRAMS"
_WORDS_MAX: Final = 600  # characters of a program's complaint that an error repeats
_END_SECONDS: Final = 60.0  # a program that was cut off gets to end


def program(name: str) -> Path:
    """The path of a client program. Raises `database.no_programs`."""
    named = os.environ.get(VARIABLE)
    path = (Path(named) if named else programs_folder()) / name
    if not path.exists():
        message = f"there is no program {path}: install PostgreSQL's clients and name their folder in {VARIABLE}"
        raise Unavailable(Refusal("database.no_programs", message))
    return path


def client(url: str) -> tuple[str, dict[str, str]]:
    """The address of a database for a command line, without the password, and the environment with it."""
    parts = conninfo_to_dict(url)
    password = parts.pop("password", None)
    around = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
    around["LC_ALL"] = "C"
    if password:
        around["PGPASSWORD"] = str(password)
    return make_conninfo("", **parts), around


class Running:
    """A program that is fed or read by this process; `words` is what it complained."""

    def __init__(self, process: subprocess.Popen[bytes], complaints: IO[bytes], name: str) -> None:
        self._process = process
        self._complaints = complaints
        self.name = name

    @property
    def output(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdout)

    @property
    def input(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    def ended_well(self) -> bool:
        """Wait for its end; whether it did its work."""
        return self._process.wait() == 0

    def words(self) -> str:
        """What it complained, on one line, shortened."""
        self._complaints.seek(0)
        lines = [line for line in self._complaints.read(64 * 1024).decode("utf-8", "replace").splitlines() if line]
        return " ".join(" ".join(lines).split())[:_WORDS_MAX]


@contextmanager
def running(name: str, url: str, arguments: Sequence[str], *, fed: bool = False) -> Iterator[Running]:
    """A client program at work on a database; ended at the latest with the block."""
    address, around = client(url)
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603
            [program(name), "--no-password", f"--dbname={address}", *arguments],
            stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if fed else subprocess.PIPE,
            stderr=complaints,
            env=around,
        )
        try:
            yield Running(process, complaints, name)
        finally:
            for stream in (process.stdin, process.stdout):
                if stream is not None and not stream.closed:
                    with suppress(BrokenPipeError):  # it ended before it was fed whole, which its caller has seen
                        stream.close()
            if process.poll() is None:
                process.terminate()
            process.wait(_END_SECONDS)
