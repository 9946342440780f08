"""The conformance check that every plugin calls in its own tests: does it keep to what the kernel relies on?

    def test_the_plugin_conforms(conformance: Conformance) -> None:
        conformance("school_feeding", terms={"school_feeding": {"amount": "10"}})

It looks at the hooks against their specifications, the manifest, settings, permissions, names and sentences; runs the
migrations up from nothing and looks for anything outside of the plugin's schema, anything that the definitions have and
the migrations lack, and tables about people that everybody would see; and explains the SQL that the plugin contributes
on tables of two sizes. What the plugin's rules say is for its own tests and scenarios to judge.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final, Protocol

import sqlalchemy as sa

from imis_core.clock import SetClock
from imis_core.database.engine import Roles, driver_url
from imis_core.deployment import settings_from
from imis_core.opening import Playground
from imis_core.testing.app import TestApp
from imis_core.testing.conformance.complaints import Complaint
from imis_core.testing.conformance.plans import TODAY, check_plans
from imis_core.testing.conformance.schema import check_schema
from imis_core.testing.conformance.surface import check_surface, compose_with_schemes

ROWS: Final = (10_000, 100_000)


class Conformance(Protocol):
    """The fixture `conformance`: the arguments of `check_plugin` without the playground; fails with every complaint."""

    def __call__(self, plugin: str, /, **more: Any) -> None: ...


def check_plugin(
    playground: Playground,
    plugin: str,
    *,
    source: object | None = None,
    settings: Mapping[str, Any] | None = None,
    terms: Mapping[str, Any] | None = None,
    rows: tuple[int, int] = ROWS,
    fill: Mapping[str, str] | None = None,
    beside: tuple[str, ...] = (),
    unscoped: Mapping[str, str] | None = None,
) -> list[Complaint]:
    """Everything that a plugin does not keep to.

    `source` is the plugin's module or object where it is not installed. `settings` is its table in imis.toml. `terms`
    gives right terms for each of its scheme types whose payrolls are to be explained. `rows` are the two sizes at which
    plans are compared. `fill` says what columns hold in these rows, as SQL over the row's number `g`, by `column` or
    `table.column`: `{"enrolments.state": "'active'"}`. `beside` names plugins whose ports it needs. `unscoped` says why
    a table that refers to persons has no row security: `{"holds": "whoever lets go must know of every one"}`.
    """
    extra = {} if source is None else {plugin: source}
    tables: dict[str, Any] = {
        "deployment": {"name": "conformance", "country": "XX", "currency": "USD"},
        "plugins": {"enabled": [*beside, plugin], **({plugin: dict(settings)} if settings else {})},
    }
    composition = compose_with_schemes(tables, extra, plugin)
    if isinstance(composition, list):
        return composition
    found = list(check_surface(composition, plugin))
    database = f"{playground.prefix}_conformance_{secrets.token_hex(4)}"
    address = playground.databases.template(database)
    try:
        found += check_schema(address, Roles.of(database), composition.plugins.manifests, plugin, unscoped or {})
    finally:
        playground.databases.drop(database)
        playground.databases.drop_own_roles(database)
    if any(complaint.where.startswith(("migrations ", "tables ")) for complaint in found):
        return found  # without the tables that it thinks of nothing can be explained
    parsed = settings_from(tables, "conformance")
    with playground.application(parsed, SetClock(TODAY), extra, kind=TestApp) as app:
        assert isinstance(app, TestApp)
        name = app.database.engine.url.database
        assert name is not None
        engine = sa.create_engine(
            driver_url(playground.databases.administrator(name)), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as administrator:
            found += check_plans(app, administrator, plugin, rows, terms or {}, fill or {})
        engine.dispose()
    return found


def assert_conforms(playground: Playground, plugin: str, **more: Any) -> None:
    """Fail with every complaint on a line of its own. The arguments are those of `check_plugin`."""
    found = check_plugin(playground, plugin, **more)
    if found:
        raise AssertionError("the plugin does not conform:\n" + "\n".join(f"  {complaint}" for complaint in found))


__all__ = ["ROWS", "Complaint", "Conformance", "assert_conforms", "check_plugin"]
