"""SQL functions that answer what a scope hides: whether codes are taken, and how many members a group really has.

Beside `core.find_persons` the documented exceptions to scope. They run with their owner's rights, so they answer the
least that is needed. The first migration creates them.
"""

from __future__ import annotations

from typing import Final

FUNCTIONS: Final = """
CREATE FUNCTION core.taken_group_codes(codes text[]) RETURNS SETOF text LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog AS $$ SELECT code FROM core.groups WHERE code = ANY (codes) $$;
CREATE FUNCTION core.group_sizes(wanted bigint[]) RETURNS TABLE (id bigint, members bigint) LANGUAGE sql STABLE
SECURITY DEFINER SET search_path = pg_catalog AS
$$ SELECT "group", count(*) FROM core.memberships WHERE "group" = ANY (wanted) AND left_on IS NULL GROUP BY "group" $$;
"""
