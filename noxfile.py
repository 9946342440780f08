"""What is run on the project: checks, tests, benchmarks. Every session works without a network.

Sessions run in the environment that `./dev` made, which holds exactly the locked versions; only `plugin` makes further
environments, from that one. Run them by `./dev SESSION`, or by nox inside the environment.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.1"
nox.options.sessions = ["test"]
nox.options.default_venv_backend = "none"

ROOT = Path(__file__).parent
PYTHON = sys.executable
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
PRESETS = sorted(path.name for path in (ROOT / "templates/deployment/presets").iterdir() if path.is_dir())
PROCESSES = "2"


def _run(session: nox.Session, *command: str | Path) -> None:
    """One command with the environment's own Python."""
    session.run(PYTHON, *map(str, command), external=True)


@nox.session
def test(session: nox.Session) -> None:
    """All checks, then all tests of the kernel and the plugins; the last line is pytest's own."""
    _check(session)
    _types(session)
    _imports(session)
    logging.getLogger("nox").setLevel(logging.CRITICAL + 1)  # pytest's closing line says how it went
    _run(session, "-m", "pytest", "-n", PROCESSES, *session.posargs)


def _check(session: nox.Session) -> None:
    _run(session, "-m", "ruff", "check", ".")
    _run(session, "-m", "ruff", "format", "--check", ".")


def _types(session: nox.Session) -> None:
    _run(session, "-m", "mypy")


def _imports(session: nox.Session) -> None:
    _run(session, "-c", "import sys; from importlinter.cli import lint_imports_command as lint; sys.exit(lint())")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: mistakes, order of imports, format."""
    _check(session)


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict."""
    _types(session)


@nox.session
def imports(session: nox.Session) -> None:
    """import-linter: which room may use which (.importlinter)."""
    _imports(session)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation is true: its blocks run, its links resolve, its lists are those of the code."""
    _run(session, "-m", "pytest", "tests/docs", *session.posargs)


@nox.session
@nox.parametrize("plugin", [nox.param(path.name, id=path.name) for path in PLUGINS])
def plugin(session: nox.Session, plugin: str) -> None:
    """One plugin alone: an environment with the kernel, this plugin and the test tools, and its own tests."""
    python = _environment_of(session, ROOT / "plugins" / plugin)
    session.run(python, "-c", _ONLY.format(plugin), external=True)
    session.run(python, "-m", "pytest", "-n", PROCESSES, f"plugins/{plugin}", *session.posargs, external=True)


_ONLY = (
    "from importlib.metadata import entry_points as e; found = [p.name for p in e(group='imis.plugins')]; "
    "assert found == [{!r}], found"
)


def _environment_of(session: nox.Session, project: Path) -> str:
    """A fresh environment with the locked libraries, the kernel and one plugin; its Python."""
    folder = ROOT / ".nox" / f"plugin-{project.name}"
    _run(session, "-m", "tests.plugin_environment", folder, project)
    return str(folder / "bin" / "python")


@nox.session
@nox.parametrize("preset", [nox.param(name, id=name) for name in PRESETS])
def templates(session: nox.Session, preset: str) -> None:
    """Each preset of the deployment template: made, checked, and its scenarios run."""
    folder = ROOT / ".nox" / "deployments" / preset
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    imis = ("-c", "import sys; from imis_core.cli import main; sys.exit(main())")
    _run(session, *imis, "new", folder, "--preset", preset, "--defaults")
    _run(session, *imis, "-C", folder, "check")
    scenarios = sorted((folder / "scenarios").glob("*.toml"))
    if scenarios:
        _run(session, *imis, "-C", folder, "scenario", *scenarios)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks; what they measure and the figures are in docs/performance.md."""
    _run(session, "-m", "tests.bench", *session.posargs)


@nox.session(name="real-data")
def real_data(session: nox.Session) -> None:
    """The whole path on real data: the folder is the argument, or IMIS_REAL_DATA. See docs/real-data.md."""
    arguments = list(session.posargs)
    if not arguments and "IMIS_REAL_DATA" in os.environ:
        arguments = [os.environ["IMIS_REAL_DATA"]]
    if not arguments or not Path(arguments[0]).is_dir():
        named = arguments[0] if arguments else "none is named"
        session.error(f"no folder of real data ({named}): ./dev real-data FOLDER, or set IMIS_REAL_DATA")
    _run(session, "-m", "tests.real_data", *arguments)


@nox.session
def demo(session: nox.Session) -> None:
    """A deployment with invented people, to look at."""
    _run(session, "-c", "import sys; from imis_core.cli import main; sys.exit(main())", "demo", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Real processes that are killed, cut off and filled up (docs/faults.md); some minutes. Arguments go to pytest."""
    asked = [argument for argument in session.posargs if not argument.startswith("-")]
    options = [argument for argument in session.posargs if argument not in asked]
    _run(session, "-m", "pytest", "-o", "python_files=fault_*.py", *(asked or ["tests/faults"]), *options)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Generated requests over the whole OpenAPI and generated files for every importer; some minutes, bounded.

    IMIS_FUZZ_EACH requests go to each operation (120), IMIS_FUZZ_FILES files to each importer (300), made from the seed
    IMIS_FUZZ_SEED; arguments go to pytest.
    """
    _run(session, "-m", "pytest", "-s", "-o", "python_files=fuzz_*.py", "tests/fuzz", *session.posargs)
