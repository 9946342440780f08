"""`imis load`: packages and reference data of a deployment's folder into the database, which is the truth from then on.

The same content does nothing; a changed row or package goes through its command again, which replaces what nothing uses
and refuses the rest with the difference. `drift` tells what in the files is not in the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from imis_core.application import Application
from imis_core.commands import run_command
from imis_core.deployment import SettingsError, read_toml
from imis_core.errors import ImisError, Refusal, refused, suggestion
from imis_core.imports.error_files import SUFFIXES, error_file_of, is_error_file, stem_of
from imis_core.imports.loading import ImportReport, import_file, pending_rows
from imis_core.parsing import plain
from imis_core.queries import run_query
from imis_core.security.caller import Caller

FOLDERS: Final = ("packages", "data")  # of a deployment, whose files are loaded
# Reference data in the order in which one kind names another.
ORDER: Final = ("locations", "items", "price_lists", "facilities", "diagnoses", "persons", "households")
_NEAR: Final = 0.8  # how alike a file's name and a kind must be to be taken for a slip of the pen


@define
class LoadReport:
    """What `imis load` did: one report per data file, and per package file its code and version or its refusal."""

    files: list[ImportReport] = field(factory=list)
    packages: list[tuple[Path, str]] = field(factory=list)
    problems: list[str] = field(factory=list)


def load_paths(app: Application, paths: Iterable[Path], caller: Caller | None = None) -> LoadReport:
    """Load files and folders: data by the kind in a file's name (`items.csv`, `items-2026.xlsx`), packages as `*.toml`.

    Each problem is a line of the report that names its file; the other files are loaded all the same.

    Raises `files.not_found` and `import.unknown_kind` for a path that is named and cannot be loaded at all.
    """
    report = LoadReport()
    who = caller or app.system
    data, packages, strange = _sorted_files(paths)
    report.problems += strange
    targets: set[Path] = set()
    for kind, path in data:
        target = _error_target(app, path, targets)
        try:
            loaded = import_file(app, kind, path, who, errors=target)
        except ImisError as error:
            report.problems.append(_with_file(path, error.refusal.line()))
            continue
        report.files.append(loaded)
        if loaded.refused:
            reasons = ", ".join(f"{code} {count}" for code, count in sorted(loaded.reasons.items()))
            listed = ", ".join(str(p) for p in loaded.error_files)
            report.problems.append(f"{path}: {loaded.refused} of {loaded.rows} rows refused ({reasons}); see {listed}")
    for path in packages:
        _load_packages(app, path, who, report)
    return report


def _error_target(app: Application, path: Path, taken: set[Path]) -> Path:
    """Where refused rows go: `var/load/` of the deployment, or beside the file where there is no deployment."""
    folder = app.settings.folder
    target = error_file_of(path)
    if folder is not None:
        target = folder / "var" / "load" / target.name
        if target in taken:
            target = target.with_name(f"{path.parent.name}-{target.name}")
        taken.add(target)
    return target


def _load_packages(app: Application, path: Path, caller: Caller, report: LoadReport) -> None:
    try:
        definitions = _definitions(path)
    except SettingsError as error:
        report.problems += [f"{path}: {_one_line(problem.message)}" for problem in error.refusal.problems]
        return
    try:
        reply = run_command(app, "benefit_packages.define", definitions, caller)
    except ImisError as error:
        report.problems.append(_with_file(path, error.refusal.line()))
        return
    if reply.awaiting:
        report.packages += [(path, f"{definition.get('code')} waits for approval") for definition in definitions]
        return
    for definition, outcome in zip(definitions, reply.outcomes, strict=True):
        if not isinstance(outcome, Refusal):
            report.packages.append((path, f"{outcome['code']} version {outcome['version']}"))
            continue
        of = f"{definition.get('code')}: " if len(definitions) > 1 else ""
        report.problems += [f"{path}: {of}{line}" for line in _lines_of(outcome)]


def _lines_of(refusal: Refusal) -> Iterator[str]:
    """A line for each problem, or the refusal's own."""
    for problem in refusal.problems:
        yield _one_line(f"{refusal.code}: {problem.path or 'package'}: {problem.message}")
    if not refusal.problems:
        yield refusal.line()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _with_file(path: Path, line: str) -> str:
    """A problem's line that names its file, once."""
    return line if str(path) in line else f"{path}: {line}"


