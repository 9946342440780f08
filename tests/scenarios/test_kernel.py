"""The kernel's rooms do what the contract says of them, sentence by sentence, wrong input included."""

from __future__ import annotations

from pathlib import Path

import pytest

from imis_core.opening import Playground
from imis_core.scenarios.runner import run_scenario

FILES = sorted((Path(__file__).parent / "kernel").glob("*.toml"))


def test_there_are_files() -> None:
    """A folder that moved away is noticed."""
    assert len(FILES) >= 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_room_does_as_the_contract_says(playground: Playground, path: Path) -> None:
    """Every step of the file does as it says."""
    result = run_scenario(path, playground)
    assert [f"{f.step} {f.name or f.do}: {f.reason}" for f in result.failures] == []
    assert result.steps > 0
