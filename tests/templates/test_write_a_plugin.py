"""`docs/write-a-plugin.md` is followed literally: its commands are run and its files written as they are printed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.docs.test_blocks import ROOT, blocks
from tests.plugin_environment import make_environment

PAGE = ROOT / "docs" / "write-a-plugin.md"
RUN_SECONDS = 600
# The page's `pip install` takes no network here: the libraries are there.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def test_the_page_leads_to_a_green_plugin(tmp_path: Path) -> None:
    """A reader who does what the page says, in its order, ends with every check green; nothing else is needed."""
    tmp_path.chmod(0o755)
    python = make_environment(tmp_path / "environment")
    around = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONPATH", "IMIS_TEST"))}
    around |= {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", **OFFLINE}
    folder = tmp_path
    written = 0
    for block in blocks(PAGE):
        name = next((word.removeprefix("file=") for word in block.words if word.startswith("file=")), None)
        if name is not None:
            target = folder / name
            target.write_text(block.code, "utf-8")
            written += 1
        elif block.words == ("sh", "plugin"):
            done = subprocess.run(
                ["sh", "-eu", "-c", f"{block.code}\npwd"], cwd=folder, env=around, capture_output=True, text=True,
                timeout=RUN_SECONDS, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"line {block.line}:\n{block.code}\n{done.stdout}{done.stderr}"
            folder = Path(done.stdout.splitlines()[-1])  # a block may have changed the folder, as its reader would
    assert (written, folder.name) == (7, "imis-school-feeding")
    page = (folder / "imis_school_feeding" / "plugin.py").read_text("utf-8")
    assert page in PAGE.read_text("utf-8")  # the formatter found nothing to change in what is printed
