"""A superuser's connection to an application's database: what an intruder on the database server can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.database.engine import driver_url
from imis_core.opening import Playground
from imis_core.testing.app import TestApp

Superuser = Callable[..., list[Any]]


@pytest.fixture
def superuser(playground: Playground, app: TestApp) -> Iterator[Superuser]:
    """Runs SQL on the application's database as a superuser, past its roles, and commits; the rows if there are any."""
    admin = playground.databases._admin.set(database=app.database.url.database)
    engine = sa.create_engine(driver_url(admin.render_as_string(hide_password=False)), poolclass=sa.NullPool)

    def run(sql: str, **parameters: Any) -> list[Any]:
        with engine.begin() as connection:
            result = connection.execute(sa.text(sql), parameters)
            return list(result) if result.returns_rows else []

    yield run
    engine.dispose()
