"""`imis upgrade`: an embedded cluster of an older major becomes one of the installed, whole, or stays as it was.

The wheel carries an older major as well, whose cluster is carried over for real. The tests of the order of steps tell a
cluster to be of the major before; the programs of that one are a wrapper around the installed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imis_core.database import embedded_server
from imis_core.database.embedded_server import program_version, programs_folder
from imis_core.errors import ImisError
from imis_core.operations import upgrade as upgrading

from .conftest import Answer, opened, restored

WRAPPER = """#!/bin/sh
if [ "$1" = --version ]; then echo "postgres (PostgreSQL) {old}.9"; exit 0; fi
echo {new} > "$2/PG_VERSION"
exec {programs}/postgres "$@"
"""


# Majors before 17 have no locale provider of their own; `C` sorts as ours does.
OLDER_INITDB = """#!/bin/sh
for argument; do
    shift
    case $argument in --locale-provider=*|--builtin-locale=*) ;; *) set -- "$@" "$argument" ;; esac
done
exec "$0-itself" "$@"
"""


@pytest.fixture
def aged(base: Path, archive: Path) -> Path:
    """An embedded deployment whose cluster says that it is of the major before."""
    folder = base / "aged"
    folder.mkdir()
    restored(folder, archive)
    (cluster(folder) / "PG_VERSION").write_text(f"{major() - 1}\n")
    return folder


def major() -> int:
    return int(program_version(programs_folder()).partition(".")[0])


def cluster(folder: Path) -> Path:
    pointer = folder / "var" / "postgres" / "location"
    return (Path(pointer.read_text().strip()) if pointer.exists() else folder / "var" / "postgres") / "pg"


@pytest.fixture
def old_programs(base: Path, aged: Path) -> Path:
    """The programs of the major before, as far as the upgrade needs them; as root, a copy that its account reaches."""
    copies = list(cluster(aged).parent.glob("server-*/*/*/bin"))
    real = copies[0] if copies else programs_folder()
    folder = base / "old"
    folder.mkdir(mode=0o755)
    wrapper = folder / "postgres"
    wrapper.write_text(WRAPPER.format(old=major() - 1, new=major(), programs=real))
    wrapper.chmod(0o755)
    return folder


def upgrade(folder: Path, programs: Path | None) -> object:
    return upgrading.upgrade(folder, programs, lambda _: None)


def claims(folder: Path) -> list[object]:
    with opened(folder) as app:
        return list(app.run("claims.list", {}, app.system))


def test_an_older_cluster_is_carried_over(
    aged: Path, old_programs: Path, living: Path, imis: Callable[..., Answer]
) -> None:
    """Refused at the start, told by the doctor; afterwards everything is there, and the old data are kept."""
    with pytest.raises(ImisError) as caught, opened(aged):
        pass
    assert (caught.value.code, "`imis upgrade`" in str(caught.value)) == ("database.other_major", True)
    told = json.loads(imis("-C", aged, "doctor", "--json").out)["findings"]
    assert "imis upgrade" in next(f["remedy"] for f in told if f["code"] == "database.other_major")
    answer = imis("-C", aged, "upgrade", "--old-programs", old_programs)
    assert (answer.code, f"PostgreSQL {major() - 1} -> {major()}" in answer.out) == (0, True)
    assert claims(aged) == claims(living)
    kept = cluster(aged).with_name(f"pg.{major() - 1}")
    assert (kept / "base").is_dir()
    assert not cluster(aged).with_name("upgrading").exists()
    assert "nothing to do" in imis("-C", aged, "upgrade").out


def test_a_cluster_that_an_older_postgresql_made(
    base: Path, archive: Path, living: Path, imis: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made, filled and used by the older major of the wheel, it is refused at first, then carried over by one call."""
    found = programs_folder().parent.parent.glob("pginstall*/bin")
    programs = next(folder for folder in found if folder != programs_folder())
    before = program_version(programs).partition(".")[0]
    assert int(before) < major()
    package = programs.parents[1]
    older = base / "wheel" / package.name / programs.parent.name
    shutil.copytree(programs.parent, older)
    libraries = package.with_name(f"{package.name}.libs")  # the programs find them beside their package
    shutil.copytree(libraries, base / "wheel" / libraries.name)
    (older / "bin" / "initdb").rename(older / "bin" / "initdb-itself")
    (older / "bin" / "initdb").write_text(OLDER_INITDB)
    (older / "bin" / "initdb").chmod(0o755)
    folder = base / "older"
    folder.mkdir()
    there = claims(living)
    with monkeypatch.context() as patched:
        patched.setattr(embedded_server, "programs_folder", lambda: older / "bin")
        restored(folder, archive)
        assert claims(folder) == there
    assert (cluster(folder) / "PG_VERSION").read_text().strip() == before
    with pytest.raises(ImisError, match="`imis upgrade`"), opened(folder):
        pass
    answer = imis("-C", folder, "upgrade")
    assert (answer.code, f"PostgreSQL {before} -> {major()}" in answer.out) == (0, True), answer
    assert claims(folder) == there
    assert (cluster(folder) / "PG_VERSION").read_text().strip() == str(major())
    assert imis("-C", folder, "audit", "verify").code == 0
    assert (cluster(folder).with_name(f"pg.{before}") / "PG_VERSION").read_text().strip() == before


def test_a_failed_upgrade_leaves_the_old_cluster(
    aged: Path, old_programs: Path, living: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the old programs, or when the data are not taken: nothing has happened, and it can be tried again."""
    monkeypatch.setattr(upgrading, "programs_folder", lambda: Path("/nowhere/a/b"))
    with pytest.raises(ImisError) as caught:
        upgrade(aged, None)
    assert caught.value.code == "upgrade.old_programs"
    monkeypatch.undo()

    def fails(*_: object) -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(upgrading, "load_database", fails)
    with pytest.raises(RuntimeError, match="the disk is gone"):
        upgrade(aged, old_programs)
    assert not cluster(aged).with_name("upgrading").exists()
    monkeypatch.undo()
    (cluster(aged) / "PG_VERSION").write_text(f"{major() - 1}\n")  # the wrapper had changed it
    upgrade(aged, old_programs)
    assert claims(aged) == claims(living)


def test_a_change_that_was_killed_is_finished(aged: Path, old_programs: Path, living: Path) -> None:
    """Between the two renames no empty cluster is made in the gap; the next call puts the new one in place."""
    upgrade(aged, old_programs)
    place = cluster(aged).parent
    (place / "upgrading").mkdir(mode=0o700)
    (place / "pg").rename(place / "upgrading" / "pg")
    with pytest.raises(ImisError) as caught, opened(aged):
        pass
    assert caught.value.code == "database.upgrade_unfinished"
    upgrade(aged, None)
    assert claims(aged) == claims(living)
    shutil.rmtree(place / f"pg.{major() - 1}")


def test_an_upgrade_needs_the_server_for_itself(living: Path, there: Path) -> None:
    """A server by address is its administrator's; one that is of the installed major needs nothing."""
    with pytest.raises(ImisError) as caught:
        upgrade(there, None)
    assert caught.value.code == "upgrade.server"
    assert upgrade(living, None) is None
