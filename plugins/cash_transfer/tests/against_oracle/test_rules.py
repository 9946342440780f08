"""Scores, selections and amounts as the database computes them are those of the plain rules, for any terms."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.opening import Playground
from imis_core.testing.app import TestApp, test_application

from .oracle import CONDITIONS, NUMBERS, ON, Household, Member, amount, score, select

SETTINGS = {"schemes": {"safe": {"type": "cash_transfer"}}}
PARENTS = {"D1": "R", "D2": "R", "V1": "D1", "V2": "D1", "V3": "D2"}
PLACES = ["R", "D1", "D2", "V1", "V2", "V3", "X"]
CODES = count(1)
EXAMPLES = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def households() -> list[Household]:
    """Three dozen households of all sorts, the same in every run; some answers are missing."""
    chance = random.Random(20230131)
    found = []
    for index in range(36):
        attributes = {
            "zone": chance.choice(["urban", "rural"]),
            "rooms": chance.choice([None, 0, 1, 2, 3, 4]),
            "water": chance.choice([None, "well", "tap", "river"]),
            "land": chance.choice([None, True, False, True]),
        }
        members = tuple(
            Member(
                # Nobody's birthday is in January: ages are the same on the first days of the tests' two cycles.
                date(1960 + chance.randrange(63), chance.randrange(2, 13), chance.randrange(1, 28)),
                chance.choice([None, True, False]),
                chance.choice([None, 1, 2, 7]),
            )
            for _ in range(chance.randrange(1, 6))
        )
        found.append(
            Household(
                f"H{index:02}", date(2023, 1, 1) + timedelta(days=index // 9), chance.choice([None, *PLACES]),
                {k: v for k, v in attributes.items() if v is not None}, members, excluded=index % 11 == 5,
            )
        )  # fmt: skip
    return found


HOUSEHOLDS = households()


@pytest.fixture(scope="module")
def app(playground: Playground) -> Iterator[TestApp]:
    with test_application(playground, date(2023, 1, 1), SETTINGS, plugins=["cash_transfer"]) as app:
        for place in PLACES:
            app.do("locations.add", {"code": place, "name": place, "level": place[0], "parent": PARENTS.get(place)})
        for household in HOUSEHOLDS:
            members = [
                {
                    "given_name": "A", "family_name": "B", "sex": "F", "birth_date": member.born.isoformat(),
                    "relationship": "other" if index else "head",
                    "attributes": {
                        k: v for k, v in (("works", member.works), ("cows", member.cows)) if v is not None
                    },
                }
                for index, member in enumerate(household.members)
            ]  # fmt: skip
            app.do(
                "beneficiaries.register_group",
                {"code": household.code, "location": household.place, "attributes": household.attributes,
                 "members": members},
                on=household.registered,
            )  # fmt: skip
            if household.excluded:
                app.do("registry.self_exclude", {"group": household.code})
        app.clock.set(ON)
        yield app


def define(app: TestApp, terms: dict[str, Any]) -> dict[str, str]:
    code = f"P{next(CODES)}"
    app.do("benefit_packages.define", {
        "scheme": "safe", "code": code, "name": code, "valid_from": "2022-01-01", "terms": terms,
    })  # fmt: skip
    return {"scheme": "safe", "package": code}


decimals = st.decimals(min_value=-5, max_value=5, places=3).map(str)
by_area = st.one_of(decimals, st.fixed_dictionaries({"urban": decimals, "rural": decimals}))
small = st.integers(min_value=0, max_value=6).map(str)
numbers = st.sampled_from(sorted(NUMBERS))
conditions = st.sampled_from(sorted(CONDITIONS))
missing: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {}, optional={"missing": st.one_of(st.just("refuse"), st.builds(dict, add=by_area))}
)
kinds = st.one_of(
    st.fixed_dictionaries({"kind": st.just("equals"), "weight": by_area, "of": st.just("rooms"),
                           "value": st.integers(0, 4)}),
    st.fixed_dictionaries({"kind": st.just("equals"), "weight": by_area, "of": st.just("water"),
                           "value": st.sampled_from(["well", "tap"])}),
    st.fixed_dictionaries({"kind": st.just("continuous"), "weight": by_area, "of": numbers}),
    st.fixed_dictionaries({"kind": st.just("banded"), "of": numbers, "bands": st.lists(
        st.tuples(small, st.integers(0, 3), by_area).map(
            lambda b: {"from": b[0], "to": str(int(b[0]) + b[1]), "add": b[2]}), min_size=1, max_size=3)}),
    st.fixed_dictionaries({"kind": st.just("lookup"), "of": st.just("water"), "table": st.dictionaries(
        st.sampled_from(["well", "tap", "river"]), by_area, min_size=1)}),
    st.fixed_dictionaries({"kind": st.just("ratio"), "over": numbers, "under": numbers, "weight": by_area},
                          optional={"under_min": st.sampled_from(["1", "2", "0.3"])}),
    st.fixed_dictionaries({"kind": st.just("yes_no"), "of": conditions, "weight": by_area}),
)  # fmt: skip
variables = st.lists(st.tuples(kinds, missing), min_size=1, max_size=5).map(
    lambda found: [{**kind, **policy, "name": f"v{index}"} for index, (kind, policy) in enumerate(found)]
)
scoring = st.fixed_dictionaries(
    {"area": st.just("zone"), "base": by_area, "variables": variables},
    optional={
        "scale": st.sampled_from(["1", "100", "-0.5", "0.03"]), "round": st.sampled_from(["half_up", "down", "up"]),
        "decimals": st.integers(0, 4), "missing": st.one_of(st.just("refuse"), st.builds(dict, add=by_area)),
    },
)  # fmt: skip


@EXAMPLES
@given(terms=scoring)
def test_scores_are_exact(app: TestApp, terms: dict[str, Any]) -> None:
    """Every score, what each variable added, and whose answers are missing."""
    result = app.do("targeting.score", define(app, {"score": terms}))
    expected = {h.code: score(terms, h) for h in HOUSEHOLDS}
    assert {r["beneficiary"]: r["missing"] for r in result["refusals"]} == {
        code: found for code, found in expected.items() if isinstance(found, list)
    }
    scored = {code: found for code, found in expected.items() if isinstance(found, tuple)}
    assert {s["beneficiary"]: Fraction(s["score"]) for s in result["scores"]} == {c: f[0] for c, f in scored.items()}
    for shown in result["scores"]:
        for step, add in zip(shown["steps"], scored[shown["beneficiary"]][1], strict=True):
            assert abs(Fraction(step["add"]) - add) <= Fraction(1, 2 * 10**30)
    assert (result["scored"], result["refused"]) == (len(scored), len(HOUSEHOLDS) - len(scored))


amounts = st.decimals(min_value=0, max_value=50, places=2).map(str)
rules = st.fixed_dictionaries(
    {},
    optional={
        "amount": st.fixed_dictionaries({}, optional={
            "base": amounts, "per_person": amounts, "count": st.sampled_from(["age < 18", "works"]),
            "max_persons": st.integers(0, 4),
            "conditions": st.lists(
                st.fixed_dictionaries({"name": st.sampled_from(["a", "b"]), "when": conditions, "amount": amounts}),
                max_size=3,
            ),
        }),
        "ceiling_per_beneficiary": amounts,
        "deductions": st.lists(
            st.fixed_dictionaries({"name": st.sampled_from(["x", "y"]), "amount": amounts},
                                  optional={"when": conditions}),
            max_size=3,
        ),
        "criteria": conditions,
        "max_beneficiaries": st.integers(0, 20),
        "quota": st.fixed_dictionaries(
            {"places": st.dictionaries(st.sampled_from(PLACES), st.integers(0, 6), max_size=4)},
            optional={"others": st.integers(0, 2)},
        ),
    },
)  # fmt: skip
SCORE = {
    "base": "0", "missing": "refuse",
    "variables": [{"name": "rooms", "kind": "continuous", "of": "rooms", "weight": "2"}],
}  # fmt: skip


@EXAMPLES
@given(rule=rules, scored=st.booleans(), cutoff=st.one_of(st.none(), st.integers(0, 8).map(str)))
def test_selections_and_their_cost_are_as_the_rules_say(
    app: TestApp, rule: dict[str, Any], scored: bool, cutoff: str | None
) -> None:
    """Outcome, rank and reason of every candidate, and what a cycle of the selected costs."""
    terms = {**rule, **({"score": SCORE} if scored else {}), **({"cutoff": cutoff} if scored and cutoff else {})}
    package = define(app, terms)
    scores: dict[str, Fraction] = {}
    if scored:
        app.do("targeting.score", package)
        scores = {h.code: f[0] for h in HOUSEHOLDS if isinstance(f := score(SCORE, h), tuple)}
    shown = app.do("targeting.preview", package)
    expected = select(terms, HOUSEHOLDS, scores, PARENTS)
    assert {line["beneficiary"]: (line["outcome"], line["rank"], line["reason"]) for line in shown["list"]} == {
        code: (p.outcome, p.rank, p.reason) for code, p in expected.items()
    }
    assert [line["beneficiary"] for line in shown["list"]] == sorted(expected)
    outcomes = [p.outcome for p in expected.values()]
    for name in ("selected", "waiting", "not_selected"):
        assert shown[name] == outcomes.count(name)
    cost = sum(amount(terms, h)[0] for h in HOUSEHOLDS if expected[h.code].outcome == "selected")
    assert Fraction(shown["cost_per_cycle"]) == Fraction(cost, 100)


@EXAMPLES
@given(rule=rules, limit=amounts, missed=st.booleans())
def test_a_payroll_pays_what_the_rules_say(app: TestApp, rule: dict[str, Any], limit: str, missed: bool) -> None:
    """Every entitlement's amount, steps and state; an earlier cycle that nobody generated comes as arrears."""
    terms = {k: v for k, v in rule.items() if k not in ("max_beneficiaries", "quota", "criteria")}
    terms |= {"approval_limit": limit, "arrears": {"missed": missed, "late": missed}}
    package = define(app, terms)
    enrolment = app.do("targeting.enrol", package)
    app.do("targeting.approve", {"enrolment": enrolment["id"]}, as_="ben")
    number = package["package"]
    for code, starts, ends in (("A", "2023-01-01", "2023-01-30"), ("B", "2023-01-31", "2023-02-28")):
        app.do("cycles.open", {**package, "code": f"{number}{code}", "starts": starts, "ends": ends})
    payroll = app.do("payroll.generate", {**package, "cycle": f"{number}B"})
    found = {e["beneficiary"]: e for e in app.do("payroll.entitlements", {"payroll": payroll["id"]})}
    assert sorted(found) == [h.code for h in HOUSEHOLDS if not h.excluded]
    for household in HOUSEHOLDS:
        if household.excluded:
            continue
        regular = amount({k: v for k, v in terms.items() if k != "deductions"}, household)[0]
        arrears = regular if missed else 0
        total, steps = amount(terms, household, arrears)
        if arrears:
            position = len([n for n, _ in steps if n in ("base", "per_person", "a", "b", "ceiling")])
            steps.insert(position, (f"arrears {number}A", arrears))
        shown = found[household.code]
        assert Fraction(shown["amount"]) == Fraction(total, 100)
        assert [(s["name"], int(Fraction(s["amount"]) * 100)) for s in shown["steps"]] == steps
        above = Fraction(limit) > 0 and Fraction(total, 100) > Fraction(limit)
        assert shown["state"] == ("awaiting_approval" if above else "generated")
