"""`imis plugins remove`: a real plugin's tables with data are put away or dropped, and everything else goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.database.engine import driver_url
from imis_core.deployment import load_settings
from imis_core.errors import ImisError
from imis_core.opening import migrate_deployment
from imis_core.operations.removing import remove_plugin

from .conftest import CLAIM, Answer, opened, restored, saved


@pytest.fixture
def without(there: Path, archive: Path) -> Path:
    """The living deployment on a server, where grievances have just been switched off."""
    restored(there, archive)
    text = (there / "imis.toml").read_text().replace('enabled = ["grievance", ', "enabled = [")
    (there / "imis.toml").write_text(text)
    return there


@pytest.fixture
def owner(without: Path) -> Iterator[sa.Connection]:
    engine = sa.create_engine(driver_url(str(load_settings(without).database.owner_url)), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        role = connection.execute(sa.text("SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'core'"))
        connection.execute(sa.text(f"SET ROLE {role.scalar_one()}"))
        yield connection
    engine.dispose()


def goes_on(folder: Path, code: str) -> None:
    """The kernel and the other plugin work."""
    with opened(folder) as app:
        app.run("claims.submit", {**CLAIM, "code": code}, app.system)
        assert app.run("claims.process", {"scheme": "chf"}, app.system)["valuated"] >= 1


def test_its_rows_are_put_away_and_the_others_go_on(
    without: Path, owner: sa.Connection, imis: Callable[..., Answer], on_server: Callable[[str], Path], base: Path
) -> None:
    """Rows stay in a schema of another name without keys to the kernel, a backup holds them, a new start is empty."""
    answer = imis("-C", without, "plugins", "remove", "grievance", "--yes")
    assert (answer.code, "kept in the schema archived_grievance" in answer.out) == (0, True)
    assert owner.exec_driver_sql("SELECT description FROM archived_grievance.grievances").scalars().all() == [
        "Awa Diop was not paid"
    ]
    keys = (
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' "
        "AND conrelid::regclass::text LIKE 'archived_grievance.%%' "
        "AND confrelid::regclass::text NOT LIKE 'archived_grievance.%%'"
    )
    assert owner.exec_driver_sql(keys).scalar_one() == 0
    goes_on(without, "C-7")
    with (
        opened(without) as app,
        pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        app.database.query(app.system) as connection,
    ):
        connection.execute(sa.text("SELECT * FROM archived_grievance.grievances"))
    path = saved(without, base / "with-archive.tar").path
    copy = on_server("copy")
    (copy / "imis.toml").write_text((copy / "imis.toml").read_text().replace('"grievance", ', ""))
    restored(copy, path)
    goes_on(copy, "C-8")
    text = (without / "imis.toml").read_text()
    (without / "imis.toml").write_text(text.replace('enabled = ["health', 'enabled = ["grievance", "health'))
    migrate_deployment(without)
    with opened(without) as app:
        assert app.run("grievances.list", {}, app.system) == []


def test_dropped_rows_are_gone(without: Path, owner: sa.Connection) -> None:
    """`--drop` leaves nothing; before, it says what would go, and changes nothing."""
    planned = remove_plugin(without, "grievance", drop=True, dry_run=True)
    assert planned.rows > 2
    assert owner.exec_driver_sql("SELECT count(*) FROM grievance.grievances").scalar_one() == 1
    done = remove_plugin(without, "grievance", drop=True)
    assert (done.rows, done.archive) == (planned.rows, None)
    there = owner.exec_driver_sql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%%grievance%%'")
    assert there.scalar_one() == 0
    goes_on(without, "C-9")


def test_what_may_not_be_removed(without: Path, owner: sa.Connection) -> None:
    """A plugin that is switched on, one without tables, the kernel, and one that something else rests on."""

    def code(name: str) -> Any:
        with pytest.raises(ImisError) as caught:
            remove_plugin(without, name, drop=True)
        return caught.value.code

    assert code("health_insurance") == "plugins.enabled"
    assert [code(name) for name in ("nobody", "core", "jobs", "public")] == ["plugins.no_tables"] * 4
    owner.exec_driver_sql("CREATE VIEW health_insurance.complaints AS SELECT id FROM grievance.grievances")
    assert code("grievance") == "plugins.needed"
    assert owner.exec_driver_sql("SELECT count(*) FROM grievance.grievances").scalar_one() == 1
