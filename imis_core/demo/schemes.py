"""The further schemes of the demo: laid over the preset's deployment where their plugins are installed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from imis_core.plugins import installed

_OVERLAY: Final = Path(__file__).parent / "overlay"
# Scheme, its type, and the plugin that knows it (of the same name).
_SCHEMES: Final = (("soutien", "cash_transfer"), ("travail", "eii"))
_ENABLED: Final = re.compile(r"^enabled = \[([^\]]*)\]", re.MULTILINE)


def add_schemes(home: Path) -> None:
    """Switch the plugins on, write the schemes' tables into imis.toml and their packages into packages/."""
    wanted = [(scheme, kind) for scheme, kind in _SCHEMES if kind in installed()]
    path = home / "imis.toml"
    text = path.read_text("utf-8")
    kinds = "".join(f', "{kind}"' for _, kind in wanted)
    text = _ENABLED.sub(lambda found: f"enabled = [{found[1]}{kinds}]", text, count=1)
    for scheme, kind in wanted:
        text += f'\n[schemes.{scheme}]\ntype = "{kind}"\npackages = "packages/{scheme}"\n'
        shutil.copytree(_OVERLAY / scheme, home / "packages" / scheme)
    path.write_text(text, "utf-8")
