"""Files of every kind that load, and what a database holds."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from imis_core.files import read_table, write_table
from imis_core.imports import ImportReport, import_file
from imis_core.testing.app import TestApp

Cells = Sequence[Any]
ORDER = ("locations", "items", "price_lists", "facilities", "diagnoses", "persons", "households", "claims")
SAMPLES: dict[str, tuple[tuple[str, ...], list[Cells]]] = {
    "locations": (
        ("code", "name", "level", "parent"),
        [("R", "North", "region", None), ("D", "East", "district", "R")],
    ),
    "items": (
        ("code", "name", "kind", "price", "sexes", "max_quantity"),
        [("CONS", "Consultation", "service", "5.00", None, 1), ("007", "Delivery", "service", "40", "F", None)],
    ),
    "price_lists": (
        ("code", "valid_from", "item", "price"),
        [("STD", "2020-01-01", "CONS", "4.50"), ("STD", "2020-01-01", "007", "catalogue")],
    ),
    "facilities": (
        ("facility_id", "name", "level", "location", "price_lists", "contract_from"),
        [("HC1", "Health centre", "health_centre", "D", "STD", "2020-01-01")],
    ),
    "diagnoses": (("code", "name"), [("B54", "Malaria"), ("A01.0", "Typhoid fever")]),
    "persons": (
        ("person_id", "given_name", "family_name", "sex", "birth_date", "location", "phone"),
        [
            ("P1", "Ana", "Silva", "F", "1980-02-29", "D", "+235 1"),
            ("P2", "Ben", "Silva", "M", "1979-01-01", "D", None),
        ],
    ),
    "households": (
        ("household_id", "number", "given_name", "family_name", "sex", "birth_date", "relationship"),
        [
            ("H1", "P1", None, None, None, None, "head"),
            ("H2", "P2", None, None, None, None, "head"),
            ("H1", "P3", "Eva", "Silva", "F", "2015-05-05", "child"),
        ],
    ),
    "claims": (
        ("claim_id", "number", "facility", "from", "to", "diagnosis", "visit_type"),
        [
            ("C1", "P1", "HC1", "2020-06-01", None, "B54", "other"),
            ("C2", "P2", "HC1", "2020-07-01", None, "B54", "other"),
        ],
    ),
}
LINES: tuple[tuple[str, ...], list[Cells]] = (
    ("claim_id", "line", "item", "quantity", "price"),
    [("C1", 1, "CONS", 1, "4.50"), ("C2", 1, "CONS", 1, "4.50"), ("C1", 2, "007", 1, "40")],
)


def write(path: Path, columns: Sequence[str], rows: Iterable[Cells]) -> Path:
    """A file of the format that its name says."""
    name = path.name.removesuffix(".gz")
    plain = path.with_name(f"plain-{name}") if path.suffix == ".gz" else path
    write_table(plain, list(columns), list(rows), plain.suffix.removeprefix("."), safe=False)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def errors_of(report: ImportReport) -> list[tuple[int, str]]:
    """Rows and their reasons in the first error file."""
    lines = report.error_files[0].read_text("utf-8-sig")
    plain = report.error_files[0].with_suffix(".plain.csv")
    plain.write_text(lines.replace("#row", "row", 1).replace("#errors", "errors", 1), "utf-8")
    found = []
    for chunk in read_table(plain).chunks():
        found += [(int(r or 0), e or "") for r, e in zip(chunk.columns["row"], chunk.columns["errors"], strict=True)]
    return found


def counts(app: TestApp) -> dict[str, int]:
    """How many rows each table has."""
    names = app.rows(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'jobs') AND tablename NOT LIKE 'alembic%'"
    )
    return {n["name"]: app.rows(f"SELECT count(*) AS rows FROM {n['name']}")[0]["rows"] for n in names}


Load = Callable[..., ImportReport]


@pytest.fixture
def load(app: TestApp, tmp_path: Path) -> Load:
    """Writes rows and imports them: `load("persons", columns, rows, suffix=".csv", lines=(columns, rows), ...)`."""
    caller = app.as_user("administrator")

    def run(kind: str, columns: Sequence[str], rows: Iterable[Cells], **options: Any) -> ImportReport:
        suffix = options.pop("suffix", ".csv")
        lines = options.pop("lines", None)
        path = write(tmp_path / f"{options.pop('name', kind)}{suffix}", columns, rows)
        if lines is not None:
            options["lines"] = write(tmp_path / f"claim_lines{suffix}", *lines)
        report = import_file(app, kind, path, options.pop("caller", caller), **options)
        assert report.loaded + report.unchanged + report.refused == report.rows
        assert sum(report.reasons.values()) == report.refused
        return report

    return run


@pytest.fixture
def sample(load: Load) -> Callable[..., dict[str, ImportReport]]:
    """Loads the sample of every kind up to `until`."""

    def run(until: str = "claims", suffix: str = ".csv") -> dict[str, ImportReport]:
        reports = {}
        for kind in ORDER[: ORDER.index(until) + 1]:
            options = {"lines": LINES} if kind == "claims" else {}
            reports[kind] = load(kind, *SAMPLES[kind], suffix=suffix, **options)
        return reports

    return run
