"""An application as tests use it: users on demand, a clock to set, results as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa

from imis_core.application import Application
from imis_core.audit import request_digest, write_entry
from imis_core.clock import SetClock
from imis_core.commands import run_command
from imis_core.context import Context
from imis_core.deployment import ADMINISTRATOR, settings_from
from imis_core.opening import Playground
from imis_core.plugins import installed
from imis_core.security.caller import Caller
from imis_core.security.login import caller_named


class TestApp(Application):
    """An application with short ways to act as a user; its clock is a `SetClock`."""

    __test__ = False  # no test class, whatever its name

    clock: SetClock

    def as_user(
        self, user: str, role: str = ADMINISTRATOR, places: Sequence[str] = (), providers: Sequence[str] = ()
    ) -> Caller:
        """A user of that name with a role, made if absent."""
        if user not in self._made:
            self._make(user, role, places, providers)
            self._made.add(user)
        return caller_named(self, user)

    @cached_property
    def _made(self) -> set[str]:
        """Who was made, or found to be there: most tests act as few users many times."""
        return set()

    def _make(self, user: str, role: str, places: Sequence[str], providers: Sequence[str]) -> None:
        with self.database.command(self.system) as (connection, audit):
            numbers = {
                table: list(
                    connection.execute(
                        sa.text(f"SELECT id FROM core.{table} WHERE code = ANY(:codes)"), {"codes": list(codes)}
                    ).scalars()
                )
                for table, codes in (("locations", places), ("providers", providers))
            }
            made = {"name": user, "roles": [role], "places": numbers["locations"], "providers": numbers["providers"]}
            if connection.execute(_MAKE_USER, made).first() is not None:
                context = Context(
                    self, connection, self.system, self.clock.now(), self.clock.today(), audit, "testing.users"
                )
                write_entry(context, 1, 0, request_digest(context.command, [made]), None)

    def do(
        self,
        name: str,
        data: Mapping[str, Any] | None = None,
        *,
        as_: str | Caller = ADMINISTRATOR,
        on: date | None = None,
    ) -> Any:
        """Run a command on one object, or a query. Raises `ImisError` if it is refused."""
        if on is not None:
            self.clock.set(on)
        return self.run(name, dict(data or {}), self._caller(as_))

    def do_all(
        self, name: str, items: Sequence[Mapping[str, Any]], *, as_: str | Caller = ADMINISTRATOR, atomic: bool = False
    ) -> list[Any]:
        """Run a command on a batch: results and refusals in order."""
        return list(run_command(self, name, items, self._caller(as_), atomic=atomic).outcomes)

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """Rows of a SELECT, seen by the system."""
        with self.database.query(self.system) as connection:
            return list(connection.execute(sa.text(sql), parameters).mappings())

    def _caller(self, user: str | Caller) -> Caller:
        return user if isinstance(user, Caller) else self.as_user(user)


_MAKE_USER: Final = sa.text(
    "INSERT INTO core.users (name, roles, places, providers) VALUES (:name, CAST(:roles AS text[]), "
    "CAST(:places AS bigint[]), CAST(:providers AS bigint[])) ON CONFLICT (name) DO NOTHING RETURNING id"
)


def default_settings(plugins: Sequence[str] | None = None) -> dict[str, Any]:
    """Settings of a small deployment with every installed plugin, and a scheme where one knows its kind."""
    enabled = list(installed() if plugins is None else plugins)
    schemes = {"chf": {"type": "health_insurance"}} if "health_insurance" in enabled else {}
    return {
        "deployment": {"name": "test", "country": "XX", "currency": "USD"},
        "plugins": {"enabled": enabled},
        "schemes": schemes,
    }


@contextmanager
def test_application(
    playground: Playground,
    today: date,
    settings: Mapping[str, Any] | None = None,  # noqa: PT028 - no test, whatever its name
    extra: Mapping[str, object] | None = None,  # noqa: PT028
    plugins: Sequence[str] | None = None,  # noqa: PT028
) -> Iterator[TestApp]:
    """A `TestApp` on a fresh database; `settings` are tables of imis.toml laid over the defaults."""
    tables = default_settings(plugins)
    for name, table in (settings or {}).items():
        tables[name] = {**tables.get(name, {}), **table}
    parsed = settings_from(tables, "test")
    clock = SetClock(today)
    with playground.application(parsed, clock, extra, kind=TestApp) as app:
        assert isinstance(app, TestApp)
        yield app


test_application.__test__ = False  # type: ignore[attr-defined]
