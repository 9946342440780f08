"""Random worlds, claims and proposals: the simulation is what the plain rules make of them, claim by claim."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.opening import Playground
from imis_core.simulation import judging
from imis_core.testing.app import TestApp, test_application
from tests.claims import oracle
from tests.claims.oracle import Claim, World, money, target_date
from tests.claims.test_against_oracle import Expected
from tests.claims.worlds import TODAY, Told, claims_of, packages, worlds

PACKAGE = "A0"  # the one that the proposal replaces
examples = count()


@pytest.fixture(scope="module")
def app(playground: Playground) -> Iterator[TestApp]:
    with test_application(playground, TODAY) as opened:
        opened.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
        yield opened


@st.composite
def proposals(draw: st.DrawFn) -> tuple[World, list[Claim], dict[str, Any]]:
    """A world, its claims in order of target date and code, and other terms for its first package."""
    world = draw(worlds())
    numbers = sorted(world["persons"])
    claims = [draw(claims_of(f"C{i}", numbers)) for i in range(draw(st.integers(2, 8)))]
    claims.sort(key=lambda claim: (target_date(claim), claim["code"]))
    return world, claims, draw(packages(alone=len(world["packages"]) == 1))


def expected(world: World, claims: list[Claim]) -> Expected:
    """What the rules make of the claims, submitted and processed in order."""
    told = Expected(world)
    for claim in claims:
        told.submit(claim)
    told.process(None)
    return told


def of_package(world: World, claim: Claim) -> bool:
    covering = oracle.covering(world, claim["number"], target_date(claim))
    return any(world["policies"][policy]["package"] == PACKAGE for policy in covering)


def cost(told: Expected, chosen: list[Claim]) -> dict[str, int]:
    """By month of the target date."""
    found: dict[str, int] = {}
    for claim in chosen:
        month = f"{target_date(claim):%Y-%m}"
        result = told.results.get(claim["code"])
        found[month] = found.get(month, 0) + (result["payable"] if result else 0)
    return found


def rejections(told: Expected, chosen: list[Claim]) -> dict[str, int]:
    found: dict[str, int] = {}
    for claim in chosen:
        for line in told.verdicts[claim["code"]]["lines"]:
            if line["rejection"]:
                found[line["rejection"]] = found.get(line["rejection"], 0) + 1
    return found


def was_alive(world: World, claim: Claim) -> bool:
    died = world["persons"][claim["number"]]["died"]
    return died is None or (claim.get("to") or claim["from"]) <= died


@settings(
    derandomize=True, max_examples=20, deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(proposals())
def test_the_simulation_is_what_the_rules_say(
    app: TestApp, proposal: tuple[World, list[Claim], dict[str, Any]]
) -> None:
    """The package in force comes to what was paid, the proposal to what would have been paid, month by month; and in
    parts of a few claims that have nothing in common as in one go."""
    world, claims, terms = proposal
    told = Told(app, f"S{next(examples):04d}", world)
    for claim in claims:  # one at a time: in the order of their days
        app.do("claims.submit", told.submission(claim))
    app.do("claims.process", {"scheme": "chf"})
    asked = {
        "scheme": "chf", "package": told.name(PACKAGE), "from": "2020-01-01", "to": TODAY,
        "terms": {**terms, "items": {told.name(code): item for code, item in terms["items"].items()}},
    }  # fmt: skip
    answer = app.do("claims.simulate", asked)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(judging, "PART", 1)
        assert app.do("claims.simulate", asked) == answer
    # A claim for somebody who was dead stays refused, whatever the terms.
    chosen = [claim for claim in claims if of_package(world, claim) and was_alive(world, claim)]
    before = expected(world, claims)
    after = expected({**world, "packages": {**world["packages"], PACKAGE: terms}}, claims)
    assert answer["claims"] == len(chosen)
    for name in ("actual", "like_for_like", "before"):
        assert answer[name] == money(sum(cost(before, chosen).values())), name
    months = {one["name"]: (one["before"], one["after"]) for one in answer["by_month"]}
    assert months == {
        month: (money(amount), money(cost(after, chosen)[month])) for month, amount in cost(before, chosen).items()
    }
    refused = {one["reason"]: (one["before"], one["after"]) for one in answer["rejections"]}
    was, would = rejections(before, chosen), rejections(after, chosen)
    assert refused == {reason: (was.get(reason, 0), would.get(reason, 0)) for reason in {*was, *would}}
    assert app.do("ledger.balances", {"scheme": "chf"})["balanced"]