def _definitions(path: Path) -> list[dict[str, Any]]:
    """A package file holds one package, or several under [[package]]."""
    content = read_toml(path)
    several = content.get("package")
    return several if len(content) == 1 and isinstance(several, list) and all(map(_is_table, several)) else [content]


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _sorted_files(paths: Iterable[Path]) -> tuple[list[tuple[str, Path]], list[Path], list[str]]:
    """Data files with their kinds in the order of loading, package files, and lines on files whose names are slips."""
    data: list[tuple[str, Path]] = []
    packages: list[Path] = []
    strange: list[str] = []
    for path in paths:
        if not path.exists():
            raise refused("files.not_found", f"there is no file or folder {path}")
        for file in _files_in(path):
            if file.suffix == ".toml":
                packages.append(file)
                continue
            kind = _kind_of(file)
            if kind is not None:
                data.append((kind, file))
            elif file == path:
                known = ", ".join(ORDER)
                message = f"{file}: a data file is named by its kind ({known}), such as items.csv"
                raise refused("import.unknown_kind", message + suggestion(stem_of(file), ORDER))
            elif file.name.removesuffix(".gz").endswith(SUFFIXES) and (
                near := get_close_matches(stem_of(file), ORDER, n=1, cutoff=_NEAR)
            ):
                strange.append(f"{file}: there is no kind {stem_of(file)!r}; did you mean {near[0]!r}? Rename the file")
    return sorted(dict.fromkeys(data), key=lambda pair: (ORDER.index(pair[0]), pair[1])), packages, strange


def _files_in(path: Path) -> list[Path]:
    """A file itself, or the files below a folder in order, without hidden ones and files of refused rows."""
    if not path.is_dir():
        return [path]
    inside = sorted(p for p in path.rglob("*") if p.is_file())
    return [
        p
        for p in inside
        if not any(part.startswith(".") for part in p.relative_to(path).parts) and not is_error_file(p)
    ]


def _kind_of(path: Path) -> str | None:
    """The kind in a file's name: `items.csv`, `items-2026.csv.gz`, `items.errors.csv`."""
    if not path.name.lower().removesuffix(".gz").endswith(SUFFIXES):
        return None
    stem = stem_of(path)
    return next((kind for kind in ORDER if stem == kind or stem.startswith((f"{kind}-", f"{kind}."))), None)


def drift(app: Application, paths: Sequence[Path]) -> list[str]:
    """What the files say that the database does not: one line per package and per data file."""
    data, packages, lines = _sorted_files([p for p in paths if p.exists()])
    for kind, path in data:
        try:
            rows = pending_rows(app, kind, path, app.system)
        except ImisError as error:
            lines.append(_with_file(path, error.refusal.line()))
            continue
        if rows:
            lines.append(f"{path.name}: {rows} rows are not in the database as they stand; run `imis load`")
    for path in packages:
        try:
            definitions = _definitions(path)
        except SettingsError as error:
            lines += [f"{path}: {_one_line(problem.message)}" for problem in error.refusal.problems]
            continue
        lines += [line for definition in definitions if (line := _package_drift(app, path, definition)) is not None]
    return lines


def _package_drift(app: Application, path: Path, definition: Mapping[str, Any]) -> str | None:
    name = f"{path.name}: {definition.get('scheme')}/{definition.get('code')}"
    scheme = definition.get("scheme")
    if scheme not in app.settings.schemes:
        known = ", ".join(app.settings.schemes) or "none"
        return f"{name} is of a scheme that imis.toml does not have (it has: {known}); it is left alone"
    first_day = _as_stored(definition.get("valid_from"))
    asked = {"scheme": definition.get("scheme"), "package": definition.get("code"), "on": first_day}
    try:
        shown = run_query(app, "benefit_packages.show", asked, app.system)
    except ImisError as error:
        return f"{name} is not in the database ({error.code}); run `imis load`"
    if shown["valid_from"] != first_day:
        return f"{name} from {first_day} is not in the database; run `imis load`"
    differs = [
        part for part in ("name", "valid_to", "location", "terms") if shown[part] != _as_stored(definition.get(part))
    ]
    if not differs:
        return None
    return f"{name} differs from the database's version {shown['version']} in {', '.join(differs)}; run `imis load`"


def _as_stored(value: Any) -> Any:
    """A value of a package file as the database gives it out; a binary fraction is nothing that is stored."""
    try:
        return plain(value)
    except TypeError:
        return None
