"""The files that a demo runs on: an invented population in the deployment's places, or real files of a folder.

Claims are cut into months by the day on which they end, so that the year can be walked through.
"""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from imis_core.demo.population import generate
from imis_core.errors import refused
from imis_core.files import Chunk, ColumnMap, load_mapping, read_table, write_table

YEAR: Final = 2025
REFERENCE: Final = ("locations", "facilities", "items", "price_lists", "diagnoses")
_SUFFIXES: Final = (".csv", ".csv.gz", ".xlsx")


@frozen
class Sources:
    """What the year is run on. `maps` are mapping files by kind; `months` pairs the last day of a month with its claims."""

    starts: date
    persons: Path | None
    households: Path
    months: tuple[tuple[date, Path], ...]
    lines: Path
    maps: dict[str, Path]


def prepare_sources(home: Path, data: Path | None, *, households: int, seed: int) -> Sources:
    """Reference files of `data` replace the deployment's; its households and claims replace the invented ones."""
    maps = {p.stem: p for p in sorted((data / "maps").glob("*.toml"))} if data is not None else {}
    if data is not None:
        _take_reference(home, data)
    found = None if data is None else _find(data, "households")
    if data is None or found is None:
        if maps:
            raise refused("demo.no_households", f"{data} has mapping files but no households file; add households.csv")
        return _invented(home, households, seed)
    claims, lines = _find(data, "claims"), _find(data, "claim_lines")
    if claims is None or lines is None:
        raise refused("demo.no_claims", f"{data} has households but not both claims.csv and claim_lines.csv; add them")
    mapping = maps.get("claims")
    months, year = _by_month(home, claims, None if mapping is None else load_mapping(mapping))
    return Sources(date(year, 1, 1), _find(data, "persons"), found, months, lines, maps)


def _take_reference(home: Path, data: Path) -> None:
    given = {stem: found for stem in REFERENCE if (found := _find(data, stem)) is not None}
    if given:  # one set of reference data: the preset's places and prices do not mix with others
        for old in (home / "data").glob("*.csv"):
            old.unlink()
    for stem, path in given.items():
        shutil.copy(path, home / "data" / (stem + path.name.removeprefix(stem)))
    packages = data / "packages"
    if packages.is_dir():
        shutil.rmtree(home / "packages")
        shutil.copytree(packages, home / "packages")


def _find(folder: Path, stem: str) -> Path | None:
    return next((p for s in _SUFFIXES if (p := folder / f"{stem}{s}").exists()), None)


def _invented(home: Path, households: int, seed: int) -> Sources:
    reference, target = home / "data", home / "var" / "demo"
    target.mkdir(parents=True, exist_ok=True)
    paths = {stem: _find(reference, stem) for stem in REFERENCE}
    missing = [stem for stem, path in paths.items() if path is None]
    if missing:
        raise refused("demo.reference_data", f"{reference} lacks {', '.join(missing)}; the demo invents people, not places")
    generate(
        target, households=households, seed=seed, year=YEAR,
        places=_path(paths["locations"]), facilities=_path(paths["facilities"]), items=_path(paths["items"]),
        diagnoses=_path(paths["diagnoses"]), price_lists=_path(paths["price_lists"]),
        cover_starts=date(YEAR, 1, 15),
    )  # fmt: skip
    months, _ = _by_month(home, target / "claims.csv", None)
    return Sources(date(YEAR, 1, 1), None, target / "households.csv", months, target / "claim_lines.csv", {})


def _path(path: Path | None) -> Path:
    assert path is not None
    return path


def _by_month(home: Path, claims: Path, mapping: ColumnMap | None) -> tuple[tuple[tuple[date, Path], ...], int]:
    """Cut a file of claims by month of the last year it knows; earlier claims come with its first month."""
    table = read_table(claims)
    columns = (mapping.columns or {}) if mapping is not None else {}
    from_name, to_name = columns.get("from", "from"), columns.get("to", "to")
    chunks = list(table.chunks())
    years = Counter(day[:4] for chunk in chunks for day in _ends(chunk, from_name, to_name))
    year = max((int(y) for y in years if y.isdecimal()), default=YEAR)
    folder = home / "var" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[int, list[tuple[Any, ...]]] = {month: [] for month in range(1, 13)}
    for chunk in chunks:
        rows = zip(*(chunk.columns[name] for name in table.columns), strict=True)
        for row, day in zip(rows, _ends(chunk, from_name, to_name), strict=True):
            month = int(day[5:7]) if day[:4] == str(year) and day[5:7].isdecimal() else 1
            parts[month if month in parts else 1].append(row)
    months = []
    for month, rows_of_month in parts.items():
        path = folder / f"claims-{month:02d}.csv"
        write_table(path, list(table.columns), iter(rows_of_month), "csv", safe=False)
        months.append((_month_end(year, month), path))
    return tuple(months), year


def _ends(chunk: Chunk, from_name: str, to_name: str) -> list[str]:
    starts = chunk.columns[from_name]
    ends = chunk.columns.get(to_name, starts)
    return [end or start or "" for start, end in zip(starts, ends, strict=True)]


def _month_end(year: int, month: int) -> date:
    following = date(year + month // 12, month % 12 + 1, 1)
    return date.fromordinal(following.toordinal() - 1)
