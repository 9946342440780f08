"""Writes a first revision from table definitions, for developers: `... generate SCHEMA MODULE FOLDER`.

The revision is a frozen text of its own: it does not look at the living definitions when it runs.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from alembic.autogenerate import render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy.dialects import postgresql

from imis_core.database.ddl import EXCEPTIONS, SCOPE_FUNCTIONS, after_create
from imis_core.plugins import KERNEL

HEADER = '''"""{title}"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "{revision}"
down_revision = None
'''


def first_revision(schema: str, tables: list[sa.Table]) -> str:
    """The text of revision 0001 that creates these tables with their triggers, policies and functions."""
    steps: list[ops.MigrateOperation] = []
    if schema == KERNEL:
        steps.append(ops.ExecuteSQLOp(SCOPE_FUNCTIONS.strip()))
        steps.append(ops.ExecuteSQLOp("CREATE SEQUENCE core.audit_ids"))
    for table in tables:
        create = ops.CreateTableOp.from_table(table)
        create.info = {}
        steps.append(create)
        steps += [ops.CreateIndexOp.from_index(index) for index in sorted(table.indexes, key=lambda i: str(i.name))]
    steps += [ops.ExecuteSQLOp(statement) for table in tables for statement in after_create(table)]
    functions = [*([EXCEPTIONS] if schema == KERNEL else []), *tables[0].metadata.info.get("functions", ())]
    steps += [ops.ExecuteSQLOp(sql.strip()) for sql in functions]
    if schema == KERNEL:
        steps.append(
            ops.ExecuteSQLOp(
                "CREATE TRIGGER balances AFTER INSERT ON core.ledger_postings REFERENCING NEW TABLE AS added "
                "FOR EACH STATEMENT EXECUTE FUNCTION core.check_entry_balances()"
            )
        )
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    context = MigrationContext.configure(dialect=dialect, opts={"target_metadata": tables[0].metadata})
    body = render_python_code(
        ops.UpgradeOps(steps), sqlalchemy_module_prefix="sa.", migration_context=context, render_item=render_item
    )
    title = f"The first tables of {schema}."
    return (
        HEADER.format(title=title, revision=f"{schema}_0001") + "\n\ndef upgrade() -> None:\n    " + body.strip() + "\n"
    )


def render_item(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    if kind == "type" and type(item).__name__ == "TransactionId":
        return "_Xid8()"
    return False


def main() -> None:
    """Write the revision of the module of tables named on the command line: SCHEMA MODULE FOLDER."""
    schema, module, folder = sys.argv[1:]
    metadata = importlib.import_module(module).metadata
    text = first_revision(schema, [t for t in metadata.sorted_tables if t.schema == schema])
    if "_Xid8()" in text:
        text = text.replace(
            f'revision = "{schema}_0001"',
            "\nclass _Xid8(sa.types.UserDefinedType[str]):\n    def get_col_spec(self, **_: object) -> str:\n"
            f'        return "xid8"\n\n\nrevision = "{schema}_0001"',
        )
    Path(folder, "0001_first_tables.py").write_text(text)


if __name__ == "__main__":
    main()
