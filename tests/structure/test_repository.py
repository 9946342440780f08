"""What holds for the files of the repository as a whole."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
# Written so that this file does not name what it looks for.
FOREIGN = {
    "an index of packages": re.compile(
        "pypi" + r"\.org|pythonh" + "osted|" + r"/simp" + r"le\b|--(extra-)?index" + "-url"
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(home|Users|root|work|opt)/\w"),
}


def repository_files() -> list[Path]:
    """The files under version control, and the new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def modules(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def test_no_file_belongs_to_one_machine() -> None:
    """No file names an index of packages or a path that exists on one machine only."""
    found = []
    for path in repository_files():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a picture or a spreadsheet
        for what, pattern in FOREIGN.items():
            if hit := pattern.search(text):
                found.append(f"{path.relative_to(ROOT)}: {what}: {hit[0]}")
    assert found == []


def test_the_lock_is_exact_and_has_hashes() -> None:
    """Every library of the lock has one version and a hash; what pyproject.toml names is in it."""
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text("utf-8").strip())
    names = set()
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[\w+\])?==\S+", entry), entry.partition("\n")[0]
        assert "--hash=sha256:" in entry, entry.partition("\n")[0]
        names.add(re.split(r"[\[=]", entry)[0])
    root = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [*root["project"]["dependencies"], *root["dependency-groups"]["dev"]]
    for plugin in PLUGINS:
        of_plugin = tomllib.loads((plugin / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
        wanted += [name for name in of_plugin if not name.startswith("imis-")]
    missing = {re.split(r"[\[>=~<]", name)[0] for name in wanted} - names
    assert missing == set(), "lock again: the command is in CONTRIBUTING.md"


def test_every_module_says_what_it_is_for() -> None:
    """A module opens with a docstring; an empty `__init__` has nothing to say."""
    without = [
        str(path.relative_to(ROOT))
        for folder in (ROOT / "imis_core", *PLUGINS)
        for path, tree in modules(folder)
        if tree.body and ast.get_docstring(tree) is None
    ]
    assert without == []


def test_import_rules_name_every_plugin() -> None:
    """A new plugin comes under the rules of .importlinter: the kernel, the api, its rules."""
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    for plugin in PLUGINS:
        package = f"imis_{plugin.name}"
        assert package in rules["importlinter"]["root_packages"].split()
        assert package in rules["importlinter:contract:kernel"]["forbidden_modules"].split()
        assert package in rules["importlinter:contract:plugins-see-the-api"]["source_modules"].split()
        if (plugin / package / "rules.py").exists():
            assert f"{package}.rules" in rules["importlinter:contract:rules"]["source_modules"].split()


def test_import_rules_forbid_plugins_all_but_the_api() -> None:
    """Every part of the kernel but api and testing is closed to plugins, a new one too."""
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    closed = set(rules["importlinter:contract:plugins-see-the-api"]["forbidden_modules"].split())
    parts = {
        path.stem for path in (ROOT / "imis_core").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    expected = {f"imis_core.{name}" for name in parts - {"__init__", "api", "testing"}}
    assert closed == expected


def test_plugins_never_import_each_other() -> None:
    """A skill that one plugin has and another needs is a port of the kernel."""
    names = {f"imis_{plugin.name}" for plugin in PLUGINS}
    found = []
    for plugin in PLUGINS:
        for path, tree in modules(plugin):
            for node in ast.walk(tree):
                imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                foreign = {name.partition(".")[0] for name in imported} & (names - {f"imis_{plugin.name}"})
                found += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(foreign)]
    assert found == []


# Long public functions without a docstring; the list only gets shorter.
UNDOCUMENTED = {"csv_rows.survey_csv", "ndjson_rows.survey_ndjson", "rows.refuse_large_cell", "sources.refuse_encoding"}


def test_public_functions_say_what_they_do() -> None:
    """A public function of more than three lines has a docstring; hook implementations have that of their hook."""
    without = set()
    for path, tree in modules(ROOT / "imis_core"):
        if path.parent.name == "core":
            continue  # revisions are generated
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith(("_", "imis_")):
                continue
            if (node.end_lineno or 0) - node.lineno > 3 and ast.get_docstring(node) is None:
                without.add(f"{path.stem}.{node.name}")
    assert without == UNDOCUMENTED
