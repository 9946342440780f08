"""Rules of failing: one line on standard error with the way out, exit code 2 for wrong input and 1 for failed work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Imis

RIGHT = '[deployment]\nname = "here"\ncountry = "XX"\ncurrency = "USD"\n'


def call(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, as a shell starts it."""
    code = "import sys; from imis_core.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        timeout=60,
        check=False,
    )


def deployment(folder: Path, text: str) -> Path:
    (folder / "imis.toml").write_text(text, "utf-8")
    return folder


def test_help_brings_nothing_of_the_application_into_memory() -> None:
    """`imis --help` stays quick because it imports neither the database, nor the web, nor the table files."""
    code = (
        "import sys; from imis_core.cli import main; main(['--help']); "
        "heavy = {'sqlalchemy', 'litestar', 'polars', 'attrs', 'copier'}; "
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert "scenario" in done.stdout


def test_every_subcommand_shows_its_help(imis: Imis) -> None:
    """Each name of the group leads to a command with a help text of its own."""
    names = [line.split()[1] for line in imis("--help").out.splitlines() if line[:1] == "│" and line[2:3].islower()]
    assert {"new", "check", "migrate", "load", "serve", "worker", "run", "import", "export", "scenario"} <= set(names)
    for name in names:
        answer = imis(name, "--help")
        assert (answer.code, f"imis {name}" in answer.out) == (0, True)


def test_an_unknown_subcommand_is_wrong_input() -> None:
    """A slip in the command line is one line with the way to the help."""
    done = call("chek")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == ["imis: usage: No such command 'chek'; see `imis --help`"]


def test_a_folder_without_a_deployment(tmp_path: Path) -> None:
    """Without imis.toml every command says how a deployment is named."""
    done = call("-C", tmp_path, "migrate")
    assert done.returncode == 2
    assert done.stderr.startswith("imis: deployment.missing:")
    assert "-C DIR" in done.stderr


def test_the_deployment_may_stand_in_the_environment(
    tmp_path: Path, imis: Imis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IMIS_DEPLOYMENT names the folder where the option does not."""
    monkeypatch.setenv("IMIS_DEPLOYMENT", str(deployment(tmp_path, RIGHT)))
    assert "not made yet" in imis("check").out


TEN_MISTAKES = """
[deployment]
name = "Not A Slug"
country = "nepal"
curency = "NPR"
age_of_majority = "18"
timezone = "Asia/Katmandoo"
[plugins]
enabled = ["no_such_plugin"]
[schemes.chf]
plugins = []
[roles.clerk]
permissions = ["claims"]
scope = "places"
[database]
url = "mysql://localhost"
"""
TEN_PATHS = [
    "deployment.name",
    "deployment.country",
    "deployment.curency",
    "deployment.currency",
    "deployment.age_of_majority",
    "deployment.timezone",
    "plugins.enabled.no_such_plugin",
    "schemes.chf.type",
    "roles.clerk.permissions.0",
    "roles.clerk.scope",
    "database.url",
]


def test_check_tells_every_mistake_on_a_line(tmp_path: Path) -> None:
    """All mistakes of the settings and of the plugins come at once, one line each, with exit code 2."""
    done = call("-C", deployment(tmp_path, TEN_MISTAKES), "check")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(TEN_PATHS)
    for path in TEN_PATHS:
        assert any(line.startswith(f"imis: settings.invalid: {path}: ") for line in lines), path
    assert "did you mean 'currency'" in done.stderr


def test_other_commands_tell_the_mistakes_on_one_line(tmp_path: Path) -> None:
    """A wrong imis.toml is one line for every other command, with all paths in it."""
    done = call("-C", deployment(tmp_path, TEN_MISTAKES), "run", "locations.list")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert all(path in done.stderr for path in TEN_PATHS if not path.startswith("plugins"))


def test_a_plugin_that_does_not_import_is_named(tmp_path: Path) -> None:
    """A plugin's failing import is a finding with its name and the cause, not a traceback."""
    packages = tmp_path / "packages"
    (packages / "torn-1.0.dist-info").mkdir(parents=True)
    (packages / "torn-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torn\nVersion: 1.0\n")
    (packages / "torn-1.0.dist-info" / "entry_points.txt").write_text("[imis.plugins]\ntorn = torn_plugin\n")
    (packages / "torn_plugin.py").write_text("import a_module_that_is_not_there\n")
    folder = deployment(tmp_path, RIGHT + '[plugins]\nenabled = ["torn"]\n')
    environment = {"PYTHONPATH": str(packages)}
    done = call("-C", folder, "check", environment=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("imis: settings.invalid: plugins.enabled.torn: plugin 'torn' does not import: Module")
    assert len(done.stderr.splitlines()) == 1
    listed = call("-C", folder, "plugins", environment=environment)
    assert "torn  1.0  enabled" in listed.stdout.splitlines()


def test_a_database_that_is_not_there_is_failed_work(tmp_path: Path) -> None:
    """Without the database the command fails with exit code 1, on one line without the password."""
    url = "postgresql://imis:secret-word@127.0.0.1:1/none"
    folder = deployment(tmp_path, RIGHT + f'[database]\nurl = "{url}"\n')
    for arguments in (("run", "locations.list"), ("check",), ("migrate",)):
        done = call("-C", folder, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("imis: database.unreachable:")
        assert len(done.stderr.splitlines()) == 1
        assert "secret-word" not in done.stderr


@pytest.mark.parametrize("text", ["{", "[1", "not json", '{"a": NaN}', "\x00", "[" * 100_000])
def test_what_is_no_json_is_wrong_input(small: Path, imis: Imis, tmp_path: Path, text: str) -> None:
    """Data that cannot be read is told before anything is done."""
    file = tmp_path / "data.json"
    file.write_text(text, "utf-8")
    answer = imis("-C", small, "run", "locations.add", "--data", file)
    assert answer.code == 2
    assert answer.err.startswith("imis: input.invalid:")
    assert len(answer.err.splitlines()) == 1


def test_debug_shows_where_an_error_comes_from(tmp_path: Path, imis: Imis) -> None:
    """`--debug` adds the traceback to the same last line."""
    plain = imis("-C", tmp_path, "migrate")
    debug = imis("--debug", "-C", tmp_path, "migrate")
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err
    assert debug.err.splitlines()[-1] == plain.err.splitlines()[-1]


def test_a_defect_is_one_line_too(small: Path, imis: Imis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw is told as an internal error with the way to its traceback."""

    def broken(*_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("imis_core.cli.run.check_name", broken)
    answer = imis("-C", small, "run", "locations.list")
    assert (answer.code, answer.err) == (
        1,
        "imis: internal error RuntimeError: two lines; run `imis --debug ...` to see where\n",
    )


def test_an_interrupted_command_ends_quietly(small: Path, imis: Imis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C is exit code 130 and one line."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imis_core.cli.run.read_json", interrupted)
    answer = imis("-C", small, "run", "locations.list")
    assert answer.code == 130
    assert answer.err.strip() == "imis: interrupted"


def test_a_reader_that_goes_away_is_no_error(small: Path) -> None:
    """`imis ... | head` ends without a word when the pipe is closed."""
    code = "import sys; from imis_core.cli import main; sys.exit(main())"
    arguments = [sys.executable, "-c", code, "-C", str(small), "openapi"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # long before the child has something to say
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_a_worker_ends_in_order_when_it_is_told_to(small: Path) -> None:
    """`imis worker` stops at SIGTERM with exit code 0."""
    code = "import sys; from imis_core.cli import main; sys.exit(main())"
    arguments = [sys.executable, "-c", code, "-C", str(small), "worker"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("working")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "stopping when the running jobs are done\n")
    assert "error" not in err  # what it says of jobs that it ran meanwhile is no failure
