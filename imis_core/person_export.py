"""A person's export: everything that the deployment holds about one person, and who read it.

It is made from the tables themselves: each column that refers to a person, in the kernel and in every plugin, then what
belongs to those rows. A new table with such a column is in the export without a word; tests see to it that no table
names a person in another way (`NAMED_OTHERWISE`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.attachments.tables import attachments
from imis_core.audit_reads import PersonRead, reads_of
from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.beneficiaries.masks import MASK, masked_attributes, masked_systems
from imis_core.beneficiaries.memberships import person_reference
from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.migrations.runner import tables_of
from imis_core.queries import query

# What a person belongs to: the household of a membership, the policy of one who is covered.
BELONGS_TO: Final = frozenset({"core.groups", "core.coverages"})
# Columns of persons that no foreign key tells of: the log of reads is its own part, files are found by their noun.
NAMED_OTHERWISE: Final = frozenset({"core.reads.persons", "core.attachments.about", "core.notifications.about"})
INTERNAL: Final = frozenset({"audit", "tx", "undo", "password", "request"})


@frozen(kw_only=True)
class ExportPerson:
    person: str | None = None
    number: str | None = None


@frozen(kw_only=True)
class PersonExport:
    """`tables`: of each table its rows about the person, columns by name; ids are those that all answers use.

    `history`: earlier versions of those rows, with when, by whom and by which command. `files`: what is attached.
    """

    number: str
    exported_at: datetime
    tables: Mapping[str, Sequence[Mapping[str, object]]]
    history: Mapping[str, Sequence[Mapping[str, object]]]
    files: tuple[str, ...]
    read_by: tuple[PersonRead, ...]


@query("beneficiaries.export_person", input=ExportPerson, result=PersonExport)
def export_person(context: Context, asked: ExportPerson) -> PersonExport | Refusal:
    """Everything that is held about one person, of all rooms and plugins, and who has read it. For who asks for it."""
    reference = person_reference(asked)
    if isinstance(reference, Refusal):
        return reference
    found = resolve_persons(context, [reference]).get(reference)
    if found is None:
        return not_found("number" if asked.person is None else "person", "person", reference)
    tables = {t.fullname: t for m in context.app.plugins.manifests.values() for t in tables_of(m)}
    rows = _rows(context, tables, found.id)
    about = [
        sa.and_(attachments.c.about_noun == noun, attachments.c.about == sa.any_(_array([row["id"] for row in part])))
        for name, part in rows.items()
        if (noun := tables[name].info.get("noun")) is not None
    ]
    files = context.execute(sa.select(attachments.c.id).where(sa.or_(*about)).order_by(attachments.c.id)).scalars()
    context.told.add(found.id)
    return PersonExport(
        number=found.number,
        exported_at=context.now,
        tables={name: [_shown(context, tables[name], row) for row in part] for name, part in sorted(rows.items())},
        history=_history(context, tables, rows),
        files=tuple(context.ids.encode_all("attachments", list(files))),
        read_by=reads_of(context, found.id),
    )


def _rows(context: Context, tables: Mapping[str, sa.Table], person: int) -> dict[str, list[dict[str, Any]]]:
    """The rows about a person by table: those that name the person, what they belong to, and what belongs to them."""
    found: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}

    def add(table: sa.Table, condition: sa.ColumnElement[bool]) -> None:
        rows = context.execute(sa.select(table).where(condition, context.scoped(table))).mappings()
        keys = [c.name for c in table.primary_key.columns]
        part = {tuple(row[k] for k in keys): dict(row) for row in rows}
        if part:
            found.setdefault(table.fullname, {}).update(part)

    add(persons, persons.c.id == person)
    live = [t for t in tables.values() if "history_of" not in t.info and t.fullname != persons.fullname]
    for table in live:
        columns = [c for c in table.columns if _names_person(c)]
        if columns:
            add(table, sa.or_(*[column == person for column in columns]))
    for table in live:
        if table.fullname in BELONGS_TO:
            named = [
                row[k.parent.name]
                for name, part in found.items()
                for k in tables[name].foreign_keys
                if k.column.table.fullname == table.fullname
                for row in part.values()
            ]
            add(table, table.c.id == sa.any_(_array(named)))
    # What belongs to those rows; tables stand in an order in which nothing comes before what it refers to.
    for table in live:
        conditions = [
            k.parent == sa.any_(_array([row["id"] for row in found[k.column.table.fullname].values()]))
            for k in table.foreign_keys
            if k.column.name == "id" and k.column.table.fullname in found
            and k.column.table.fullname not in {persons.fullname, "core.groups"}
            and table.fullname not in BELONGS_TO
        ]  # fmt: skip
        if conditions and not any(_names_person(c) for c in table.columns):
            add(table, sa.or_(*conditions))
    return {name: list(part.values()) for name, part in found.items()}


def _names_person(column: sa.Column[Any]) -> bool:
    """A reference to a person; of a table that is too hot for foreign keys, the column that is called so."""
    refers = any(key.column.table.fullname == persons.fullname for key in column.foreign_keys)
    return refers or (column.name == "person" and not column.foreign_keys)


def _array(numbers: Sequence[Any]) -> sa.ColumnElement[Any]:
    return sa.literal(sorted({n for n in numbers if n is not None}), ARRAY(sa.BigInteger))


_ENTRIES: Final = sa.text(
    "SELECT e.id, e.at, e.command, coalesce(u.name, 'system') AS actor FROM core.audit_entries e "
    "LEFT JOIN core.users u ON u.id = e.actor WHERE e.id = ANY(CAST(:ids AS bigint[]))"
)


def _history(
    context: Context, tables: Mapping[str, sa.Table], rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[dict[str, object]]]:
    versions: list[tuple[sa.Table, dict[str, Any]]] = []
    for name, part in sorted(rows.items()):
        history = tables[name].info.get("history")
        if history is not None:
            found = context.execute(
                sa.select(history)
                .where(history.c.id == sa.any_(_array([row["id"] for row in part])))
                .order_by(history.c.id, history.c.version)
            ).mappings()
            versions += [(tables[name], dict(row)) for row in found]
    ids = sorted({row["audit"] for _, row in versions if row["audit"]})
    entries = {e.id: e for e in context.execute(_ENTRIES, {"ids": ids})}
    shown: dict[str, list[dict[str, object]]] = {}
    for table, row in versions:
        entry = entries.get(row["audit"])
        by = {} if entry is None else {"at": entry.at, "by": entry.actor, "command": entry.command}
        shown.setdefault(table.fullname, []).append({**_shown(context, table, row), "changed": by})
    return shown


def _shown(context: Context, table: sa.Table, row: Mapping[str, Any]) -> dict[str, object]:
    """A row by the names of its columns: references as outside ids, masked values masked, nothing internal."""
    shown: dict[str, object] = {}
    for name, value in row.items():
        column = table.c.get(name)
        if name in INTERNAL or (column is not None and isinstance(column.type, sa.LargeBinary)):
            continue
        noun = table.info.get("noun") if name == "id" else None
        for key in column.foreign_keys if column is not None else ():
            noun = key.column.table.info.get("noun")
        if name == "id" and noun is None:
            continue
        if noun is not None and isinstance(value, int):
            shown[name] = context.ids.encode(noun, value)
        elif isinstance(value, Mapping):
            shown[name] = masked_attributes(context, value)
        else:
            shown[name] = MASK if _is_masked(context, table, row, name) else _plain(value)
    return shown


def _is_masked(context: Context, table: sa.Table, row: Mapping[str, Any], name: str) -> bool:
    return table.fullname == "core.identifiers" and name == "value" and row["system"] in masked_systems(context)


def _plain(value: Any) -> Any:
    """As JSON-like data; ranges as text."""
    return value if isinstance(value, (str, int, float, bool, Decimal, date, list, type(None))) else str(value)


QUERIES = (export_person,)
