"""The embedded server's life, with real servers, real processes and real signals."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from imis_core.database import embedded, embedded_server
from imis_core.database.embedded import EmbeddedServerError
from imis_core.database.embedded_account import Account
from imis_core.database.server import find_database

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the embedded server is for POSIX systems")

STRANGER = 65534  # an account that is neither root nor the one that root lends
as_root = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="needs to change accounts: run as root"
)

USER_PROGRAM = """
import os, pwd, sys
from pathlib import Path
import psycopg
from imis_core.database import embedded
account = int(sys.argv[2])
if account:  # after the imports: the interpreter may lie where the account cannot read
    os.setgroups([]); os.setgid(account); os.setuid(account)
try:
    lease = embedded.acquire(Path(sys.argv[1]))
except embedded.EmbeddedServerError as error:
    sys.exit(error.code)
with psycopg.connect(lease.url()) as connection:
    connection.execute("select 1")
print("ready", flush=True)
"""
WAIT = "sys.stdin.readline()\n"


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every account may enter; the servers and data of the folders in it are removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-test-"))
    folder.chmod(0o755)
    yield folder
    for lock in folder.rglob("start.lock"):
        with contextlib.suppress(EmbeddedServerError):  # folders that a test spoilt on purpose
            embedded.remove(lock.parent)
    shutil.rmtree(folder)


@pytest.fixture
def start_user(base: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts another process that uses a folder's server, and then waits for a line on its standard input."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, then: str = WAIT, account: int = 0) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", USER_PROGRAM + then, str(folder), str(account)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def is_ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout
    return process.stdout.readline() == "ready\n"


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("go\n", timeout=30)
    assert process.returncode == 0


def write(lease: embedded.Lease) -> None:
    with psycopg.connect(lease.url()) as connection:
        connection.execute("create table if not exists kept (value int)")
        connection.execute("insert into kept values (1)")


def rows(lease: embedded.Lease) -> int:
    with psycopg.connect(lease.url()) as connection:
        row = connection.execute("select count(*) from kept").fetchone()
    assert row
    return int(row[0])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_data_survive_a_stop_and_the_settings_hold(base: Path) -> None:
    """A server that is stopped and started again has its data; it sorts by bytes, knows Unicode's cases."""
    with embedded.acquire(base / "data") as lease:
        write(lease)
    assert not embedded.status(base / "data").running
    started = time.monotonic()
    with embedded.acquire(base / "data", settings={"work_mem": "5MB", "application_name": 'it\'s "quoted"'}) as lease:
        assert time.monotonic() - started < 5
        assert rows(lease) == 1
        with psycopg.connect(lease.url()) as connection:
            found = connection.execute(
                "select lower('É'), 'Z' < 'a', current_setting('data_checksums'), current_setting('work_mem'), "
                "current_setting('fsync'), current_setting('TimeZone'), current_setting('listen_addresses'), "
                "current_setting('server_encoding')"
            ).fetchone()
    assert found == ("é", True, "on", "5MB", "on", "UTC", "", "UTF8")


def test_releasing_twice_is_harmless(base: Path) -> None:
    """A lease that is released again takes nothing from the process's other lease."""
    first, second = embedded.acquire(base / "data"), embedded.acquire(base / "data")
    first.release()
    first.release()
    assert embedded.status(base / "data").running
    second.release()
    assert not embedded.status(base / "data").running


def test_last_of_two_processes_stops_it(base: Path, start_user: Callable[..., subprocess.Popen[str]]) -> None:
    """Processes share one server, and the last one that ends stops it."""
    one, two = start_user(base / "data"), start_user(base / "data")
    assert is_ready(one)
    assert is_ready(two)
    seen = embedded.status(base / "data")
    assert seen.in_use
    if Path("/proc/locks").exists():
        assert seen.user_pids == tuple(sorted((one.pid, two.pid)))
    assert not embedded.stop_if_unused(base / "data")
    with pytest.raises(EmbeddedServerError) as refused:
        embedded.remove(base / "data")
    assert refused.value.code == "database.in_use"
    end(one)
    assert embedded.status(base / "data").pid == seen.pid
    end(two)
    assert not embedded.status(base / "data").running


