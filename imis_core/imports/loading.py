"""Loading one file: rows become inputs of a command, in chunks of one transaction each; every row has an outcome.

A row's digest is kept with it in the same transaction: the same row again is `unchanged`, and a file that was
interrupted goes on where it stopped. What is refused is listed with its reasons in a file that can be corrected and
imported again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, evolve, field, frozen

from imis_core.application import Application
from imis_core.commands import perform, request_digest
from imis_core.context import Context
from imis_core.database.bulk import insert_rows
from imis_core.errors import ImisError, Problem, Refusal, invalid, refused, suggestion
from imis_core.files import (
    Chunk,
    ColumnMap,
    ErrorFile,
    FileProblem,
    MappedChunk,
    MappingProblem,
    RowProblem,
    TableFile,
    load_mapping,
    read_table,
)
from imis_core.imports.kinds import KINDS, LINE_ALIASES, LINE_FIELDS, Entity, ImportKind, Row, reader
from imis_core.imports.paths import PlacePaths
from imis_core.imports.tables import imported_rows
from imis_core.parsing import parse
from imis_core.security.caller import Caller, denied

CHUNK: Final = 5_000  # entities in one transaction
Progress = Callable[[int, int], None]


@define
class ImportReport:
    """What became of a file's rows: `loaded` + `unchanged` + `refused` = `rows`. `reasons` counts codes of refusals."""

    kind: str
    path: Path
    rows: int = 0
    loaded: int = 0
    unchanged: int = 0
    refused: int = 0
    entities: int = 0
    reasons: dict[str, int] = field(factory=dict)
    outcomes: dict[str, int] = field(factory=dict)  # of accepted claims: status or rejection
    error_files: list[Path] = field(factory=list)


@frozen
class _Refused:
    """An entity that was not loaded, and why, in words for the error file."""

    entity: Entity
    problems: tuple[RowProblem, ...]


def import_file(
    app: Application, kind_name: str, path: Path, caller: Caller,
    *, lines: Path | None = None, mapping: Path | None = None, lines_mapping: Path | None = None,
    errors: Path | None = None, progress: Progress | None = None,
) -> ImportReport:  # fmt: skip
    """Load a file of a kind. Raises `ImisError` when nothing of it can be read; then nothing is loaded.

    `lines` is the second file of claims; `errors` is where refused rows go (default: beside the file, `.errors.csv`).
    """
    kind = KINDS.get(kind_name)
    if kind is None:
        known = ", ".join(KINDS)
        raise refused("import.unknown_kind", f"there is no kind {kind_name!r} (known: {known}){suggestion(kind_name, KINDS)}")
    if not caller.may(app.commands[kind.command].permission):
        raise ImisError(denied(app.commands[kind.command].permission))
    if kind.lines and lines is None:
        raise ImisError(invalid(Problem("lines", "required", "claims come with a second file of lines: --lines FILE")))
    try:
        column_map = load_mapping(mapping) if mapping is not None else ColumnMap()
        table = read_table(path)
        columns = _with_aliases(column_map, table.columns, kind.aliases)
        # A file in its own words may carry columns that are nobody's field; a mapping must name fields that exist.
        columns.check(table.columns, None if mapping is None else kind.fields)
        line_rows = None if lines is None else _read_lines(lines, lines_mapping)
    except FileProblem as problem:
        raise refused(problem.code, str(problem)) from None
    except MappingProblem as problem:
        raise refused(problem.code, str(problem)) from None
    loader = _Loader(app, kind, table, columns, caller, line_rows, progress)
    return loader.run(errors or path.with_name(f"{path.name.split('.')[0]}.errors.csv"))


def _with_aliases(columns: ColumnMap, names: Sequence[str], aliases: Mapping[str, str]) -> ColumnMap:
    """Without a mapping, the other names that a field goes by are columns of it."""
    if columns.columns is not None:
        return columns
    own = {name.strip().casefold(): name for name in names}
    taken = {alias: f for alias, f in aliases.items() if alias in own and f not in own}
    elsewhere = {*columns.path, *columns.attributes.values()}
    named = {taken.get(low, low): name for low, name in own.items() if name not in elsewhere}
    return evolve(columns, columns={k: v for k, v in named.items() if k not in columns.constants})


@define
class _Lines:
    """The lines of claims by claim, in memory, with the rows they stand in."""

    table: TableFile
    by_claim: dict[str, list[tuple[int, Row]]]
    used: set[str] = field(factory=set)


def _read_lines(path: Path, mapping: Path | None) -> _Lines:
    table = read_table(path)
    given = ColumnMap() if mapping is None else load_mapping(mapping)
    columns = _with_aliases(given, table.columns, LINE_ALIASES)
    columns.check(table.columns, None if mapping is None else LINE_FIELDS)
    by_claim: dict[str, list[tuple[int, Row]]] = {}
    for chunk in table.chunks(CHUNK):
        mapped_chunk = columns.apply(chunk)
        for number, row in zip(mapped_chunk.row_numbers, _rows(mapped_chunk, LINE_FIELDS), strict=True):
            by_claim.setdefault(row.get("claim") or "", []).append((number, row))
    return _Lines(table, by_claim)


