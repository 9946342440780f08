"""Staged imports of persons: a file's rows are checked and kept, and loaded when a second person approves them.

The operator's own load, without a second person, is the room `imports`. Source: contract-kernel.md, registry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import insert

from imis_core.beneficiaries.persons import assign, write_persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import array_literal, insert_rows
from imis_core.database.engine import lost_race
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.parsing import plain
from imis_core.registry.import_rows import RowChecks, RowError, StagedRow
from imis_core.registry.tables import registry_import_rows, registry_imports
from imis_core.states import StateTable

STATES: Final = StateTable(
    "registry",
    {
        "awaiting_approval": ("loaded", "partly_loaded", "failed", "rejected"),
        "loaded": (),
        "partly_loaded": (),
        "failed": (),
        "rejected": (),
    },
)
FILE_MAX: Final = 300  # characters of a file's name


@frozen(kw_only=True)
class ImportPersons:
    """`rows`: the fields of persons as text, in the order of the file."""

    kind: Literal["persons"]
    file: str
    rows: tuple[dict[str, Any], ...]


@frozen(kw_only=True)
class ImportError_:
    """`row` counts from 1; `code`: required, format, choice or not_unique."""

    row: int
    field: str
    code: str
    message: str


@frozen(kw_only=True)
class Imported:
    """`invalid_share`: the percentage of invalid rows, rounded half up to two decimals; `repeated`: these rows were
    sent before, and this is that import."""

    id: str
    state: str
    total: int
    valid: int
    invalid: int
    invalid_share: str
    errors: tuple[ImportError_, ...]
    repeated: bool


@command("registry.import", input=ImportPersons, result=Imported)
def stage(context: Context, items: tuple[ImportPersons, ...]) -> list[Imported | Refusal]:
    """Check the rows of a file and keep them until a second person approves; nothing is registered yet."""
    return [_stage(context, item) for item in items]


def _stage(context: Context, item: ImportPersons) -> Imported | Refusal:
    problems = []
    if not item.rows:
        problems.append(Problem("rows", "required", "the file has no rows"))
    if not 0 < len(item.file) <= FILE_MAX or not item.file.isprintable():
        problems.append(Problem("file", "format", f"a file's name is 1 to {FILE_MAX} printable characters"))
    if problems:
        return invalid(*problems)
    if not context.caller.everywhere and not context.caller.places:
        return Refusal("permission.denied", "you see no place, so you can register nobody; ask for a place")
    digest = _content_hash(context, item)
    earlier = _earlier(context, digest)
    if earlier is not None:
        return imported(context, earlier, repeated=True)
    checked = RowChecks(context, item.rows).check()
    row = _keep(context, item, digest, checked)
    return imported(context, row)


def _content_hash(context: Context, item: ImportPersons) -> bytes:
    """The same rows under the same kind; callers who see different places have imports of their own."""
    scope = None if context.caller.everywhere else sorted(context.caller.places)
    content = msgspec.json.encode([item.kind, plain(item.rows), scope], order="sorted")
    return hashlib.sha256(content).digest()


def _earlier(context: Context, digest: bytes) -> sa.Row[Any] | None:
    i = registry_imports
    return context.execute(sa.select(i).where(i.c.content_hash == digest, context.scoped(i))).first()


def _keep(context: Context, item: ImportPersons, digest: bytes, checked: Sequence[StagedRow]) -> sa.Row[Any]:
    errors = sum(not row.valid for row in checked)
    number = context.execute(
        insert(registry_imports)
        .values(
            kind=item.kind,
            file=item.file,
            content_hash=digest,
            state="awaiting_approval",
            total=len(checked),
            invalid=errors,
            maker=context.caller.user,
            requested_at=context.now,
            places=_places(context, checked),
        )
        .on_conflict_do_nothing()
        .returning(registry_imports.c.id)
    ).scalar()
    if number is None:
        raise lost_race("an import of the same rows")
    insert_rows(
        context.connection,
        registry_import_rows,
        {
            "import": [number] * len(checked),
            "row": list(range(1, len(checked) + 1)),
            "data": [msgspec.json.encode(plain(data)).decode() for data in item.rows],
            "errors": [_errors_json(row.errors) for row in checked],
        },
    )
    return context.execute(sa.select(registry_imports).where(registry_imports.c.id == number)).one()


def _places(context: Context, checked: Sequence[StagedRow]) -> list[int]:
    """Who may see the import: who sees all these places. Empty: who sees everything."""
    if context.caller.everywhere and any(row.place is None for row in checked):
        return []
    return sorted({row.place for row in checked if row.place is not None}) or list(context.caller.places[:1])


def _errors_json(errors: Sequence[RowError]) -> str:
    return msgspec.json.encode([{"field": e.field, "code": e.code, "message": e.message} for e in errors]).decode()


def share(invalid_rows: int, total: int) -> str:
    """100 x invalid / total, rounded half up to two decimals, as text: (1, 3) -> '33.33'."""
    hundredths = (2 * 10_000 * invalid_rows + total) // (2 * total)
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def imported(context: Context, row: sa.Row[Any], *, repeated: bool = False) -> Imported:
    """An import as it is shown, with all errors by row."""
    r = registry_import_rows.c
    wrong = context.execute(
        sa.select(r.row, r.errors)
        .where(r["import"] == row.id, r.errors != sa.literal([], registry_import_rows.c.errors.type))
        .order_by(r.row)
    )
    errors = tuple(ImportError_(row=found.row, **error) for found in wrong for error in found.errors)
    return Imported(
        id=context.ids.encode("registry_imports", row.id), state=row.state, total=row.total,
        valid=row.total - row.invalid, invalid=row.invalid, invalid_share=share(row.invalid, row.total),
        errors=errors, repeated=repeated,
    )  # fmt: skip


# --- approval


@frozen(kw_only=True)
class ApproveImport:
    import_: str


@frozen(kw_only=True)
class RejectImport:
    import_: str
    reason: str | None = None


@frozen(kw_only=True)
class ImportDecided:
    """`loaded` rows became persons; `skipped` ones did not: they were invalid, or became so since."""

    id: str
    state: str
    loaded: int
    skipped: int


def _locked_import(context: Context, name: str) -> sa.Row[Any] | None:
    number = context.ids.decode("registry_imports", name)
    i = registry_imports
    if number is None:
        return None
    return context.execute(sa.select(i).where(i.c.id == number, context.scoped(i)).with_for_update()).first()


@command("registry.approve_import", input=ApproveImport, result=ImportDecided, approval=True)
def approve(context: Context, items: tuple[ApproveImport, ...]) -> list[ImportDecided | Refusal]:
    """Load the valid rows of somebody else's import; rows that became invalid since are skipped."""
    return [_approve(context, item) for item in items]


