"""A long walk of the machine (tests/machine) with fresh seeds, which are printed: any order of any commands."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine.conftest import make_machine_app
from tests.machine.machine import STEPS, Machine

WALKS = int(os.environ.get("IMIS_MACHINE_WALKS", "4"))  # each of 5 times 60 steps
LONG = settings(
    max_examples=5, stateful_step_count=60, deadline=None, phases=[Phase.generate], database=None,
    suppress_health_check=list(HealthCheck), print_blob=True,
)  # fmt: skip
SEEDS = os.environ.get("IMIS_MACHINE_SEEDS")
NUMBERS = [int(n) for n in SEEDS.split(",")] if SEEDS else random.SystemRandom().sample(range(10**9), WALKS)


@pytest.mark.parametrize("number", NUMBERS)
def test_money_and_states_hold_on_a_long_walk(make_machine_app: Callable[[], Any], number: int) -> None:
    """As the short one; to walk it again: IMIS_MACHINE_SEEDS=number."""
    STEPS.clear()
    machine = type("Walk", (Machine,), {"make": staticmethod(make_machine_app)})
    print(f"the seed is {number}")
    run_state_machine_as_test(seed(number)(machine), settings=LONG)
    print("\n".join(f"{count:5} {name}" for name, count in STEPS.most_common()))


__all__ = ["make_machine_app"]
