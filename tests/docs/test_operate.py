"""docs/operate.md: the roles that it tells an administrator to make are enough for a deployment on a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core.database.engine import driver_url
from imis_core.opening import Playground, migrate_deployment, open_application

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"
SETTINGS = '[deployment]\nname = "server"\ncountry = "XX"\ncurrency = "USD"\n'


@frozen
class Prepared:
    """A server on which an administrator ran the page's SQL, with the addresses of its two logins."""

    service: str
    migrations: str


@pytest.fixture
def prepared(playground: Playground) -> Iterator[Prepared]:
    """The page's SQL, under names of this test's own, on the server that the tests use."""
    name = f"{playground.prefix}_operate"
    admin = sa.make_url(playground.databases._admin)
    found = re.search(r"```sql run\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    script = re.sub(r"\bimis(?=_|;| OWNER)", name, found[1])
    engine = sa.create_engine(driver_url(admin.render_as_string(False)), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in filter(str.strip, script.split(";")):
            connection.exec_driver_sql(statement)
        service, migrations = (
            admin.set(database=name, username=f"{name}_{login}", password=password).render_as_string(False)
            for login, password in (("service", "change-me-2"), ("migrations", "change-me-1"))
        )
        yield Prepared(service, migrations)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        for role in ("service", "migrations", "owner", "app", "read"):
            connection.exec_driver_sql(f"DROP ROLE {name}_{role}")
    engine.dispose()


def test_the_roles_are_enough(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owning login migrates, the service's login runs commands and queries, neither being a superuser."""
    (tmp_path / "imis.toml").write_text(SETTINGS)
    monkeypatch.setenv("IMIS_DATABASE_URL", prepared.service)
    monkeypatch.setenv("IMIS_DATABASE_OWNER_URL", prepared.migrations)
    migrate_deployment(tmp_path)
    with open_application(tmp_path) as app:
        app.run("locations.add", {"code": "N", "name": "North", "level": "region"}, app.system)
        assert [place["code"] for place in app.run("locations.list", {}, app.system)] == ["N"]
