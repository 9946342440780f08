"""`imis new-plugin` makes a plugin that is green from the start."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imis_core.cli import main
from tests.plugin_environment import make_environment

RUN_SECONDS = 300


def _run(python: Path, folder: Path, *command: str) -> str:
    """What a command of the environment says; it must not fail."""
    done = subprocess.run(
        [str(python), "-m", *command], cwd=folder, capture_output=True, text=True, timeout=RUN_SECONDS, check=False,
        env={k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH"))},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_fresh_plugin_is_green(tmp_path: Path) -> None:
    """Scaffolded and installed alone, its tests, the conformance check among them, ruff and mypy find nothing."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "imis-cash-for-work"
    assert main(["new-plugin", str(folder), "--title", "Cash for work"]) == 0
    python = make_environment(tmp_path / "environment", folder)
    assert "6 passed" in _run(python, folder, "pytest", "-q")
    _run(python, folder, "ruff", "check", ".")
    _run(python, folder, "ruff", "format", "--check", ".")
    _run(python, folder, "mypy")


@pytest.mark.parametrize("name", ["a", "a_kind_of_scheme_of_thirty_abc"])
def test_a_name_of_any_length_gives_clean_files(tmp_path: Path, name: str) -> None:
    """Neither a short nor a long name breaks the format, the order of imports or the length of a line."""
    folder = tmp_path / "plugin"
    assert main(["new-plugin", str(folder), "--name", name]) == 0
    assert (folder / f"imis_{name}" / "plugin.py").is_file()
    for command in (("check",), ("format", "--check")):
        done = subprocess.run(["ruff", *command, "."], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S607
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_plugin_is_named_by_its_folder(tmp_path: Path) -> None:
    """`imis-` belongs to the distribution; dashes are underscores in Python."""
    assert main(["new-plugin", str(tmp_path / "imis-School-feeding")]) == 0
    page = (tmp_path / "imis-School-feeding" / "imis_school_feeding" / "plugin.py").read_text("utf-8")
    assert 'name="school_feeding"' in page


@pytest.mark.parametrize("name", ["1st", "core", "pg_x", "päyments", "a" * 31])
def test_a_wrong_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Before anything is written, with what a name may be."""
    assert main(["new-plugin", str(tmp_path / "x"), "--name", name]) == 2
    assert "new.plugin_name" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written over."""
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    assert main(["new-plugin", str(tmp_path)]) == 2
    assert "new.folder_not_empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
