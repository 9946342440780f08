"""The public examples of the contract pass as they were given."""

from __future__ import annotations

from pathlib import Path

import pytest

from imis_core.opening import Playground
from imis_core.scenarios.runner import run_scenario

PUBLIC = Path(__file__).parent / "public"


@pytest.mark.parametrize(
    "name",
    ["cash_payroll", "eii_survivors", "health_premium", "health_valuation"],
)
def test_a_public_example_passes(playground: Playground, name: str) -> None:
    """Every step of a public example does as it says."""
    result = run_scenario(PUBLIC / f"{name}.toml", playground)
    assert [f"{f.step} {f.do}: {f.reason}" for f in result.failures] == []
    assert result.steps > 0
