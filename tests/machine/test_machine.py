"""A short walk of the machine with fixed seeds; the long one is `nox -s faults`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.machine import STEPS, Machine

SHORT = settings(
    max_examples=6, stateful_step_count=18, deadline=None, phases=[Phase.generate], database=None,
    suppress_health_check=list(HealthCheck), print_blob=True,
)  # fmt: skip


@pytest.mark.parametrize("number", [1])
def test_money_and_states_hold_whatever_is_commanded(make_machine_app: Callable[[], Any], number: int) -> None:
    """After each command of any room the auditor finds nothing, and what was refused wrote nothing."""
    STEPS.clear()
    machine = type("Walk", (Machine,), {"make": staticmethod(make_machine_app)})
    run_state_machine_as_test(seed(number)(machine), settings=SHORT)
    done = {name for name in STEPS if " " not in name}
    assert len(done) > 12, STEPS
