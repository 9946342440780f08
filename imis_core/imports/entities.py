"""The rows of a file into inputs of a command: grouped where several rows make one entity, with the digests by which
the same content is known again. Asks nothing of the database but the places of paths."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from attrs import evolve

from imis_core.application import Application
from imis_core.errors import Problem, Refusal, invalid, refused
from imis_core.files import Chunk, ColumnMap, TableFile
from imis_core.imports.columns import CHUNK, rows_of
from imis_core.imports.kinds import Entity, ImportKind, Row, reader, true_or_false, whole_number
from imis_core.imports.lines import Lines
from imis_core.imports.paths import PlacePaths
from imis_core.security.caller import Caller

_Numbered = tuple[int, Row]  # a row with its number in the file
_PATH_REFUSED = "(path)"  # where a row carries the refusal of its place


class Entities:
    """Gives out the entities of a file in batches of about `CHUNK` rows, in the order of their first rows."""

    def __init__(
        self, app: Application, kind: ImportKind, table: TableFile, columns: ColumnMap, lines: Lines | None,
        caller: Caller,
    ) -> None:  # fmt: skip
        if columns.path and kind.place is None:
            raise refused("import.no_path", f"{columns.name}: path: {kind.name} lie in no place; delete it")
        self._kind, self._table, self._columns, self._lines = kind, table, columns, lines
        self._paths = PlacePaths(app, columns.path, caller)
        self._read = reader(app.commands[kind.command].input)
        self._attributes = _attribute_readers(app)
        self._named: dict[bytes, Entity] = {}  # of what a later row replaces: the first of this file to name it

    def batches(self) -> Iterator[list[Entity]]:
        """All entities. Raises FileProblem if the file changes while it is read."""
        if not self._kind.group_by:
            for chunk in self._table.chunks(CHUNK):
                yield [self._entity([numbered]) for numbered in self._chunk_rows(chunk)]
            return
        # Rows of one entity may stand anywhere in the file, so the file is gathered before it is given out.
        grouped: dict[Any, list[_Numbered]] = {}
        for chunk in self._table.chunks(CHUNK):
            for number, row in self._chunk_rows(chunk):
                grouped.setdefault(self._group(number, row), []).append((number, row))
        entities: list[Entity] = []
        rows_held = 0
        for rows in grouped.values():
            entities.append(self._entity(rows))
            rows_held += len(rows)
            if rows_held >= CHUNK:
                yield entities
                entities, rows_held = [], 0
        if entities:
            yield entities

    def _group(self, number: int, row: Row) -> Any:
        """Rows belong together that name the same; a row without a code stands alone."""
        code = row.get(self._kind.group_by[0])
        return number if code is None else tuple(row.get(name) for name in self._kind.group_by)

    def _chunk_rows(self, chunk: Chunk) -> Iterator[_Numbered]:
        kind = self._kind
        mapped = self._columns.apply(chunk)
        places = self._paths.codes(mapped.path) if mapped.path is not None else [None] * len(mapped)
        for position, row in enumerate(rows_of(mapped, kind.fields)):
            attributes = {name: row.pop(name) for name in kind.attributes if name in row}
            attributes.update(mapped.attributes[position])
            if attributes:
                row["attributes"] = {n: self._attributes.get(n, _as_it_is)(cell) for n, cell in attributes.items()}
            if mapped.identifiers[position]:
                row["identifiers"] = [{"system": s, "value": v} for s, v in mapped.identifiers[position].items()]
            place = places[position]
            if isinstance(place, Refusal):
                row[_PATH_REFUSED] = place
            elif place is not None and kind.place is not None:
                row[kind.place] = place
            yield mapped.row_numbers[position], row

    def _entity(self, numbered: Sequence[_Numbered]) -> Entity:
        kind = self._kind
        numbers = tuple(number for number, _ in numbered)
        refusal = next((row[_PATH_REFUSED] for _, row in numbered if _PATH_REFUSED in row), None)
        if refusal is not None:
            nothing = _digest([numbers])
            return Entity(numbers, {}, nothing, nothing, refusal=refusal)
        # The same row again says nothing new; the first of its kind stays.
        kept = list({_digest(row): (number, row) for number, row in reversed(numbered)}.values())[::-1]
        rows = [row for _, row in kept]
        refusal = self._disagreement(kept)
        content: list[Any] = [rows]
        follows = tuple((name, rows[0][name]) for name in kind.follows if name in rows[0])
        if follows:
            rows = [{k: v for k, v in rows[0].items() if k not in kind.follows}]
        data = self._read(kind.build(rows))
        part_rows = tuple(number for number, _ in kept)
        if self._lines is not None:
            data["lines"], part_rows, line_refusal = self._lines.of(data.get("code"))
            refusal = refusal or line_refusal
            content.append(data["lines"])
        digest = _digest(content)
        key = _digest([rows[0].get(name) for name in kind.replaces]) if kind.replaces else digest
        entity = Entity(numbers, data, key, digest, len(numbered) - len(kept), follows, part_rows, refusal)
        return self._named_again(entity) if kind.replaces and refusal is None else entity

    def _disagreement(self, rows: Sequence[_Numbered]) -> Refusal | None:
        """Rows of one entity that contradict one another."""
        first_number, first = rows[0]
        for name in self._kind.shared:
            for number, row in rows:
                if name in row and row[name] != first.get(name):
                    message = f"row {number} says {name} {row[name]!r}, row {first_number} {first.get(name)!r}"
                    return Refusal("import.differs", f"{message}; they belong together: write the same in both")
        if "item" not in self._kind.fields:  # only rows of price lists name items
            return None
        missing = next((number for number, row in rows if "item" not in row), None)
        if missing is not None:
            return invalid(Problem("item", "required", f"row {missing} names no item"))
        seen: dict[str, int] = {}
        for number, row in rows:
            before = seen.setdefault(row["item"], number)
            if before != number:
                message = (
                    f"rows {before} and {number} name item {row['item']!r} with different prices; keep one of them"
                )
                return Refusal("import.named_twice", message)
        return None

    def _named_again(self, entity: Entity) -> Entity:
        """Of two rows of a file that name the same with other content the second is refused: neither is the newer."""
        first = self._named.setdefault(entity.key, evolve(entity, data={}))
        if first.digest == entity.digest:
            return entity
        message = f"row {first.rows[0]} says something else of the same {self._kind.name}; keep one of them"
        return evolve(entity, refusal=Refusal("import.named_twice", message))


def _digest(content: Any) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=16).digest()


def _as_it_is(cell: str) -> Any:
    return cell


def _attribute_readers(app: Application) -> dict[str, Callable[[str], Any]]:
    """How cells of declared attributes are read; all others stay text."""
    readers: dict[str, Callable[[str], Any]] = {"int": whole_number, "bool": true_or_false}
    declared = app.settings.deployment.attributes or {}
    return {name: readers[rule.type] for name, rule in declared.items() if rule.type in readers}
