"""An application with an empty log, and a superuser's connection: what an intruder on the database server can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.database.engine import driver_url
from imis_core.opening import Playground
from imis_core.testing.app import TestApp
from imis_core.testing.plugin import AppMaker

Superuser = Callable[..., list[Any]]


def _engine(playground: Playground, app: TestApp) -> sa.Engine:
    admin = playground.databases._admin.set(database=app.database.url.database)
    return sa.create_engine(driver_url(admin.render_as_string(hide_password=False)), poolclass=sa.NullPool)


@pytest.fixture
def app(playground: Playground, make_app: AppMaker) -> TestApp:
    """An application whose log begins with what the test does: how its users came to be is forgotten."""
    app = make_app()
    app.as_user("administrator")
    engine = _engine(playground, app)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM core.audit_entries"))
    engine.dispose()
    return app


@pytest.fixture
def superuser(playground: Playground, app: TestApp) -> Iterator[Superuser]:
    """Runs SQL on the application's database as a superuser, past its roles, and commits; the rows if there are any."""
    engine = _engine(playground, app)

    def run(sql: str, **parameters: Any) -> list[Any]:
        with engine.begin() as connection:
            result = connection.execute(sa.text(sql), parameters)
            return list(result) if result.returns_rows else []

    yield run
    engine.dispose()
