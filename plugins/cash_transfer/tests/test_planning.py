"""Statements over everybody keep their shape on tables that were filled a moment ago."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from imis_core.testing.app import TestApp

PACKAGE = {"scheme": "safe", "package": "P"}
HOUSEHOLDS = 3000
SECONDS = 10.0  # one loop over all members per household would take minutes


def test_an_approval_does_not_loop_over_all_members(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None], approved: Callable[..., Any]
) -> None:
    """The planner knows nothing of fresh tables; enrolling and paying many households must not wait for it to learn."""
    define(cash, criteria="any(members where age > 18)", amount={"base": "1", "per_person": "1"})
    register(cash, *[f"H{i:04}" for i in range(HOUSEHOLDS)])
    cash.do("cycles.open", {"scheme": "safe", "code": "C", "starts": "2023-01-01", "ends": "2023-01-31"})
    began = time.monotonic()
    assert approved(cash)["enrolled"] == HOUSEHOLDS
    assert cash.do("payroll.generate", {**PACKAGE, "cycle": "C"})["beneficiaries"] == HOUSEHOLDS
    assert time.monotonic() - began < SECONDS
