"""The files of rows that were not loaded: where they go, and that they overwrite nothing that is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from imis_core.errors import refused
from imis_core.files import ErrorFile, RowProblem, TableFile
from imis_core.imports.columns import CHUNK

SUFFIXES: Final = (".csv", ".tsv", ".txt", ".xlsx", ".ndjson", ".jsonl")
_ERRORS: Final = re.compile(r"\.errors(?:-(?P<number>\d+))?\Z")


def stem_of(path: Path) -> str:
    """A data file's name without the endings of its format: `items.csv.gz` -> `items`."""
    name = path.name.removesuffix(".gz")
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix)), name)


def is_error_file(path: Path) -> bool:
    """Whether a file is, by its name, one of rows that were not loaded."""
    return _ERRORS.search(stem_of(path).removesuffix(".lines")) is not None


def error_file_of(path: Path) -> Path:
    """Beside the file: `items.errors.csv` for `items.csv`, and for that again `items.errors-2.csv`."""
    stem = stem_of(path)
    found = _ERRORS.search(stem)
    if found is None:
        return path.with_name(f"{stem}.errors.csv")
    return path.with_name(f"{stem[: found.start()]}.errors-{int(found['number'] or 1) + 1}.csv")


def lines_error_file_of(errors: Path) -> Path:
    """The second error file, of lines, beside the first."""
    return errors.with_name(f"{errors.name.removesuffix('.csv')}.lines.csv")


def check_target(errors: Path, sources: Sequence[Path | None]) -> None:
    """Refuse, before anything is loaded, error files that would overwrite a source or have no place."""
    above = next(folder for folder in errors.absolute().parents if folder.exists())
    if not above.is_dir():
        raise refused("import.errors_folder", f"{errors}: {above} is a file and no folder; name another file")
    read = {path.resolve() for path in sources if path is not None}
    for target in (errors, lines_error_file_of(errors)):
        if target.resolve() in read:
            raise refused("import.errors_overwrite", f"{target} is read from, so no errors go there; name another file")
        if target.is_dir():
            raise refused("import.errors_folder", f"{target} is a folder; name a file for the errors")


def write_errors(path: Path, table: TableFile, problems: Mapping[int, Sequence[RowProblem]]) -> None:
    """Write the rows with `problems` as they stand in the file, and those that could not be read. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ErrorFile(path, table.columns) as file:
        for chunk in table.chunks(CHUNK) if problems else ():
            for position, number in enumerate(chunk.row_numbers):
                if number in problems:
                    cells = [chunk.columns[name][position] for name in table.columns]
                    file.write(number, cells, problems[number])
        for problem in table.problems:
            file.write_problem(problem)
