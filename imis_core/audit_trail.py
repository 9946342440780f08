"""The trail of an entity: who changed what when, from its dated history and the audit entries of the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.tables import metadata
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.migrations.runner import tables_of
from imis_core.parsing import plain
from imis_core.queries import query
from imis_core.runtime_tables import audit_entries
from imis_core.security.tables import users

# Mass nouns have insert-only states instead of a history: table of states, its key, and the noun's own table.
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "claims": ("claim_states", "claim"),
    "orders": ("order_states", "order"),
    "entitlements": ("entitlement_states", "entitlement"),
}
NATURAL_KEYS: Final = ("code", "number", "name", "receipt")
UNMASK: Final = "beneficiaries.unmask"
MASK: Final = "***"
_HIDDEN: Final = frozenset({"audit", "version", "id", "password", "request"})


@frozen(kw_only=True)
class TrailInput:
    entity: str


@frozen(kw_only=True)
class TrailEntry:
    """`changes`: field -> [before, after] of an edited noun; field -> value of a new state.

    The changes of a group's members stand in `members`: number -> field -> [before, after].
    """

    at: datetime
    actor: str
    approver: str | None
    command: str
    changes: dict[str, object]


@query("audit.trail", input=TrailInput, result=TrailEntry, listing=True)
def trail(context: Context, asked: TrailInput) -> list[TrailEntry] | Refusal:
    """Who changed an entity, when, by which command, and what. It is named by its id, or by its code or number."""
    found = _found(context, asked.entity)
    if isinstance(found, Refusal):
        return found
    if found[0].fullname == "core.persons":
        context.tells_of([found[1]])
    told = _history(context, *found)
    context.tells_of(names=(name for _, change in told for name in change.get("members", ())))
    entries = _entries(context, [audit for audit, _ in told])
    return [
        TrailEntry(at=e.at, actor=e.actor, approver=e.approver, command=e.command, changes=_plain(change))
        for audit, change in told
        if (e := entries.get(audit)) is not None
    ]


def _history(context: Context, table: sa.Table, number: int) -> list[tuple[int, dict[str, Any]]]:
    """The audit entry and the changes of each version of an entity, its parts among them, as they came."""
    noun = table.info["noun"]
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
    told = [(row["audit"] or 0, _shown(context, table, change)) for row, change in zip(rows, changes, strict=True)]
    for part in _trailed(context).values():
        whole = part.info.get("part_of")
        if whole is not None and part.c[whole["column"]].references(table.c.id):
            told = _with_part(told, whole["as"], _part_changes(context, part, whole, number))
    return told


def _with_part(
    told: list[tuple[int, dict[str, Any]]], name: str, parts: Sequence[tuple[int, str, dict[str, Any]]]
) -> list[tuple[int, dict[str, Any]]]:
    """Versions of an entity with the changes of its parts: those of one command stand in one entry."""
    by_audit = dict(told)
    merged = list(told)
    for audit, of, change in parts:
        if audit not in by_audit:
            by_audit[audit] = {}
            merged.append((audit, by_audit[audit]))
        by_audit[audit].setdefault(name, {}).setdefault(of, {}).update(change)
    return sorted(merged, key=lambda entry: entry[0])


def _part_changes(
    context: Context, part: sa.Table, whole: Mapping[str, str], number: int
) -> list[tuple[int, str, dict[str, Any]]]:
    """Of each version of an entity's parts: the audit entry, how the part is called, and what changed."""
    history, by = part.info["history"], part.c[whole["by"]]
    (called,) = (key.column.table for key in by.foreign_keys)
    name = next(called.c[key] for key in NATURAL_KEYS if key in called.c)
    rows = context.execute(
        sa.select(history, name.label("called"))
        .join(part, part.c.id == history.c.id)
        .join(called, called.c.id == history.c[by.name])
        .where(part.c[whole["column"]] == number, context.scoped(part), context.scoped(called))
        .order_by(history.c.audit, history.c.id, history.c.version)
    ).mappings()
    before: dict[int, sa.RowMapping] = {}
    found = []
    for row in rows:
        earlier = before.get(row["id"])
        change = _difference(earlier, row)
        before[row["id"]] = row
        # Whom a new part is about stands before its changes already.
        for column in ("called",) if earlier is not None else ("called", whole["column"], by.name):
            change.pop(column, None)
        if change:
            found.append((row["audit"] or 0, row["called"], _shown(context, part, change)))
    return found


def _plain(changes: Mapping[str, Any]) -> dict[str, object]:
    """Changes as JSON-like data; ranges and other rich values as text."""
    shown = {}
    for name, value in changes.items():
        try:
            shown[name] = plain(value)
        except TypeError:
            shown[name] = str(value)
    return shown


def _found(context: Context, name: str) -> tuple[sa.Table, int] | Refusal:
    """The entity that is named by its outside id, or by the code or number of just one that the caller may see."""
    tables = _trailed(context)
    entity = context.ids.decode_any(name)
    if entity is not None:
        table = tables.get(entity[0])
        if table is not None and _visible(context, table, entity[1]):
            return table, entity[1]
        return not_found("entity", "entity", name)
    named = [(table, key) for table in tables.values() for key in _keys(table)]
    rows = context.execute(
        sa.union_all(
            *(
                sa.select(sa.literal(table.info["noun"]).label("noun"), table.c.id)
                .where(table.c[key] == name, context.scoped(table))
                .limit(2)
                for table, key in named
            )
        )
    ).all()
    if not rows:
        return not_found("entity", "entity", name)
    if len(rows) > 1:
        nouns = ", ".join(sorted({row.noun for row in rows}))
        return invalid(Problem("entity", "ambiguous", f"{name!r} names several ({nouns}); name one by its id"))
    return tables[rows[0].noun], rows[0].id


def _trailed(context: Context) -> dict[str, sa.Table]:
    """The tables of nouns of the kernel and of plugins that say who changed their rows, by noun."""
    return {
        noun: table
        for manifest in context.app.plugins.manifests.values()
        for table in tables_of(manifest)
        if (noun := table.info.get("noun")) is not None
        and ("history" in table.info or "audit" in table.c or noun in _STATES)
    }


def _keys(table: sa.Table) -> list[str]:
    """The columns by which people name a noun: those that are unique, by themselves or within a scheme."""
    unique = [{column.name for column in c.columns} for c in table.constraints if isinstance(c, sa.UniqueConstraint)]
    return [key for key in NATURAL_KEYS if {key} in unique or {"scheme", key} in unique]


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
        .where(audit_entries.c.id == any_of(n for n in numbers if n))
    )
    return {row.id: row for row in rows}


QUERIES = (trail,)
