"""An environment with the locked libraries, the kernel and one plugin: `python -m tests.plugin_environment DIR PLUGIN`.

The libraries are links into the environment that runs this, which holds exactly the lock: so it takes no network and a
second. Our own distributions are left out and installed anew, the kernel and the one plugin.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make_environment(folder: Path, *projects: Path) -> Path:
    """Make it anew in `folder`, with the plugins of these folders; its Python."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    source = Path(sysconfig.get_path("purelib"))
    target = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    own = _our_own(source)
    for entry in source.iterdir():
        if entry.name not in own and entry.name != "__pycache__":
            (target / entry.name).symlink_to(entry)
    python = folder / "bin" / "python"
    (folder / "bin" / "ruff").symlink_to(
        Path(sys.executable).parent / "ruff"
    )  # no Python: its module looks for it here
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    editable = [word for project in (ROOT, *projects) for word in ("-e", str(project))]
    subprocess.run([str(python), *install, *editable], check=True)
    return python


def _our_own(packages: Path) -> set[str]:
    """Names of the files by which our own distributions are installed."""

    def names() -> Iterator[str]:
        for record in packages.glob("imis_*.dist-info/RECORD"):
            for line in record.read_text("utf-8").splitlines():
                yield Path(line.partition(",")[0]).parts[0]

    return set(names())


if __name__ == "__main__":
    make_environment(*(Path(argument).resolve() for argument in sys.argv[1:]))
