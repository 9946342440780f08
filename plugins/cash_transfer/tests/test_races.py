"""Two who do the same at the same moment: places are never overfilled, and nobody is in twice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from imis_core.testing.app import TestApp

PACKAGE = {"scheme": "safe", "package": "P"}
ROUNDS = 4


def together(app: TestApp, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    """Run commands in threads that start at once; results and refusals."""
    ben = app.as_user("ben")
    barrier = Barrier(len(calls))

    def run(call: tuple[str, dict[str, Any]]) -> Any:
        barrier.wait()
        return app.do_all(call[0], [call[1]], as_=ben)[0]

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("limit", ["max_beneficiaries", "quota"])
def test_two_approvals_at_once_never_overfill(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None], limit: str
) -> None:
    """Who comes second sees the first one's beneficiaries: what is too much waits."""
    cash.do("locations.add", {"code": "L", "name": "L", "level": "region"})
    register(cash, *[f"H{i:02}" for i in range(4 * ROUNDS)], location="L")
    for turn in range(ROUNDS):
        package = {"scheme": "safe", "package": f"P{turn}"}
        terms = {"max_beneficiaries": 3} if limit == "max_beneficiaries" else {"quota": {"places": {"L": 3}}}
        cash.do("benefit_packages.define", {
            "scheme": "safe", "code": f"P{turn}", "name": "P", "valid_from": "2022-01-01", "terms": terms,
        })  # fmt: skip
        enrolments = [
            cash.do("targeting.enrol", {**package, "groups": groups})["id"]
            for groups in (["H00", "H01"], ["H02", "H03"])
        ]
        first, second = together(cash, *[("targeting.approve", {"enrolment": e}) for e in enrolments])
        assert sorted([first["enrolled"], second["enrolled"]]) == [1, 2]
        assert sorted([first["waiting"], second["waiting"]]) == [0, 1]
        active = cash.do("targeting.beneficiaries", {**package, "state": "active"})
        assert len(active) == 3


def test_one_enrolment_is_approved_once(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None]
) -> None:
    """The second of two approvals finds it approved."""
    define(cash)
    register(cash, "H1", "H2")
    enrolment = cash.do("targeting.enrol", PACKAGE)["id"]
    outcomes = together(cash, *[("targeting.approve", {"enrolment": enrolment})] * 2)
    codes = sorted(o.get("status", "") if isinstance(o, dict) else o.code for o in outcomes)
    assert codes == ["approved", "targeting.wrong_state"]
    assert cash.rows("SELECT count(*) AS states FROM cash_transfer.beneficiary_states") == [{"states": 2}]


def test_an_approval_and_a_move_at_once_never_overfill(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None]
) -> None:
    """The last place goes to one of them."""
    define(cash, max_beneficiaries=1)
    register(cash, "H1", "H2")
    enrolment = cash.do("targeting.enrol", {**PACKAGE, "groups": ["H1"]})["id"]
    move = {**PACKAGE, "beneficiary": "H2", "state": "active", "reason": "hardship"}
    approved, moved = together(cash, ("targeting.approve", {"enrolment": enrolment}), ("targeting.change_state", move))
    assert (approved["enrolled"], getattr(moved, "code", "done")) in ((1, "targeting.no_place"), (0, "done"))
    assert len(cash.do("targeting.beneficiaries", {**PACKAGE, "state": "active"})) == 1


def test_scoring_twice_at_once_leaves_one_score(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None]
) -> None:
    """The history has both, the present one."""
    define(cash, score={"base": "1", "variables": [{"name": "s", "kind": "continuous", "of": "size", "weight": "1"}]})
    register(cash, "H1", "H2", "H3")
    for result in together(cash, *[("targeting.score", PACKAGE)] * 3):
        assert result["scored"] == 3
    assert cash.rows("SELECT count(*) AS n FROM cash_transfer.score_current") == [{"n": 3}]
    assert cash.rows("SELECT count(*) AS n FROM cash_transfer.scores") == [{"n": 9}]