def test_orphan_is_taken_over(base: Path, start_user: Callable[..., subprocess.Popen[str]]) -> None:
    """A server whose only user was killed goes on, is used by the next process and stopped after it."""
    user = start_user(base / "data")
    assert is_ready(user)
    user.kill()
    user.wait()
    orphan = embedded.status(base / "data")
    assert (orphan.running, orphan.in_use) == (True, False)
    with embedded.acquire(base / "data") as lease:
        write(lease)
        assert embedded.status(base / "data").pid == orphan.pid
    assert not embedded.status(base / "data").running
    user = start_user(base / "data")
    assert is_ready(user)
    user.kill()
    user.wait()
    assert embedded.stop_if_unused(base / "data")
    assert not embedded.status(base / "data").running


def test_killed_server_recovers(base: Path) -> None:
    """After kill -9 of the server the next acquire starts it again with all committed data, also with busy backends."""
    lease = embedded.acquire(base / "data")
    write(lease)
    with contextlib.closing(psycopg.connect(lease.url(), autocommit=True)) as busy:
        busy.pgconn.send_query(b"select pg_sleep(0.0001) from generate_series(1, 3000)")  # survives its server
        killed = embedded.status(base / "data").pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        with embedded.acquire(base / "data") as again:
            assert rows(again) == 1
            assert embedded.status(base / "data").pid != killed
    lease.release()
    assert not embedded.status(base / "data").running


def test_stale_pid_file_with_a_living_number(base: Path) -> None:
    """A `postmaster.pid` of a dead server whose number another process of the same account has stops nobody."""
    with embedded.acquire(base / "data") as lease:
        write(lease)
        seen = embedded.status(base / "data")
        assert seen.pid
        pid_file = seen.data_folder / "postmaster.pid"
        os.kill(seen.pid, signal.SIGKILL)
        account = seen.data_folder.stat().st_uid
        as_account = {"user": account} if account != os.geteuid() else {}
        with subprocess.Popen(["/bin/sleep", "60"], cwd="/", **as_account) as other:  # type: ignore[call-overload]
            lines = pid_file.read_text().splitlines()
            pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            assert not embedded.status(base / "data").running
            with embedded.acquire(base / "data") as again:
                assert rows(again) == 1
            other.kill()


def test_cut_off_pid_file(base: Path) -> None:
    """A `postmaster.pid` that was cut off by a crash does not keep the server from starting."""
    with embedded.acquire(base / "data") as lease:
        write(lease)
    (embedded.status(base / "data").data_folder / "postmaster.pid").write_text("")
    with embedded.acquire(base / "data") as lease:
        assert rows(lease) == 1


def test_two_processes_create_at_once(base: Path, start_user: Callable[..., subprocess.Popen[str]]) -> None:
    """Processes that race to make the same new folder end with one cluster that all use."""
    racers = [start_user(base / "new" / "data") for _ in range(3)]
    assert all(is_ready(racer) for racer in racers)
    for racer in racers:
        end(racer)
    assert not embedded.status(base / "new" / "data").running


def test_half_made_cluster_is_redone(base: Path, start_user: Callable[..., subprocess.Popen[str]]) -> None:
    """A process that is killed while it makes the cluster leaves nothing that the next one takes for a cluster."""
    user = start_user(base / "data")
    while not (base / "data" / "pg.making" / "pg").exists():
        assert user.poll() is None
        time.sleep(0.001)
    user.kill()
    user.wait()
    assert not (base / "data" / "pg").exists()
    with embedded.acquire(base / "data") as lease:
        write(lease)
        assert rows(lease) == 1
    assert not (base / "data" / "pg.making").exists()


@pytest.mark.parametrize("name", ["x" * 120 + "/" + "y" * 120, "with space 'quote' $HOME \"two\"", "स्वास्थ्य/بيانات"])
def test_any_path_will_do(base: Path, name: str) -> None:
    """Long paths, spaces, quotes and letters of any script do for a data folder, although sockets need short paths."""
    with embedded.acquire(base / name) as lease:
        write(lease)
        assert embedded.status(base / name).running
        assert len(os.fsencode(lease.socket_folder / ".s.PGSQL.5432")) <= 103
    assert not lease.socket_folder.exists()
    with embedded.acquire(base / name) as lease:
        assert rows(lease) == 1


def test_two_folders_are_two_servers(base: Path) -> None:
    """Two deployments at the same time share neither server nor socket nor password."""
    with embedded.acquire(base / "one") as one, embedded.acquire(base / "two") as two:
        write(one)
        assert one.socket_folder != two.socket_folder
        assert one.password != two.password
        with pytest.raises(psycopg.errors.UndefinedTable):
            rows(two)


