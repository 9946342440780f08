"""Opening an application: from a deployment's folder, or on a throw-away database for scenarios and tests."""

from __future__ import annotations

import gc
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.application import Application, Composition
from imis_core.audit import request_digest
from imis_core.clock import Clock, SystemClock
from imis_core.database import embedded
from imis_core.database.engine import Database, Roles
from imis_core.database.server import EMBEDDED, Addresses, ThrowAway, ensure_roles, find_database
from imis_core.deployment import ADMINISTRATOR, Settings, load_settings
from imis_core.errors import refused
from imis_core.ids import KEY_BYTES, SEALS_KEY_BYTES, load_key
from imis_core.migrations.runner import SchemaState, migrate, states
from imis_core.runtime_tables import audit_entries
from imis_core.security.caller import SYSTEM, system_caller

# Of servers that nothing outlives: durability is not paid for.
THROW_AWAY_SETTINGS: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a file system in memory, where the machine has one
MEMORY_FREE: Final = 2 * 1024**3  # bytes that must be free there
_CALM: Final = (50_000, 20, 100)
_FIRST_USER: Final = sa.text(
    "INSERT INTO core.users (name, roles, places, providers) VALUES (:name, CAST(:roles AS text[]), '{}', '{}') "
    "ON CONFLICT (name) DO NOTHING RETURNING id"
)


def calm_collector() -> None:
    """Let the garbage collector look less often: batches make many objects and no cycles.

    With the interpreter's defaults it walks the whole application again and again, a third of the time of an import.
    Once in a process: what a later call would freeze is never collected again, closed applications among it.
    """
    if gc.get_threshold() == _CALM:  # the collector itself would count what is frozen, one by one
        return
    gc.freeze()
    gc.set_threshold(*_CALM)


@frozen
class Migrated:
    """What `imis migrate` did."""

    moved: list[SchemaState]
    database: str


def migrate_deployment(folder: Path) -> Migrated:
    """Bring a deployment's database to the newest revisions; makes an embedded one if there is none."""
    settings = load_settings(folder)
    composition = Composition(settings, str(folder / "imis.toml"))
    addresses = _addresses(settings)
    try:
        return Migrated(_migrate(addresses, composition), addresses.database)
    finally:
        addresses.release()


def _addresses(settings: Settings) -> Addresses:
    database = settings.database
    return find_database(database.url, database.owner_url, settings.folder, settings.name)


def _migrate(addresses: Addresses, composition: Composition) -> list[SchemaState]:
    if addresses.lease is None:
        roles = ensure_roles(addresses.owner, addresses.app, addresses.database)
    else:
        roles = Roles.of(addresses.database)
    moved = migrate(addresses.owner, roles, composition.plugins.manifests)
    database = Database(addresses.app, pool_size=1)
    try:
        first_user(database)
    finally:
        database.dispose()
    return moved


def first_user(database: Database) -> None:
    """The built-in administrator; without a password nobody can log in as it over the web."""
    first = {"name": ADMINISTRATOR, "roles": [ADMINISTRATOR]}
    with database.command(system_caller()) as (connection, audit):
        if connection.execute(_FIRST_USER, first).first() is not None:
            entry = {
                "id": audit, "at": datetime.now(UTC), "actor": SYSTEM, "command": "imis.migrate", "accepted": 1,
                "refused": 0, "digest": request_digest("imis.migrate", [first]),
            }  # fmt: skip
            connection.execute(sa.insert(audit_entries).values(entry))


@contextmanager
def open_application(
    folder: Path, *, clock: Clock | None = None, extra: Mapping[str, object] | None = None, migrate_first: bool = False
) -> Iterator[Application]:
    """A deployment's application. Raises `database.behind` or `database.ahead` when schema and code do not fit."""
    calm_collector()
    settings = load_settings(folder)
    file = str(folder / "imis.toml")
    composition = Composition(settings, file, extra)
    addresses = _addresses(settings)
    try:
        if migrate_first:
            _migrate(addresses, composition)
        database = Database(addresses.app, revive=addresses.revive)
        app = Application(
            settings,
            database,
            clock or SystemClock(settings.deployment.timezone),
            load_key(folder),
            file=file,
            extra=extra,
            var=folder.resolve() / "var",
            seals_key=load_key(folder, "seals", SEALS_KEY_BYTES),
        )
        try:
            check_schema(app)
            yield app
        finally:
            database.dispose()
    finally:
        addresses.release()


