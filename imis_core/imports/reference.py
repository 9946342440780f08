"""`imis load`: packages and reference data of a deployment's folder into the database, which is the truth from then on.

The same content does nothing; a changed row or package goes through its command again, which replaces what nothing uses
and refuses the rest with the difference. `drift` tells what in the files is not in the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from imis_core.application import Application
from imis_core.commands import run_command
from imis_core.deployment import read_toml
from imis_core.errors import ImisError, Refusal, refused
from imis_core.imports.loading import ImportReport, import_file
from imis_core.queries import run_query
from imis_core.security.caller import Caller

# Reference data in the order in which one kind names another.
ORDER: Final = ("locations", "items", "price_lists", "facilities", "diagnoses", "persons", "households")
_SUFFIXES: Final = (".csv", ".csv.gz", ".xlsx", ".ndjson")


@define
class LoadReport:
    """What `imis load` did: one report per data file, and per package file its code and version or its refusal."""

    files: list[ImportReport] = field(factory=list)
    packages: list[tuple[Path, str]] = field(factory=list)
    problems: list[str] = field(factory=list)


def load_paths(app: Application, paths: Iterable[Path], caller: Caller | None = None) -> LoadReport:
    """Load files and folders: data files by the kind in their name, `*.toml` as benefit packages."""
    report = LoadReport()
    who = caller or app.system
    data, packages = _sorted_files(paths)
    for kind, path in data:
        loaded = import_file(app, kind, path, who, errors=path.with_name(f".{path.name}.errors.csv"))
        report.files.append(loaded)
        if loaded.refused:
            reasons = ", ".join(f"{code} {count}" for code, count in sorted(loaded.reasons.items()))
            listed = ", ".join(str(p) for p in loaded.error_files)
            report.problems.append(f"{path}: {loaded.refused} of {loaded.rows} rows refused ({reasons}); see {listed}")
    for path in packages:
        for definition in _definitions(path):
            outcome = run_command(app, "benefit_packages.define", [definition], who).outcomes[0]
            if isinstance(outcome, Refusal):
                report.problems.append(f"{path}: {outcome.line()}")
            else:
                report.packages.append((path, f"{outcome['code']} version {outcome['version']}"))
    return report


def _definitions(path: Path) -> list[dict[str, Any]]:
    """A package file holds one package, or several under [[package]]."""
    content = read_toml(path)
    several = content.get("package")
    return list(several) if isinstance(several, list) and len(content) == 1 else [content]


def _sorted_files(paths: Iterable[Path]) -> tuple[list[tuple[str, Path]], list[Path]]:
    data: list[tuple[str, Path]] = []
    packages: list[Path] = []
    for path in paths:
        if not path.exists():
            raise refused("files.not_found", f"there is no file or folder {path}")
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in inside:
            if file.name.startswith(".") or ".errors." in file.name:
                continue
            if file.suffix == ".toml":
                packages.append(file)
            elif (kind := _kind_of(file)) is not None:
                data.append((kind, file))
            elif not path.is_dir():
                known = ", ".join(ORDER)
                raise refused("import.unknown_kind", f"{file}: a data file is named by its kind ({known}), such as items.csv")
    return sorted(data, key=lambda pair: (ORDER.index(pair[0]), pair[1])), packages


def _kind_of(path: Path) -> str | None:
    stem = next((path.name.removesuffix(s) for s in _SUFFIXES if path.name.endswith(s)), None)
    return stem if stem in ORDER else None


def drift(app: Application, paths: Sequence[Path]) -> list[str]:
    """What the package files say that the database does not: one line per package."""
    lines = []
    for path in _sorted_files([p for p in paths if p.exists()])[1]:
        for definition in _definitions(path):
            name = f"{path.name}: {definition.get('scheme')}/{definition.get('code')}"
            asked = {"scheme": definition.get("scheme"), "package": definition.get("code"), "on": definition.get("valid_from")}
            try:
                shown = run_query(app, "benefit_packages.show", asked, app.system)
            except ImisError as error:
                lines.append(f"{name} is not in the database ({error.code}); run `imis load`")
                continue
            if shown["terms"] != definition.get("terms"):
                lines.append(f"{name} differs from the database's version {shown['version']}; run `imis load`")
    return lines
