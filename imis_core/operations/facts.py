"""What a deployment's database holds, read as its owner: schemas, revisions, counts, grants, the latest seal.

Only facts that a backup keeps and a restore compares; it changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from imis_core.audit_seals import last_seals
from imis_core.database.engine import Roles
from imis_core.errors import refused
from imis_core.runtime_tables import audit_seals

_OWNER: Final = sa.text("SELECT nspowner::regrole::name FROM pg_namespace WHERE nspname = 'core'")
_SCHEMAS: Final = sa.text(
    "SELECT nspname FROM pg_namespace WHERE pg_get_userbyid(nspowner) = :owner AND nspname <> 'public' ORDER BY nspname"
)
_TABLES: Final = sa.text(
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = ANY(:schemas) AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1, 2"
)
# What the application's roles (and everybody) may do: schemas, tables, sequences, functions, single columns.
_GRANTS: Final = sa.text(
    """
    WITH named AS (
        SELECT 'SCHEMA' AS kind, quote_ident(n.nspname) AS name, n.nspacl AS acl, '' AS col
        FROM pg_namespace n WHERE n.nspname = ANY(:schemas)
        UNION ALL
        SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, format('%I.%I', n.nspname, c.relname),
               c.relacl, ''
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY(:schemas) AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL
        SELECT 'TABLE', format('%I.%I', n.nspname, c.relname), a.attacl, quote_ident(a.attname)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY(:schemas) AND a.attacl IS NOT NULL AND NOT a.attisdropped
        UNION ALL
        SELECT 'ROUTINE', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
               p.proacl, ''
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY(:schemas)
    )
    SELECT kind, name, col, CASE grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(grantee) END AS grantee,
           array_agg(privilege_type ORDER BY privilege_type) AS privileges
    FROM named, aclexplode(acl) AS a(grantor, grantee, privilege_type, is_grantable)
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    """
)


def roles_in(connection: sa.Connection) -> Roles:
    """The roles of the connected database. Raises `database.not_migrated`."""
    owner = connection.execute(_OWNER).scalar()
    if owner is None or not owner.endswith("_owner"):
        raise refused("database.not_migrated", "the database has no tables yet; run `imis migrate` first")
    return Roles.of(owner.removesuffix("_owner"))


def application_roles(owner: str) -> tuple[str, str]:
    """The roles of the application beside their owner."""
    roles = Roles.of(owner.removesuffix("_owner"))
    return roles.app, roles.read


def schemas_of(connection: sa.Connection, owner: str) -> list[str]:
    """The application's schemas: whatever its owner owns, plugins that are switched off or archived among them."""
    return list(connection.execute(_SCHEMAS, {"owner": owner}).scalars())


def revisions_of(connection: sa.Connection, schemas: list[str]) -> dict[str, str]:
    """The revision that each schema with a history is at."""
    found = {}
    for schema in schemas:
        has = connection.execute(sa.text("SELECT to_regclass(:t) IS NOT NULL"), {"t": f'"{schema}".alembic_version'})
        if has.scalar_one():
            revision = connection.execute(sa.text(f'SELECT version_num FROM "{schema}".alembic_version')).scalar()
            found[schema] = str(revision)
    return found


def counts_of(connection: sa.Connection, schemas: list[str]) -> dict[str, int]:
    """Rows of every table, in one statement."""
    tables = [(row.nspname, row.relname) for row in connection.execute(_TABLES, {"schemas": schemas})]
    if not tables:
        return {}
    parts = [f'SELECT {_literal(f"{s}.{t}")} AS name, count(*) AS rows FROM "{s}"."{t}"' for s, t in tables]
    rows = connection.exec_driver_sql(" UNION ALL ".join(parts))
    return {row.name: int(row.rows) for row in rows}


def grants_of(connection: sa.Connection, schemas: list[str], roles: Roles) -> list[dict[str, Any]]:
    """The application's grants, with roles by what they are for: they have other names in another database."""
    known = {roles.owner: "owner", roles.app: "app", roles.read: "read", "public": "public"}
    return [
        {"on": f"{row.kind} {row.name}", "column": row.col, "to": known[row.grantee], "may": list(row.privileges)}
        for row in connection.execute(_GRANTS, {"schemas": schemas})
        if row.grantee in known
    ]


def grant_statements(grants: list[Mapping[str, Any]], roles: Roles) -> list[str]:
    """The statements that give the same grants to the roles of another database."""
    names = {"app": f'"{roles.app}"', "read": f'"{roles.read}"', "public": "PUBLIC"}
    routines = dict.fromkeys(g["on"] for g in grants if g["on"].startswith("ROUTINE "))
    statements = [f"REVOKE ALL ON {on} FROM PUBLIC" for on in routines]  # a function is everybody's by default
    for grant in grants:
        if grant["to"] in names:
            column = f" ({grant['column']})" if grant["column"] else ""
            privileges = ", ".join(f"{privilege}{column}" for privilege in grant["may"])
            statements.append(f"GRANT {privileges} ON {grant['on']} TO {names[grant['to']]}")
    return statements


def seals_of(connection: sa.Connection) -> list[str]:
    """The newest seal of each log, as `imis audit verify --seals` reads them; none in tables of before the seals."""
    there = connection.execute(sa.text("SELECT to_regclass(:t) IS NOT NULL"), {"t": audit_seals.fullname}).scalar_one()
    return last_seals(connection) if there else []


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
