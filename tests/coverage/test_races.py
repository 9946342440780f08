"""Two who do the same at the same moment: one of them is refused cleanly, and nothing is written twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from imis_core.errors import Refusal
from imis_core.testing.app import TestApp

pytestmark = pytest.mark.audited
ROUNDS = 8


def prepare(app: TestApp, count: int) -> None:
    terms = {"insurance_months": 12, "premium_adult": "100"}
    app.do(
        "benefit_packages.define",
        {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2019-01-01", "terms": terms},
    )
    for i in range(count):
        member = {"number": f"N{i}", "given_name": "A", "family_name": "B", "sex": "M", "birth_date": "1980-01-01"}
        app.do("beneficiaries.register_group", {"code": f"F{i}", "members": [{**member, "relationship": "head"}]})


def together(app: TestApp, command: str, batches: list[list[dict[str, Any]]]) -> list[list[Any]]:
    """Run batches of a command in threads that start at once."""
    app.as_user("administrator")
    barrier = Barrier(len(batches))

    def run(batch: list[dict[str, Any]]) -> list[Any]:
        barrier.wait()
        return app.do_all(command, batch)

    with ThreadPoolExecutor(len(batches)) as pool:
        return list(pool.map(run, batches))


def codes(outcomes: list[Any]) -> list[str]:
    return sorted(o.code if isinstance(o, Refusal) else "done" for o in outcomes)


def test_two_enrolments_at_once_give_one_policy(app: TestApp) -> None:
    """The persons are locked before anything is judged, so the second sees the first one's policy."""
    prepare(app, ROUNDS)
    for i in range(ROUNDS):
        asked = {"scheme": "chf", "package": "P", "group": f"F{i}"}
        first, second = together(app, "coverage.enrol", [[asked], [asked]])
        assert codes([*first, *second]) == ["coverage.already_enrolled", "done"]
    assert len(app.rows("SELECT id FROM core.coverages")) == ROUNDS


def test_two_contributions_with_one_receipt_at_once_give_one_contribution(app: TestApp) -> None:
    """The same receipt for two policies: one is recorded, and the rest of the other batch is judged without it."""
    prepare(app, 2 * ROUNDS)
    for i in range(ROUNDS):
        pair = [
            app.do("coverage.enrol", {"scheme": "chf", "package": "P", "group": f"F{2 * i + k}"})["id"]
            for k in range(2)
        ]
        batches = [
            [
                {"coverage": policy, "amount": "60", "receipt": f"R{i}"},
                {"coverage": policy, "amount": "100", "receipt": f"S{i}-{k}"},
            ]
            for k, policy in enumerate(pair)
        ]
        outcomes = together(app, "contributions.record", batches)
        # Who wins the receipt has 60 recorded and then too much; who loses it pays the 100 in full.
        assert sorted(codes(o) for o in outcomes) == [
            ["contributions.duplicate_receipt", "done"],
            ["contributions.overpaid", "done"],
        ]
    (row,) = app.rows("SELECT sum(amount_minor)::bigint AS paid FROM core.contributions")
    assert row["paid"] == ROUNDS * (6000 + 10000)


def test_one_policy_is_never_paid_twice(app: TestApp) -> None:
    """Two payments of the whole contribution at once: the second is too much."""
    prepare(app, ROUNDS)
    for i in range(ROUNDS):
        policy = app.do("coverage.enrol", {"scheme": "chf", "package": "P", "group": f"F{i}"})["id"]
        batches = [[{"coverage": policy, "amount": "100", "receipt": f"R{i}-{k}"}] for k in range(2)]
        outcomes = together(app, "contributions.record", batches)
        assert codes([o for batch in outcomes for o in batch]) == ["contributions.overpaid", "done"]
