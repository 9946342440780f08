"""Loading one file: its entities through their command, in chunks of one transaction each; every row has an outcome.

An entity's digest is kept with it in the same transaction: the same content again is `unchanged`, and a file that was
interrupted goes on where it stopped. What is refused is listed with its reasons in a file that can be corrected and
imported again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import define, field

from imis_core.application import Application
from imis_core.audit import request_digest
from imis_core.commands import perform
from imis_core.context import Context
from imis_core.database.bulk import insert_rows
from imis_core.database.engine import retried
from imis_core.errors import ImisError, Problem, Refusal, invalid, refused, suggestion
from imis_core.events import write_events
from imis_core.files import RowProblem, TableFile
from imis_core.imports.columns import mapped_columns, told_as_refusals
from imis_core.imports.entities import Entities
from imis_core.imports.error_files import check_target, error_file_of, lines_error_file_of, write_errors
from imis_core.imports.kinds import KINDS, Entity, ImportKind
from imis_core.imports.lines import Lines, read_lines
from imis_core.imports.tables import imported_rows
from imis_core.parsing import InvalidInput, parse
from imis_core.security.caller import Caller, denied

Progress = Callable[[int, int], None]


@define
class ImportReport:
    """What became of a file's rows: `loaded` + `unchanged` + `refused` = `rows`. `reasons` counts codes of refusals.

    `lines_refused` are rows of the file of lines that belong to no claim or cannot be read; their claims have outcomes
    of their own. `outcomes` counts accepted claims by status or rejection.
    """

    kind: str
    path: Path
    rows: int = 0
    loaded: int = 0
    unchanged: int = 0
    refused: int = 0
    entities: int = 0
    lines_refused: int = 0
    reasons: dict[str, int] = field(factory=dict)
    outcomes: dict[str, int] = field(factory=dict)
    error_files: list[Path] = field(factory=list)


def import_file(
    app: Application, kind_name: str, path: Path, caller: Caller,
    *, lines: Path | None = None, mapping: Path | None = None, lines_mapping: Path | None = None,
    errors: Path | None = None, progress: Progress | None = None,
) -> ImportReport:  # fmt: skip
    """Load a file of a kind. Raises `ImisError` when it cannot be read as a whole; then nothing is loaded.

    `lines` is the second file of claims; `errors` is where refused rows go (default: beside the file, `.errors.csv`).
    """
    target = errors or error_file_of(path)
    check_target(target, (path, lines, mapping, lines_mapping))
    loader = _opened(app, kind_name, path, caller, lines, mapping, lines_mapping)
    with told_as_refusals():
        return loader.run(target, progress)


def pending_rows(app: Application, kind_name: str, path: Path, caller: Caller) -> int:
    """How many rows of a file are not loaded as they stand, without loading them."""
    loader = _opened(app, kind_name, path, caller, None, None, None)
    with told_as_refusals():
        return loader.pending()


def _opened(
    app: Application, kind_name: str, path: Path, caller: Caller,
    lines: Path | None, mapping: Path | None, lines_mapping: Path | None,
) -> _Loader:  # fmt: skip
    kind = KINDS.get(kind_name)
    if kind is None:
        known = ", ".join(KINDS)
        raise refused(
            "import.unknown_kind", f"there is no kind {kind_name!r} (known: {known}){suggestion(kind_name, KINDS)}"
        )
    _check_command(app, kind.command, caller)
    if kind.lines and lines is None:
        raise ImisError(invalid(Problem("lines", "required", "claims come with a second file of lines: --lines FILE")))
    if not kind.lines and lines is not None:
        raise ImisError(invalid(Problem("lines", "unknown", f"{kind.name} have no second file of lines; leave it out")))
    with told_as_refusals():
        table, columns = mapped_columns(path, mapping, kind.fields, kind.aliases)
        line_rows = None if lines is None else read_lines(lines, lines_mapping)
    for name, (command, _) in kind.follows.items():
        filled = name in (columns.columns or {}) or name in columns.constants
        if filled:
            _check_command(app, command, caller)
    entities = Entities(app, kind, table, columns, line_rows, caller)
    return _Loader(app, kind, entities, caller, ImportReport(kind.name, path), table, line_rows)


def _check_command(app: Application, name: str, caller: Caller) -> None:
    """Whether the caller may load by this command. One that waits for a second person cannot answer for rows now."""
    permission = app.commands[name].permission
    if not caller.may(permission):
        raise ImisError(denied(permission))
    if name in app.settings.approvals:
        raise refused(
            "import.needs_approval",
            f"{name} waits for a second person here, which a file cannot; send the rows with `imis run {name}`",
        )


_Outcomes = list[tuple[Entity, Any]]  # with each a result, a refusal, or None for what was there before


@define
class _Loader:
    _app: Application
    _kind: ImportKind
    _entities: Entities
    _caller: Caller
    _report: ImportReport
    _table: TableFile
    _lines: Lines | None
    _refused: dict[int, tuple[RowProblem, ...]] = field(factory=dict)
    _problems: dict[tuple[str, str | None, str], RowProblem] = field(factory=dict)  # each text is kept once

    def run(self, errors: Path, progress: Progress | None) -> ImportReport:
        report = self._report
        done = 0
        for entities in self._entities.batches():
            self._count(retried(partial(self._load, entities)))
            done += sum(len(e.rows) for e in entities)
            if progress is not None:
                progress(done, self._table.row_count)
        unreadable = self._table.problems
        report.rows += len(unreadable)
        report.refused += len(unreadable)
        self._add_reasons(Counter(problem.code for problem in unreadable))
        if self._refused or unreadable:
            write_errors(errors, self._table, self._refused)
            report.error_files.append(errors)
        if self._lines is not None:
            self._list_lines(self._lines, lines_error_file_of(errors))
        return report

    def pending(self) -> int:
        """Rows whose content is not what was loaded last."""
        count = len(self._table.problems)
        for entities in self._entities.batches():
            with self._app.database.query(self._app.system) as connection:
                known = self._known(connection, entities)
            count += sum(len(e.rows) for e in entities if known.get(e.key) != e.digest)
        return count

    # --- entities into the database

    def _load(self, entities: Sequence[Entity]) -> _Outcomes:
        """One transaction; what it came to is counted when it is committed."""
        with self._app.database.command(self._caller) as (connection, audit):
            return self._transact(connection, audit, entities)

    def _transact(self, connection: sa.Connection, audit: int, entities: Sequence[Entity]) -> _Outcomes:
        """What was loaded before is left alone, the rest goes through the command."""
        # Two imports of the same file wait for each other, so that the second finds what the first has loaded.
        connection.execute(_ONE_AT_A_TIME, {"kind": self._kind.name})
        known = self._known(connection, entities)
        done: _Outcomes = []
        fresh: dict[bytes, Entity] = {}
        twins: list[Entity] = []
        for entity in entities:
            if entity.refusal is not None:
                done.append((entity, entity.refusal))
            elif known.get(entity.key) == entity.digest:
                done.append((entity, None))
            elif entity.digest in fresh:
                twins.append(entity)
            else:
                fresh[entity.digest] = entity
        outcomes = self._perform(connection, audit, list(fresh.values()))
        by_digest = dict(zip(fresh, outcomes, strict=True))
        done += zip(fresh.values(), outcomes, strict=True)
        for twin in twins:
            first = by_digest[twin.digest]
            done.append((twin, first if isinstance(first, Refusal) else None))
        accepted = [e for e, outcome in zip(fresh.values(), outcomes, strict=True) if not isinstance(outcome, Refusal)]
        insert_rows(
            connection,
            imported_rows,
            {
                "kind": [self._kind.name] * len(accepted),
                "key": [entity.key for entity in accepted],
                "audit": [audit] * len(accepted),
                "digest": [entity.digest for entity in accepted],
            },
        )
        return done

    def _known(self, connection: sa.Connection, entities: Sequence[Entity]) -> dict[bytes, bytes]:
        """The digest under which each key was loaded last."""
        rows = connection.execute(_LOADED, {"kind": self._kind.name, "keys": [e.key for e in entities]})
        return {bytes(row.key): bytes(row.digest) for row in rows}

    def _perform(self, connection: sa.Connection, audit: int, entities: Sequence[Entity]) -> list[Any]:
        """Outcomes of the command and of those that follow it: what a following one refuses is refused as a whole.

        A refusal that comes after the row was taken undoes the chunk, which is then done again without those rows.
        """
        refusals: dict[int, Refusal] = {}
        definition = self._app.commands[self._kind.command]
        app = self._app
        while True:
            chosen = [position for position in range(len(entities)) if position not in refusals]
            if not chosen:
                return [refusals[position] for position in range(len(entities))]
            context = Context(app, connection, self._caller, app.clock.now(), app.clock.today(), audit, definition.name)
            data = [entities[position].data for position in chosen]
            with connection.begin_nested() as savepoint:
                answers = perform(context, definition, data, request_digest(definition.name, data))
                outcomes = dict(zip(chosen, answers, strict=True)) | refusals
                late = self._follow(context, entities, outcomes)
                if late:
                    savepoint.rollback()
            if not late:
                return [outcomes[position] for position in range(len(entities))]
            refusals |= late

    def _follow(self, context: Context, entities: Sequence[Entity], outcomes: Mapping[int, Any]) -> dict[int, Refusal]:
        """Commands that come after an accepted row, in one batch each (a person's death); the refusals by position."""
        late: dict[int, Refusal] = {}
        for name, (command, its_field) in self._kind.follows.items():
            definition = self._app.commands[command]
            inputs: dict[int, Any] = {}
            for position, entity in enumerate(entities):
                cell, outcome = dict(entity.follows).get(name), outcomes[position]
                if cell is None or isinstance(outcome, Refusal):
                    continue
                try:
                    inputs[position] = parse({"number": outcome["number"], its_field: cell}, definition.input)
                except InvalidInput as error:
                    late[position] = _renamed(invalid(*error.problems), its_field, name)
            answers = definition.handler(context, tuple(inputs.values())) if inputs else []
            for position, answer in zip(inputs, answers, strict=True):
                if isinstance(answer, Refusal):
                    late[position] = _renamed(answer, its_field, name)
        write_events(context)
        return late

    # --- outcomes into the report

    def _count(self, done: _Outcomes) -> None:
        report = self._report
        for entity, outcome in done:
            rows = len(entity.rows)
            report.rows += rows
            report.entities += 1
            if outcome is None:
                report.unchanged += rows
            elif isinstance(outcome, Refusal):
                report.refused += rows
                problems = self._problems_of(entity, outcome)
                self._add_reasons({problems[0].code: rows})
                self._refused.update(dict.fromkeys(entity.rows, problems))
            else:
                report.loaded += rows - entity.repeated
                report.unchanged += entity.repeated
                if "status" in outcome:
                    shown = outcome.get("rejection") or outcome["status"]
                    report.outcomes[shown] = report.outcomes.get(shown, 0) + 1

    def _add_reasons(self, reasons: Mapping[str, int]) -> None:
        for code, count in reasons.items():
            self._report.reasons[code] = self._report.reasons.get(code, 0) + count

    def _problems_of(self, entity: Entity, refusal: Refusal) -> tuple[RowProblem, ...]:
        """A refusal in words for the error file; the code of a bare problem is the refusal's."""
        if not refusal.problems:
            return (self._problem(refusal.code, None, refusal.message),)
        invalid_input = refusal.code == "input.invalid"
        return tuple(
            self._problem(
                f"{refusal.code}.{p.reason}" if invalid_input else refusal.code,
                p.path or None,
                f"{_row_of(entity, p.path)}{p.message}",
            )
            for p in refusal.problems
        )

    def _problem(self, code: str, name: str | None, message: str) -> RowProblem:
        return self._problems.setdefault((code, name, message), RowProblem(0, name, code, message))

    def _list_lines(self, lines: Lines, target: Path) -> None:
        with self._app.database.query(self._app.system) as connection:
            orphans = lines.orphans(connection)
        self._report.lines_refused = len(orphans) + len(lines.table.problems)
        if self._report.lines_refused:
            write_errors(target, lines.table, {row: (problem,) for row, problem in orphans.items()})
            self._report.error_files.append(target)


def _row_of(entity: Entity, path: str) -> str:
    """Which row a problem of a part is about, where several rows make the entity: `members.2.sex`, `lines.0.item`."""
    part, _, rest = path.partition(".")
    position = rest.partition(".")[0]
    if part not in ("members", "lines") or not position.isdecimal() or int(position) >= len(entity.part_rows):
        return ""
    return f"row {entity.part_rows[int(position)]}{' of the file of lines' if part == 'lines' else ''}: "


def _renamed(refusal: Refusal, inner: str, outer: str) -> Refusal:
    """A refusal of a following command, with the field's name as the file has it."""
    problems = tuple(Problem(outer if p.path == inner else p.path, p.reason, p.message) for p in refusal.problems)
    return Refusal(refusal.code, f"{outer}: {refusal.message}", problems, refusal.details)


_ONE_AT_A_TIME = sa.text("SELECT pg_advisory_xact_lock(hashtext('imis import ' || :kind))")
_LOADED = sa.text(
    "SELECT DISTINCT ON (key) key, digest FROM core.imported_rows WHERE kind = :kind AND key = ANY(:keys) "
    "ORDER BY key, audit DESC"
)