def test_private_files_and_password(base: Path) -> None:
    """Socket and data folders are for their account only, so is the secret; a wrong password is refused."""
    with embedded.acquire(base / "data") as lease:
        seen = embedded.status(base / "data")
        assert [mode(path) for path in (lease.socket_folder, seen.data_folder, seen.log_folder)] == [0o700] * 3
        assert mode(base / "data" / "secret") == 0o600
        assert lease.password not in repr(lease)
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(lease.url(password="wrong"))
        (base / "data" / "secret").write_text("wrong\n")
        with pytest.raises(EmbeddedServerError) as refused:
            embedded.acquire(base / "data")
        assert refused.value.code == "database.wrong_secret"
        (base / "data" / "secret").unlink()
        with pytest.raises(EmbeddedServerError) as refused:
            embedded.acquire(base / "data")
        assert refused.value.code == "database.secret_missing"


def test_refused_starts_tell_why(base: Path) -> None:
    """Reserved and unknown settings and a cluster of another major version are refused, with a code and one line."""
    with pytest.raises(EmbeddedServerError) as refused:
        embedded.acquire(base / "data", settings={"listen_addresses": "*"})
    assert refused.value.code == "database.reserved_setting"
    with pytest.raises(EmbeddedServerError, match="no_such_setting") as refused:
        embedded.acquire(base / "data", settings={"no_such_setting": "1"})
    assert refused.value.code == "database.start_failed"
    assert "\n" not in str(refused.value)
    (embedded.status(base / "data").data_folder / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedServerError, match="imis upgrade") as refused:
        embedded.acquire(base / "data")
    assert refused.value.code == "database.other_major"
    assert not embedded.status(base / "data").in_use


def test_lost_socket_is_replaced(base: Path) -> None:
    """A server whose socket was swept out of the temporary folder is started anew where the leases look for it."""
    with embedded.acquire(base / "data") as lease:
        write(lease)
        shutil.rmtree(lease.socket_folder)
        with embedded.acquire(base / "data"):
            assert rows(lease) == 1


def test_foreign_socket_folder_is_not_used(base: Path) -> None:
    """A socket folder that somebody else made under our name is left alone and another one is taken."""
    with embedded.acquire(base / "data") as lease:
        expected = lease.socket_folder
    (base / "elsewhere").mkdir()
    expected.symlink_to(base / "elsewhere")
    try:
        with embedded.acquire(base / "data") as lease:
            assert lease.socket_folder != expected
            assert mode(lease.socket_folder) == 0o700
    finally:
        expected.unlink()
    assert list((base / "elsewhere").iterdir()) == []


def test_forked_child_does_not_stop_it(base: Path, start_user: Callable[..., subprocess.Popen[str]]) -> None:
    """A forked child that releases and ends leaves the server running; one that lives on keeps it in use."""
    then = """
ending = os.fork()
if not ending:
    lease.release()
    sys.exit()  # runs the handlers of the process's end too
os.waitpid(ending, 0)
psycopg.connect(lease.url()).close()
if not os.fork():
    sys.stdin.readline()
    os._exit(0)
lease.release()
print("released", flush=True)
os.wait()
"""
    user = start_user(base / "data", then)
    assert is_ready(user)
    assert user.stdout
    assert user.stdout.readline() == "released\n"
    seen = embedded.status(base / "data")
    assert (seen.running, seen.in_use) == (True, True)
    end(user)
    seen = embedded.status(base / "data")
    assert (seen.running, seen.in_use) == (True, False)


@as_root
def test_root_lends_an_account_and_changes_nothing_around(base: Path) -> None:
    """Root's server runs under an account that owns its data; the folders around keep owner and mode."""
    (base / "data").mkdir(mode=0o755)
    before = [(path.stat().st_uid, mode(path)) for path in (base, base / "data")]
    with embedded.acquire(base / "data"):
        seen = embedded.status(base / "data")
        assert seen.account_is_lent
        assert seen.data_folder == (base / "data" / "pg").resolve()
        assert seen.data_folder.stat().st_uid != 0
        assert Path(f"/proc/{seen.pid}").stat().st_uid == seen.data_folder.stat().st_uid
    assert [(path.stat().st_uid, mode(path)) for path in (base, base / "data")] == before


