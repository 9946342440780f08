"""The scenario files of employment injury, which show its main rules to users, do as they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from imis_core.opening import Playground
from imis_core.scenarios.runner import run_scenario

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.toml"))


def test_there_are_scenarios() -> None:
    """A folder that moved away is noticed."""
    assert len(FILES) >= 5


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_passes(playground: Playground, path: Path) -> None:
    """Every step of the file does as it says."""
    result = run_scenario(path, playground)
    assert [f"{f.step} {f.do}: {f.reason}" for f in result.failures] == []
    assert result.steps > 0