def _approve(context: Context, item: ApproveImport) -> ImportDecided | Refusal:
    row = _locked_import(context, item.import_)
    if row is None:
        return not_found("import", "import", item.import_)
    if not STATES.allows(row.state, "loaded"):
        return STATES.refusal("the import", row.state, "loaded")
    if row.maker == context.caller.user:
        return Refusal("registry.same_person", "whoever sent the import does not approve it; ask somebody else")
    r = registry_import_rows.c
    stored = context.execute(
        sa.select(r.row, r.data)
        .where(r["import"] == row.id, r.errors == sa.literal([], registry_import_rows.c.errors.type))
        .order_by(r.row)
    ).all()
    checks = RowChecks(context, [found.data for found in stored])
    checked = checks.check()
    people = [staged.person for staged in checked if staged.person is not None]
    exhausted = assign(context, checks.rule, people)
    if exhausted is not None:
        return exhausted
    write_persons(context, people)
    _note_rows(context, row.id, [found.row for found in stored], checked)
    loaded, skipped = len(people), row.total - len(people)
    state = "failed" if not loaded else "partly_loaded" if skipped else "loaded"
    _decide(context, row.id, state=state, loaded=loaded, invalid=skipped)
    return ImportDecided(id=item.import_, state=state, loaded=loaded, skipped=skipped)


def _decide(context: Context, number: int, **values: Any) -> None:
    i = registry_imports
    context.execute(sa.update(i).where(i.c.id == number).values(approver=context.caller.user, **values))


def _note_rows(context: Context, number: int, rows: Sequence[int], checked: Sequence[StagedRow]) -> None:
    """Which person a row became, or what is wrong with it by now; one statement."""
    if not rows:
        return
    context.execute(
        sa.text(
            "UPDATE core.registry_import_rows r SET person = n.person, errors = CAST(n.errors AS jsonb) "
            "FROM unnest(CAST(:rows AS integer[]), CAST(:persons AS bigint[]), CAST(:errors AS text[])) "
            'AS n(row, person, errors) WHERE r."import" = :import AND r."row" = n.row'
        ),
        {
            "import": number,
            "rows": array_literal(list(rows)),
            "persons": array_literal([None if s.person is None else s.person.id for s in checked]),
            "errors": array_literal([_errors_json(s.errors) for s in checked]),
        },
    )


@command("registry.reject_import", input=RejectImport, result=ImportDecided, approval=True)
def reject(context: Context, items: tuple[RejectImport, ...]) -> list[ImportDecided | Refusal]:
    """Refuse an import: none of its rows is loaded, and they can be seen with their errors."""
    outcomes: list[ImportDecided | Refusal] = []
    for item in items:
        row = _locked_import(context, item.import_)
        if row is None:
            outcomes.append(not_found("import", "import", item.import_))
        elif not STATES.allows(row.state, "rejected"):
            outcomes.append(STATES.refusal("the import", row.state, "rejected"))
        else:
            _decide(context, row.id, state="rejected", loaded=0, reason=item.reason)
            outcomes.append(ImportDecided(id=item.import_, state="rejected", loaded=0, skipped=row.total))
    return outcomes


COMMANDS = (stage, approve, reject)
