"""What can be asked of staged imports: one import, and its rows as a file to correct."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import attrs
import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.masks import MASK, masked_names, masked_systems
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.queries import Listing, query
from imis_core.registry.import_rows import ATTRIBUTE, FIELDS
from imis_core.registry.imports import Imported, imported
from imis_core.registry.tables import registry_import_rows, registry_imports
from imis_core.security.tables import users


@frozen(kw_only=True)
class ShowImport:
    import_: str


@frozen(kw_only=True)
class ImportShown(Imported):
    """`by` sent it, `approver` decided on it; `loaded` and `skipped` are known after the decision."""

    kind: str
    file: str
    by: str
    at: datetime
    approver: str | None
    reason: str | None
    loaded: int | None
    skipped: int | None


def _found(context: Context, name: str) -> sa.Row[Any] | None:
    number = context.ids.decode("registry_imports", name)
    i = registry_imports
    if number is None:
        return None
    return context.execute(sa.select(i).where(i.c.id == number, context.scoped(i))).first()


@query("registry.show_import", input=ShowImport, result=ImportShown)
def show_import(context: Context, asked: ShowImport) -> ImportShown | Refusal:
    """A staged import with its state, its counts and the errors of its rows."""
    row = _found(context, asked.import_)
    if row is None:
        return not_found("import", "import", asked.import_)
    u = users.c
    rows = context.execute(sa.select(u.id, u.name).where(u.id.in_([row.maker, row.approver])))
    names = {user.id: user.name for user in rows}
    return ImportShown(
        **attrs.asdict(imported(context, row), recurse=False), kind=row.kind, file=row.file,
        by=names.get(row.maker, "system"), at=row.requested_at,
        approver=None if row.approver is None else names.get(row.approver, "system"), reason=row.reason,
        loaded=row.loaded, skipped=None if row.loaded is None else row.total - row.loaded,
    )  # fmt: skip


@frozen(kw_only=True)
class ListImportRows:
    """`valid` true: only rows that can be or were loaded; false: only those to correct; absent: all."""

    import_: str
    valid: bool | None = False


@frozen(kw_only=True)
class ImportRow:
    """A row as it came, in the columns of a file, with what is wrong: `birth_date: required; sex: choice`."""

    row: int
    number: str | None
    given_name: str | None
    family_name: str | None
    sex: str | None
    birth_date: str | None
    location: str | None
    identifiers: object
    identifier_system: str | None
    identifier_value: str | None
    attributes: dict[str, Any]
    errors: str


@query("registry.import_rows", input=ListImportRows, result=ImportRow, listing=True)
def import_rows(context: Context, asked: ListImportRows) -> Listing | Refusal:
    """The rows of a staged import that are to be corrected, with all their fields and what is wrong."""
    found = _found(context, asked.import_)
    if found is None:
        return not_found("import", "import", asked.import_)
    masked, systems = masked_names(context), masked_systems(context)
    r = registry_import_rows.c
    select = sa.select(r.row, r.data, r.errors).where(r["import"] == found.id)
    if asked.valid is not None:
        nothing = sa.literal([], r.errors.type)
        select = select.where((r.errors == nothing) if asked.valid else (r.errors != nothing))

    def build(rows: Sequence[Any]) -> list[ImportRow]:
        return [_shown(row, masked, systems) for row in rows]

    return Listing(select, (r.row,), build)


def _without(known: dict[str, Any], systems: Collection[str]) -> None:
    """Mask the identifiers of these systems, in each of the forms in which a file may have them."""
    cell = known.get("identifiers")
    if isinstance(cell, list):
        known["identifiers"] = [
            {**one, "value": MASK} if isinstance(one, dict) and one.get("system") in systems else one for one in cell
        ]
    elif cell is not None and any(system in str(cell) for system in systems):
        known["identifiers"] = MASK
    if known.get("identifier_system") in systems and known.get("identifier_value") is not None:
        known["identifier_value"] = MASK


def _shown(row: Any, masked: Collection[str], systems: Collection[str]) -> ImportRow:
    data = dict(row.data)
    known = {name: data.pop(name, None) for name in FIELDS}
    _without(known, systems)
    attributes = known.pop("attributes")
    others = {name.removeprefix(ATTRIBUTE): value for name, value in data.items()}
    shown = {**(attributes if isinstance(attributes, dict) else {}), **others}
    return ImportRow(
        row=row.row,
        **known,
        attributes={name: MASK if name in masked else value for name, value in shown.items()},
        errors="; ".join(f"{error['field']}: {error['code']}" for error in row.errors),
    )


QUERIES = (show_import, import_rows)