def check_schema(app: Application) -> None:
    """Refuse a database whose tables are older or newer than the code."""
    roles = app.database.roles
    with app.database.engine.connect() as connection:
        connection.execute(sa.text("SELECT set_config('role', :role, false)"), {"role": roles.read})
        behind = [s for s in states(connection, app.plugins.manifests) if not s.fits]
        connection.execute(sa.text("RESET ROLE"))
    ahead = [s for s in behind if not s.is_known]
    if ahead:
        listed = ", ".join(f"{s.plugin} {s.current}" for s in ahead)
        message = f"the database is newer than this version, which does not know {listed}; install the newer version"
        raise refused("database.ahead", message)
    if behind:
        listed = ", ".join(f"{s.plugin} {s.current or 'none'} (newest {s.head})" for s in behind)
        raise refused("database.behind", f"the database does not fit this version: {listed}; run `imis migrate`")


@frozen
class Playground:
    """Throw-away databases for scenarios and tests; each set of plugins' tables has its migrated template."""

    databases: ThrowAway
    prefix: str
    _templates: dict[tuple[tuple[str, str | None], ...], str] = field(factory=dict, repr=False)

    @contextmanager
    def application(
        self, settings: Settings, clock: Clock, extra: Mapping[str, object] | None = None,
        *, kind: type[Application] = Application,
    ) -> Iterator[Application]:  # fmt: skip
        """An application on a fresh database of its own, dropped at the end."""
        name = f"{self.prefix}_{secrets.token_hex(6)}"
        try:
            with self.on(self.databases.addresses(name), settings, clock, extra, kind=kind) as app:
                self.databases.clone(self.template(app), name)  # an application connects when it is first used
                yield app
        finally:
            self.databases.drop(name)

    @contextmanager
    def on(
        self, addresses: Addresses, settings: Settings, clock: Clock, extra: Mapping[str, object] | None = None,
        *, kind: type[Application] = Application,
    ) -> Iterator[Application]:  # fmt: skip
        """An application on one of the playground's databases."""
        calm_collector()
        database = Database(addresses.app, pool_size=5)
        try:
            yield kind(settings, database, clock, secrets.token_bytes(KEY_BYTES), extra=extra)
        finally:
            database.dispose()

    def template(self, composition: Composition) -> str:
        """The migrated template with the tables of its plugins, made when it is first asked for."""
        manifests = composition.plugins.manifests
        histories = tuple(sorted((m.name, m.migrations) for m in manifests.values() if m.migrations is not None))
        if histories not in self._templates:
            name = f"{self.prefix}_template_{len(self._templates)}"
            addresses = self.databases.template(name)
            migrate(addresses.owner, Roles.of(name), manifests)
            database = Database(addresses.app, pool_size=1)
            first_user(database)
            database.dispose()
            self._templates[histories] = name
        return self._templates[histories]

    def close(self) -> None:
        """Drop the templates and their roles."""
        for name in self._templates.values():
            self.databases.drop(name)
            self.databases.drop_roles(name)
        self.databases.close()


def throw_away_folder() -> Path:
    """Where servers live that nothing outlives: in memory if there is room, else with the other temporary files.

    A database is cloned there in a fortieth of the time that a disk takes. TMPDIR wins.
    """
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_FREE:
        return MEMORY
    return Path(tempfile.gettempdir())


@contextmanager
def playground(server_url: str | None = None) -> Iterator[Playground]:
    """A playground on a temporary embedded server, or on the server of `server_url`."""
    prefix = f"imis_{secrets.token_hex(4)}"
    if server_url is not None and server_url != EMBEDDED:
        ground = Playground(ThrowAway(server_url, prefix), prefix)
        try:
            yield ground
        finally:
            ground.close()
        return
    folder = Path(tempfile.mkdtemp(prefix="imis-", dir=throw_away_folder()))
    folder.chmod(0o755)  # as root the server runs under another account, which must reach its data
    try:
        lease = embedded.acquire(folder / "postgres", settings=THROW_AWAY_SETTINGS)
        try:
            with closing(ThrowAway(lease.url(), prefix)) as databases:
                yield Playground(databases, prefix)
        finally:
            lease.release()
            embedded.remove(folder / "postgres")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