def _rows(chunk: MappedChunk, fields: Iterable[str]) -> Iterator[Row]:
    names = [name for name in fields if name in chunk.fields]
    columns = [chunk.fields[name] for name in names]
    for cells in zip(*columns, strict=True) if columns else ((),) * len(chunk):
        yield {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}


class _Loader:
    def __init__(
        self, app: Application, kind: ImportKind, table: TableFile, columns: ColumnMap, caller: Caller,
        lines: _Lines | None, progress: Progress | None,
    ) -> None:  # fmt: skip
        self._app, self._kind, self._table, self._columns = app, kind, table, columns
        self._caller, self._lines, self._progress = caller, lines, progress
        self._command = app.commands[kind.command]
        self._read = reader(self._command.input)
        self._paths = PlacePaths(app, columns.path)
        self._report = ImportReport(kind.name, table.path, rows=0)

    def run(self, errors: Path) -> ImportReport:
        report = self._report
        refused_entities: list[_Refused] = []
        done = 0
        for entities in self._batches():
            refused_entities += self._load(entities)
            done += sum(len(e.rows) for e in entities)
            if self._progress is not None:
                self._progress(done, self._table.row_count)
        report.rows += len(self._table.problems)
        report.refused += len(self._table.problems)
        for problem in self._table.problems:
            report.reasons[problem.code] = report.reasons.get(problem.code, 0) + 1
        self._list(refused_entities, errors)
        if self._lines is not None:
            self._list_lines(errors)
        return report

    # --- rows into entities

    def _batches(self) -> Iterator[list[Entity]]:
        if self._kind.key is None:
            for chunk in self._table.chunks(CHUNK):
                yield [self._entity((number,), (row,)) for number, row in self._chunk_rows(chunk)]
            return
        # Rows of one entity may stand anywhere in the file, so the file is gathered before it is grouped.
        grouped: dict[Any, tuple[list[int], list[Row]]] = {}
        for chunk in self._table.chunks(CHUNK):
            for number, row in self._chunk_rows(chunk):
                numbers, rows = grouped.setdefault(self._key(number, row), ([], []))
                numbers.append(number)
                rows.append(row)
        entities: list[Entity] = []
        rows_held = 0
        for numbers, rows in grouped.values():
            entities.append(self._entity(tuple(numbers), rows))
            rows_held += len(rows)
            if rows_held >= CHUNK:
                yield entities
                entities, rows_held = [], 0
        if entities:
            yield entities

    def _key(self, number: int, row: Row) -> Any:
        """Rows belong together by their key; a price list's also by its date. A row without a key stands alone."""
        assert self._kind.key is not None
        key = row.get(self._kind.key)
        return ("", number) if key is None else (key, row.get("valid_from"))

    def _chunk_rows(self, chunk: Chunk) -> Iterator[tuple[int, Row]]:
        kind = self._kind
        mapped = self._columns.apply(chunk)
        places = self._paths.codes(mapped.path) if mapped.path is not None and kind.place else None
        for position, row in enumerate(_rows(mapped, kind.fields)):
            attributes = {name: row.pop(name) for name in kind.attributes if name in row}
            attributes.update(mapped.attributes[position])
            if attributes:
                row["attributes"] = attributes
            if mapped.identifiers[position]:
                row["identifiers"] = [{"system": s, "value": v} for s, v in mapped.identifiers[position].items()]
            if places is not None and places[position] is not None and kind.place is not None:
                row[kind.place] = places[position]
            yield mapped.row_numbers[position], row

    def _entity(self, numbers: tuple[int, ...], rows: Sequence[Row]) -> Entity:
        after: tuple[tuple[str, Row], ...] = ()
        content = repr(rows)
        if self._kind.name == "persons" and rows[0].get("death_date") is not None:
            rows = [dict(rows[0])]
            after = (("beneficiaries.record_death", {"on": rows[0].pop("death_date")}),)
        data = self._kind.build(rows)
        if self._lines is not None:
            of_claim = self._lines.by_claim.get(str(data.get("code")), [])
            self._lines.used.add(str(data.get("code")))
            data["lines"] = [{k: v for k, v in line.items() if k not in ("claim", "line")} for _, line in of_claim]
            content += repr([line for _, line in of_claim])
        if "members" in data:
            data["members"] = [self._read_member(member) for member in data["members"]]
        digest = hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=16).digest()
        return Entity(numbers, self._read(data), after, digest)

    @staticmethod
    def _read_member(member: Row) -> Row:
        return {k: v for k, v in member.items() if v is not None}

    # --- entities into the database

    def _load(self, entities: Sequence[Entity]) -> list[_Refused]:
        """One transaction: what was loaded before is left alone, the rest goes through the command."""
        app, report = self._app, self._report
        refused_entities: list[_Refused] = []
        with app.database.command(self._caller) as (connection, audit):
            context = Context(
                app, connection, self._caller, app.clock.now(), app.clock.today(), audit, self._command.name
            )
            known = self._known(context, entities)
            fresh: list[Entity] = []
            for entity in entities:
                report.rows += len(entity.rows)
                report.entities += 1
                if entity.digest in known:
                    report.unchanged += len(entity.rows)
                else:
                    fresh.append(entity)
            if not fresh:
                return []
            data = [entity.data for entity in fresh]
            outcomes = perform(context, self._command, data, request_digest(self._command.name, data))
            accepted = []
            for entity, outcome in zip(fresh, outcomes, strict=True):
                if isinstance(outcome, Refusal):
                    refused_entities.append(_Refused(entity, _problems(entity, outcome)))
                else:
                    accepted.append((entity, outcome))
            self._follow(context, accepted)
            digests = list(dict.fromkeys(entity.digest for entity, _ in accepted))
            insert_rows(
                connection,
                imported_rows,
                {
                    "kind": [self._kind.name] * len(digests),
                    "digest": digests,
                    "audit": [audit] * len(digests),
                },
            )
        for entity, outcome in accepted:
            report.loaded += len(entity.rows)
            if "status" in outcome:
                shown = outcome["rejection"] or outcome["status"]
                report.outcomes[shown] = report.outcomes.get(shown, 0) + 1
        for one in refused_entities:
            report.refused += len(one.entity.rows)
            code = one.problems[0].code
            report.reasons[code] = report.reasons.get(code, 0) + len(one.entity.rows)
        return refused_entities

    def _known(self, context: Context, entities: Sequence[Entity]) -> set[bytes]:
        rows = context.execute(
            sa.text("SELECT digest FROM core.imported_rows WHERE kind = :kind AND digest = ANY(:digests)"),
            {"kind": self._kind.name, "digests": [e.digest for e in entities]},
        )
        return {bytes(row.digest) for row in rows}

    def _follow(self, context: Context, accepted: Sequence[tuple[Entity, Any]]) -> None:
        """Commands that come after an accepted row, in one batch each: a person's death."""
        by_command: dict[str, list[Row]] = {}
        for entity, outcome in accepted:
            for name, data in entity.after:
                by_command.setdefault(name, []).append({"number": outcome["number"], **data})
        for name, data in by_command.items():
            definition = self._app.commands[name]
            answers = definition.handler(context, tuple(parse(one, definition.input) for one in data))
            for one, answer in zip(data, answers, strict=True):
                if isinstance(answer, Refusal):
                    raise ImisError(evolve(answer, message=f"{answer.message} ({name} of {one['number']})"))

    # --- the error files

    def _list(self, refused_entities: Sequence[_Refused], path: Path) -> None:
        if not refused_entities and not self._table.problems:
            return
        problems: dict[int, tuple[RowProblem, ...]] = {}
        for one in refused_entities:
            for row in one.entity.rows:
                problems[row] = one.problems
        with ErrorFile(path, self._table.columns) as file:
            for chunk in self._table.chunks(CHUNK):
                for position, number in enumerate(chunk.row_numbers):
                    if number in problems:
                        cells = [chunk.columns[name][position] for name in self._table.columns]
                        file.write(number, cells, problems[number])
            for problem in self._table.problems:
                file.write_problem(problem)
        self._report.error_files.append(path)

    def _list_lines(self, errors: Path) -> None:
        """Lines that belong to no claim of the file, and rows of the file of lines that cannot be read."""
        assert self._lines is not None
        lines = self._lines
        orphans = {
            number: claim for claim, rows in lines.by_claim.items() if claim not in lines.used for number, _ in rows
        }
        if not orphans and not lines.table.problems:
            return
        path = errors.with_name(f"{errors.name.removesuffix('.csv')}.lines.csv")
        with ErrorFile(path, lines.table.columns) as file:
            for chunk in lines.table.chunks(CHUNK):
                for position, number in enumerate(chunk.row_numbers):
                    if number in orphans:
                        cells = [chunk.columns[name][position] for name in lines.table.columns]
                        message = f"there is no claim {orphans[number]!r} in the file of claims"
                        file.write(number, cells, [RowProblem(number, "claim", "import.no_claim", message, ())])
            for problem in lines.table.problems:
                file.write_problem(problem)
        self._report.error_files.append(path)
        self._report.reasons["import.no_claim"] = len(orphans)


def _problems(entity: Entity, refusal: Refusal) -> tuple[RowProblem, ...]:
    """A refusal as problems of the entity's first row; the code of a bare problem is the refusal's."""
    row = entity.rows[0]
    if not refusal.problems:
        return (RowProblem(row, None, refusal.code, refusal.message, ()),)
    code = refusal.code
    return tuple(
        RowProblem(row, p.path or None, f"{code}.{p.reason}" if code == "input.invalid" else code, p.message, ())
        for p in refusal.problems
    )
