"""SQL that table definitions cannot say: history, row security, grants, balance triggers. Used by migrations."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

SCOPE_FUNCTIONS: Final = """
CREATE FUNCTION core.scope_is_all() RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT current_setting('imis.scope', true) = 'all' $$;
CREATE FUNCTION core.scope_places() RETURNS bigint[] LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(nullif(current_setting('imis.places', true), ''), '{}')::bigint[] $$;
CREATE FUNCTION core.scope_providers() RETURNS bigint[] LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(nullif(current_setting('imis.providers', true), ''), '{}')::bigint[] $$;
CREATE FUNCTION core.scope_persons() RETURNS bigint[] LANGUAGE sql STABLE PARALLEL SAFE AS
$$ SELECT coalesce(nullif(current_setting('imis.persons', true), ''), '{}')::bigint[] $$;
CREATE FUNCTION core.write_history() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
BEGIN
    -- TG_ARGV[0] is the column list shared by noun and history; its author is this file, never a caller.
    EXECUTE format('INSERT INTO %I.%I (%s, audit) SELECT %s, $1 FROM changed',
                   TG_TABLE_SCHEMA, TG_TABLE_NAME || '_history', TG_ARGV[0], TG_ARGV[0])
    USING nullif(current_setting('imis.audit', true), '')::bigint;
    RETURN NULL;
END $$;
CREATE FUNCTION core.next_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    RETURN NEW;
END $$;
CREATE FUNCTION core.check_entry_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong bigint;
BEGIN
    SELECT entry INTO wrong FROM added GROUP BY entry HAVING sum(amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'ledger entry % does not balance', wrong USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
"""

# The documented exception to scope: a contracted provider finds any person by exact number (logged by the caller).
EXCEPTIONS: Final = """
CREATE FUNCTION core.find_persons(numbers text[]) RETURNS SETOF core.persons LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog AS $$ SELECT * FROM core.persons WHERE number = ANY (numbers) $$;
"""


def after_create(table: sa.Table) -> list[str]:
    """The statements that complete a table of its kind: history, row security. Run once, after CREATE TABLE."""
    name = table.fullname
    statements = []
    history = table.info.get("history")
    if history is not None:
        columns = ", ".join(f'"{c.name}"' for c in history.columns if c.name != "audit")
        for event in ("INSERT", "UPDATE"):
            statements.append(
                f"CREATE TRIGGER history_{event.lower()} AFTER {event} ON {name} REFERENCING NEW TABLE AS changed "
                f"FOR EACH STATEMENT EXECUTE FUNCTION core.write_history('{columns}')"
            )
        statements.append(
            f"CREATE TRIGGER next_version BEFORE UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION core.next_version()"
        )
    condition = table.info.get("row_security")
    if condition:
        statements.append(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY")
        statements.append(f"CREATE POLICY scope ON {name} USING ({condition}) WITH CHECK ({condition})")
    return statements


def grants(table: sa.Table, app: str, read: str) -> list[str]:
    """What the application's roles may do with a table: history, postings, audit and mass nouns are insert-only."""
    name = table.fullname
    statements = [f'GRANT SELECT ON {name} TO "{app}", "{read}"']
    if "history_of" in table.info:
        return statements  # written by the trigger alone
    if table.info.get("readers_add"):
        statements.append(f'GRANT INSERT ON {name} TO "{read}"')
    allowed = "INSERT" if table.info.get("insert_only") else "INSERT, UPDATE, DELETE"
    if "history" in table.info:
        allowed = "INSERT, UPDATE"  # nouns with a history end, they are not deleted
    return [*statements, f'GRANT {allowed} ON {name} TO "{app}"']
