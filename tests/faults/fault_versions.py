"""Migrations that are killed, and versions that do not fit the database."""

from __future__ import annotations

import hashlib
from typing import Any

from imis_core.database.engine import Roles
from imis_core.opening import Playground
from tests.faults.conftest import Folder, write_settings
from tests.faults.harness import Deployment, client, until

DEATHS = (1, 5, 20, 60, 120, 200, 300, 400, 450, 500, 600, 700)  # the statement at which the process is killed
_SHAPE = """
SELECT 'column', table_schema, table_name, column_name, data_type, is_nullable, coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
UNION ALL SELECT 'constraint', n.nspname, c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid), '', ''
FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname NOT LIKE 'pg_%'
UNION ALL SELECT 'trigger', '', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), '', '' FROM pg_trigger
WHERE NOT tgisinternal
UNION ALL SELECT 'policy', schemaname, tablename, policyname, coalesce(qual, ''), '', '' FROM pg_policies
UNION ALL SELECT 'index', schemaname, tablename, indexname, indexdef, '', '' FROM pg_indexes
WHERE schemaname NOT IN ('pg_catalog')
UNION ALL SELECT 'grant', table_schema, table_name, privilege_type, regexp_replace(grantee, '^.*_', ''), '', ''
FROM information_schema.role_table_grants WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
ORDER BY 1, 2, 3, 4, 5, 6, 7
"""


def shape(deployment: Deployment) -> dict[str, str]:
    """Digests of everything that migrations make, by kind."""
    rows: dict[str, Any] = {}
    for row in deployment.rows(_SHAPE):
        values = [str(v) for v in row.values()]
        rows.setdefault(values[0], hashlib.sha256()).update("\t".join(values).encode())
    return {kind: digest.hexdigest() for kind, digest in rows.items()}


def test_a_migration_killed_at_each_step_goes_on(playground: Playground, tmp_path: Any, deployment: Deployment) -> None:
    """Whatever was reached, the next one makes the same database as an undisturbed one, and none that is newer."""
    name = f"{playground.prefix}_killed"
    addresses = playground.databases.template(name)
    try:
        with Folder() as folder:
            write_settings(folder, addresses)
            admin = addresses.owner.replace(addresses.owner.partition("@")[0], _admin(playground).partition("@")[0])
            broken = Deployment(folder, admin, tmp_path)
            died = 0
            for statement in DEATHS:
                process = broken.start("migrate", die_at=statement)
                code = process.ended()
                assert code in (0, -9), process.log.read_text()
                died += code == -9
            assert died >= 6
            last = broken.start("migrate")
            assert last.ended() == 0, last.log.read_text()
            assert shape(broken) == shape(deployment)
            again = broken.start("migrate")
            assert again.ended() == 0
            with broken.application() as hands:
                assert hands.do("users.list")
            broken.execute("UPDATE core.alembic_version SET version_num = 'core_9999'")
            ahead = broken.start("migrate")
            assert ahead.ended() != 0
            assert "database.ahead" in ahead.log.read_text()
    finally:
        playground.databases.drop(name)
        roles = Roles.of(name)  # not the run's logins, which the other tests use
        deployment.execute(f"DROP ROLE {roles.owner}, {roles.app}, {roles.read}")


def _admin(playground: Playground) -> str:
    return playground.databases._admin.render_as_string(hide_password=False).replace("+psycopg", "")


def test_a_database_that_is_behind_or_ahead_is_refused(deployment: Deployment) -> None:
    """Nothing serves or works on it: one line with the way out; a process that runs already says it is not ready."""
    web, url = deployment.web({"imis_core.web.routes._CHECKED_SECONDS": 0.0})
    head = deployment.rows("SELECT version_num FROM core.alembic_version")[0]["version_num"]
    for version, code, way_out in (
        ("core_0001", "database.behind", "imis migrate"),
        ("core_9999", "database.ahead", "newer version"),
    ):
        deployment.execute(f"UPDATE core.alembic_version SET version_num = '{version}'")
        for command in (("serve", "--port", "0"), ("worker",), ("run", "users.list")):
            process = deployment.start(*command)
            assert process.ended() in (1, 2)
            told = process.log.read_text()
            assert code in told
            assert way_out in told
            assert "Traceback" not in told
        with client(url) as http:
            ready = http.get("/health/ready")
            assert (ready.status_code, ready.json()["code"]) == (503, code)
            assert http.get("/health/live").status_code == 200
    deployment.execute(f"UPDATE core.alembic_version SET version_num = '{head}'")
    with client(url) as http:
        until(lambda: http.get("/health/ready").status_code == 200, "a database that fits")
    web.kill()
