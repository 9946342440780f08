"""The trail of an entity: who changed what when, from its dated history and the audit entries of the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.database.tables import metadata
from imis_core.errors import Refusal, not_found
from imis_core.migrations.runner import tables_of
from imis_core.parsing import plain
from imis_core.queries import query
from imis_core.runtime_tables import audit_entries
from imis_core.security.tables import users

# Mass nouns have insert-only states instead of a history: table of states, its key, and the noun's own table.
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "claims": ("claim_states", "claim"),
    "orders": ("order_states", "order"),
}
UNMASK: Final = "beneficiaries.unmask"
MASK: Final = "***"
_HIDDEN: Final = frozenset({"audit", "version", "id", "password", "request"})


@frozen(kw_only=True)
class TrailInput:
    entity: str


@frozen(kw_only=True)
class TrailEntry:
    """`changes`: field -> [before, after] of an edited noun; field -> value of a new state."""

    at: datetime
    actor: str
    approver: str | None
    command: str
    changes: dict[str, object]


@query("audit.trail", input=TrailInput, result=TrailEntry)
def trail(context: Context, asked: TrailInput) -> list[TrailEntry] | Refusal:
    """Who changed an entity, when, by which command, and what."""
    entity = context.ids.decode_any(asked.entity)
    table = None if entity is None else _table_of(context, entity[0])
    if entity is None or table is None or not _visible(context, table, entity[1]):
        return not_found("entity", "entity", asked.entity)
    noun, number = entity
    if noun in _STATES:
        name, key = _STATES[noun]
        source = metadata.tables[f"core.{name}"]
        rows = (
            context.execute(sa.select(source).where(source.c[key] == number).order_by(source.c.version))
            .mappings()
            .all()
        )
        changes = [
            {k: _named(source.c[k], v) for k, v in row.items() if k not in (*_HIDDEN, key) and v is not None}
            for row in rows
        ]
    elif "history" in table.info:
        history = table.info["history"]
        rows = (
            context.execute(sa.select(history).where(history.c.id == number).order_by(history.c.version))
            .mappings()
            .all()
        )
        changes = [_difference(before, after) for before, after in zip([None, *rows], rows, strict=False)]
    else:
        rows = context.execute(sa.select(table).where(table.c.id == number)).mappings().all()
        changes = [{}]
    changes = [_shown(context, table, change) for change in changes]
    entries = _entries(context, [row["audit"] for row in rows])
    return [
        TrailEntry(at=e.at, actor=e.actor, approver=e.approver, command=e.command, changes=plain_changes(change))
        for row, change in zip(rows, changes, strict=True)
        if (e := entries.get(row["audit"])) is not None
    ]


def plain_changes(changes: Mapping[str, Any]) -> dict[str, object]:
    """Changes as JSON-like data; ranges and other rich values as text."""
    shown = {}
    for name, value in changes.items():
        try:
            shown[name] = plain(value)
        except TypeError:
            shown[name] = str(value)
    return shown


def _table_of(context: Context, noun: str) -> sa.Table | None:
    """The table of a noun of the kernel or of a plugin, if it says who changed its rows."""
    for manifest in context.app.plugins.manifests.values():
        for table in tables_of(manifest):
            if table.info.get("noun") == noun:
                return table if "history" in table.info or "audit" in table.c or noun in _STATES else None
    return None


def _named(column: sa.Column[Any], value: Any) -> Any:
    """The name of a state that its table keeps as a number (`info={"names": {number: name}}`)."""
    return column.info.get("names", {}).get(value, value)


def _shown(context: Context, table: sa.Table, change: Mapping[str, Any]) -> dict[str, Any]:
    """References as outside ids, and attributes masked for whoever may not see them."""
    return {name: _outside(context, table, name, value) for name, value in change.items()}


def _outside(context: Context, table: sa.Table, name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_outside(context, table, name, part) for part in value]
    if isinstance(value, int) and name in table.c:
        for key in table.c[name].foreign_keys:
            noun = key.column.table.info.get("noun")
            if noun is not None:
                return context.ids.encode(noun, value)
    if isinstance(value, Mapping) and name == "attributes" and not context.caller.may(UNMASK):
        declared = context.settings.deployment.attributes or {}
        return {k: MASK if k in declared and declared[k].masked else v for k, v in value.items()}
    return value


def _visible(context: Context, table: sa.Table, number: int) -> bool:
    statement = sa.select(sa.literal(1)).select_from(table).where(table.c.id == number, context.scoped(table))
    return context.execute(statement).first() is not None


def _difference(before: sa.RowMapping | None, after: sa.RowMapping) -> dict[str, Any]:
    if before is None:
        return {k: [None, v] for k, v in after.items() if k not in _HIDDEN and v is not None}
    return {k: [before[k], v] for k, v in after.items() if k not in _HIDDEN and before[k] != v}


def _entries(context: Context, numbers: Sequence[int]) -> dict[int, Any]:
    actor, approver = users.alias("actor_user"), users.alias("approver_user")
    rows = context.execute(
        sa.select(
            audit_entries.c.id,
            audit_entries.c.at,
            audit_entries.c.command,
            sa.func.coalesce(actor.c.name, "system").label("actor"),
            approver.c.name.label("approver"),
        )
        .outerjoin(actor, actor.c.id == audit_entries.c.actor)
        .outerjoin(approver, approver.c.id == audit_entries.c.approver)
        .where(audit_entries.c.id == sa.any_(sa.literal(sorted({n for n in numbers if n}), sa.ARRAY(sa.BigInteger))))
    )
    return {row.id: row for row in rows}


QUERIES = (trail,)
