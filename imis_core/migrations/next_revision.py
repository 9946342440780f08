"""Writes the revision that brings a history from its newest revision to its tables, for developers: `... PLUGIN NAME`.

It makes a database from the revisions that are there, compares it with the table definitions, and writes the difference
with the triggers, policies and functions that come with the tables. What Alembic cannot see (a policy whose condition
changed, moved data) is the developer's to add: read the file before committing it.
"""

from __future__ import annotations

import ast
import shutil
import sys
import tempfile
import warnings
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command as alembic_command
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import ops
from alembic.script import ScriptDirectory

from imis_core.database import embedded
from imis_core.database.ddl import after_create
from imis_core.database.engine import driver_url
from imis_core.database.server import ThrowAway
from imis_core.migrations.generate import HEADER, render_item
from imis_core.migrations.runner import config_of, tables_of
from imis_core.plugins import KERNEL, Manifest, installed


def difference(connection: sa.Connection, manifest: Manifest) -> ops.UpgradeOps:
    """What a migrated schema lacks of its tables, with the statements that complete new and widened tables."""
    assert manifest.tables is not None
    tables = {table.name: table for table in tables_of(manifest)}
    context = MigrationContext.configure(
        connection,
        opts={
            "include_schemas": True,
            "include_name": lambda name, kind, parents: _ours(name, kind, parents, manifest.name),
            "compare_type": True,
            "version_table_schema": manifest.name,
        },
    )
    with warnings.catch_warnings():
        # SQLAlchemy does not know PostgreSQL's type xid8; the columns that have it are compared by name alone.
        warnings.filterwarnings("ignore", "Did not recognize type 'xid8'", sa.exc.SAWarning)
        found = produce_migrations(context, import_module(manifest.tables).metadata).upgrade_ops
    assert found is not None
    steps: list[Any] = list(found.ops)
    for step in list(steps):
        if isinstance(step, ops.CreateTableOp):
            step.info = {}  # what the framework keeps there is for after_create, not for a revision
            steps += [ops.ExecuteSQLOp(sql) for sql in after_create(tables[step.table_name])]
        elif isinstance(step, ops.ModifyTableOps) and step.table_name in tables:
            # The history's columns stand in the trigger: a widened noun gets it anew.
            steps += [
                ops.ExecuteSQLOp(sql.replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER", 1))
                for sql in after_create(tables[step.table_name])
                if sql.startswith("CREATE TRIGGER history_")
            ]
    return ops.UpgradeOps(steps)


def _ours(name: str | None, kind: str, parents: Any, schema: str) -> bool:
    if kind == "schema":
        return name == schema
    return not (kind == "table" and name == "alembic_version")


def new_functions(manifest: Manifest) -> list[str]:
    """SQL functions of the tables' module that no revision makes as they stand now."""
    assert manifest.tables is not None
    assert manifest.migrations is not None
    made = {
        node.value.strip().replace("CREATE OR REPLACE FUNCTION", "CREATE FUNCTION")
        for path in Path(str(files(manifest.migrations))).glob("0*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    wanted = import_module(manifest.tables).metadata.info.get("functions", ())
    return [sql.strip() for sql in wanted if sql.strip() not in made]


def next_revision(manifest: Manifest, name: str) -> Path:
    """Write the next revision into the manifest's folder of migrations; its path."""
    assert manifest.migrations is not None
    folder = Path(tempfile.mkdtemp(prefix="imis-revision-"))
    folder.chmod(0o755)
    lease = embedded.acquire(folder / "postgres")
    try:
        address = ThrowAway(lease.url(), "revision").template("revision")
        engine = sa.create_engine(driver_url(address.owner), poolclass=sa.NullPool)
        with engine.connect() as connection:
            for one in (manifest,) if manifest.name == KERNEL else (_kernel(), manifest):
                connection.execute(sa.text(f'CREATE SCHEMA IF NOT EXISTS "{one.name}"'))
                connection.commit()
                config = config_of(one, connection)
                alembic_command.upgrade(config, "head")
                connection.commit()
            steps = difference(connection, manifest)
            head = ScriptDirectory.from_config(config).get_current_head()
        engine.dispose()
    finally:
        lease.release()
        embedded.remove(folder / "postgres")
        shutil.rmtree(folder)
    changed = [
        ops.ExecuteSQLOp(s.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")) for s in new_functions(manifest)
    ]
    # Functions first: a policy of a new table may call one.
    creates = [s for s in steps.ops if not isinstance(s, ops.ExecuteSQLOp)]
    completes = [s for s in steps.ops if isinstance(s, ops.ExecuteSQLOp)]
    assert head is not None
    number = f"{int(head.rpartition('_')[2]) + 1:04d}"
    body = render_python_code(
        ops.UpgradeOps([*creates, *changed, *completes]), sqlalchemy_module_prefix="sa.", render_item=render_item,
        migration_context=MigrationContext.configure(dialect_name="postgresql"),
    )  # fmt: skip
    title = f"{name.replace('_', ' ').capitalize()}."
    text = HEADER.format(title=title, revision=f"{manifest.name}_{number}").replace(
        "down_revision = None", f'down_revision = "{head}"'
    )
    path = Path(str(files(manifest.migrations))) / f"{number}_{name}.py"
    path.write_text(f"{text}\n\ndef upgrade() -> None:\n    {body.strip()}\n", "utf-8")
    return path


def _kernel() -> Manifest:
    """The kernel's own manifest: the rooms stand above this module, so it is asked for by name like a plugin's."""
    manifest: Manifest = import_module("imis_core.rooms").imis_plugin()
    return manifest


def main() -> None:
    """Write the next revision of the plugin named on the command line (`core`: the kernel)."""
    plugin, name = sys.argv[1:]
    if plugin == KERNEL:
        manifest = _kernel()
    else:
        manifest = installed()[plugin].load().imis_plugin()
    print(next_revision(manifest, name))


if __name__ == "__main__":
    main()