@as_root
def test_root_below_a_closed_folder(base: Path) -> None:
    """Where the lent account cannot pass, the data lie elsewhere, the folder says where, and copies share nothing."""
    (base / "closed").mkdir(mode=0o700)
    folder = base / "closed" / "data"
    with embedded.acquire(folder) as lease:
        write(lease)
    place = Path((folder / "location").read_text().strip())
    assert not (folder / "pg").exists()
    assert (place / "pg" / "PG_VERSION").exists()
    assert mode(base / "closed") == 0o700
    with embedded.acquire(folder) as lease:
        assert rows(lease) == 1
    shutil.copytree(folder, base / "closed" / "copy")
    with pytest.raises(EmbeddedServerError) as refused:
        embedded.acquire(base / "closed" / "copy")
    assert refused.value.code == "database.location_shared"
    hidden = place.rename(place.with_name(place.name + "-hidden"))
    with pytest.raises(EmbeddedServerError) as refused:
        embedded.acquire(folder)
    assert refused.value.code == "database.location_missing"
    hidden.rename(place)
    embedded.remove(folder)
    assert not place.exists()


@as_root
def test_programs_that_the_account_cannot_reach_are_copied(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs installed in a private folder of root run as a copy beside the data."""
    installed = embedded_server.programs_folder().parent
    private = base / "private"
    private.mkdir(mode=0o700)
    site = installed.parent.parent
    shutil.copytree(installed, private / installed.relative_to(site), ignore=shutil.ignore_patterns("include"))
    libraries = f"{embedded_server.PACKAGE}.libs"
    shutil.copytree(site / libraries, private / libraries)
    hidden = private / installed.relative_to(site) / "bin"
    monkeypatch.setattr(embedded_server, "programs_folder", lambda: hidden)
    with embedded.acquire(base / "data") as lease:
        write(lease)
        command = Path(f"/proc/{embedded.status(base / 'data').pid}/cmdline").read_bytes()
        assert command.startswith(os.fsencode((base / "data").resolve()) + b"/server-")


@as_root
def test_ordinary_account(base: Path, start_user: Callable[..., subprocess.Popen[str]]) -> None:
    """An ordinary account runs its own server; root joins it under that account, and a third one is refused."""
    if not Account("stranger", STRANGER, STRANGER).can_run(embedded_server.programs_folder() / "initdb"):
        pytest.skip("the environment lies where only root may pass: no other account can run its programs")
    folder = base / "data"
    folder.mkdir()
    os.chown(folder, STRANGER, STRANGER)
    user = start_user(folder, account=STRANGER)
    assert is_ready(user)
    seen = embedded.status(folder)
    assert seen.data_folder.stat().st_uid == STRANGER
    with embedded.acquire(folder) as lease:
        write(lease)
        end(user)
        assert rows(lease) == 1
    with embedded.acquire(folder):
        assert Path(f"/proc/{embedded.status(folder).pid}").stat().st_uid == STRANGER
    assert {path.stat().st_uid for path in folder.iterdir()} == {STRANGER}
    _, told = start_user(folder, account=STRANGER - 1).communicate(timeout=30)
    assert told.strip() == "database.folder_unwritable"


@as_root
def test_folder_without_the_right_to_write(base: Path, start_user: Callable[..., subprocess.Popen[str]]) -> None:
    """A folder that the account may not write to, and one that it may not make, are told with a code."""
    (base / "data").mkdir(mode=0o755)
    for folder in (base / "data", base / "new"):
        _, told = start_user(folder, account=STRANGER).communicate(timeout=30)
        assert told.strip() == "database.folder_unwritable"


def test_start_that_hangs_elsewhere_is_told(base: Path) -> None:
    """Who waits too long for another process's start is told whose lock it is."""
    import fcntl

    (base / "data").mkdir()
    with (base / "data" / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EmbeddedServerError, match=r"start\.lock") as refused:
            embedded.acquire(base / "data", timeout_seconds=0.1)
    assert refused.value.code == "database.busy"


@pytest.mark.parametrize("name", ["imis", "imis-owner", "postgres-app"])
def test_any_name_of_a_deployment_gives_a_database(base: Path, name: str) -> None:
    """The logins of the embedded server are no role of a deployment, whatever the deployment is called."""
    addresses = find_database("embedded", None, base, name)
    try:
        with psycopg.connect(addresses.app) as app, psycopg.connect(addresses.owner) as owner:
            users = [c.execute("SELECT current_user").fetchone() for c in (app, owner)]
        assert users[0] != users[1]
    finally:
        addresses.release()
