"""Subsidies by rules over households and members, against a plain reading of the contract's sentence about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.opening import Playground
from imis_core.testing.app import TestApp, test_application
from imis_core.testing.auditor import assert_sound

TODAY = date(2021, 6, 30)
Member = dict[str, Any]
examples = count()


def age(member: Member) -> int:
    born: date = member["birth_date"]
    return TODAY.year - born.year - ((TODAY.month, TODAY.day) < (born.month, born.day))


# Conditions as packages write them, and what they mean: of the household's members, the first of them the head.
HOUSEHOLD: dict[str, Callable[[list[Member]], bool]] = {
    "size >= 3": lambda members: len(members) >= 3,
    "any(members where age >= 60)": lambda members: any(age(m) >= 60 for m in members),
    "count(members where age < 18) >= 2": lambda members: sum(age(m) < 18 for m in members) >= 2,
    "head.sex = 'F'": lambda members: members[0]["sex"] == "F",
    "not any(members where sex = 'M')": lambda members: all(m["sex"] != "M" for m in members),
}
MEMBER: dict[str, Callable[[Member], bool]] = {
    "age >= 60": lambda member: age(member) >= 60,
    "age < 18 and sex = 'F'": lambda member: age(member) < 18 and member["sex"] == "F",
    "relationship = 'child'": lambda member: member["relationship"] == "child",
}
cents = st.integers(0, 5_000)


def money(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"


@st.composite
def rules(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        of = draw(st.sampled_from(["household", "member"]))
        when = draw(st.sampled_from(sorted(HOUSEHOLD if of == "household" else MEMBER)))
        percent = draw(st.sampled_from(["0", "10", "33.333", "50", "99.999999", "100"]))
        found.append({"name": f"rule{number}", "when": when, "percent": percent, "of": of})
    return found


@st.composite
def households(draw: st.DrawFn) -> list[Member]:
    born = st.one_of(st.dates(date(1950, 1, 1), date(1965, 1, 1)), st.dates(date(1990, 1, 1), date(2020, 1, 1)))
    return [
        {
            "sex": draw(st.sampled_from("FM")), "birth_date": draw(born),
            "relationship": "head" if place == 0 else draw(st.sampled_from(["child", "spouse", "other"])),
        }
        for place in range(draw(st.integers(1, 5)))
    ]  # fmt: skip


@st.composite
def prices(draw: st.DrawFn) -> dict[str, int]:
    names = ("premium_adult", "premium_child", "registration_fee", "assembly_fee")
    return {name: draw(cents) for name in names} | {
        name: draw(st.one_of(st.just(0), cents)) for name in ("registration_lump_sum", "assembly_lump_sum")
    }


def charges(terms: dict[str, int], members: list[Member]) -> tuple[int, list[int]]:
    """What is the household's as a whole, and each member's own: fees where there is no lump sum above 0."""
    common, each = 0, 0
    for kind in ("registration", "assembly"):
        common += terms[f"{kind}_lump_sum"]
        each += 0 if terms[f"{kind}_lump_sum"] else terms[f"{kind}_fee"]
    return common, [terms["premium_adult" if age(m) >= 18 else "premium_child"] + each for m in members]


def subsidised(told: list[dict[str, Any]], members: list[Member], common: int, own: list[int]) -> dict[str, Fraction]:
    """The exact part of each rule: the first that holds; `member`: on that member's own premium and fees."""
    parts: dict[str, Fraction] = {}

    def give(amount: int, holds: Callable[[dict[str, Any]], bool]) -> None:
        first = next((rule for rule in told if holds(rule)), None)
        if first is not None:
            parts[first["name"]] = parts.get(first["name"], Fraction(0)) + amount * Fraction(first["percent"]) / 100

    give(common, lambda rule: rule["of"] == "household" and HOUSEHOLD[rule["when"]](members))
    for member, amount in zip(members, own, strict=True):
        give(
            amount,
            lambda rule, m=member: (
                HOUSEHOLD[rule["when"]](members) if rule["of"] == "household" else MEMBER[rule["when"]](m)
            ),
        )
    return parts


@pytest.fixture(scope="module")
def app(playground: Playground) -> Iterator[TestApp]:
    with test_application(playground, TODAY) as opened:
        yield opened
        assert_sound(opened)


@settings(max_examples=40, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
@given(prices(), rules(), households())
def test_the_first_rule_that_holds_pays_its_part(
    app: TestApp, terms: dict[str, int], told: list[dict[str, Any]], members: list[Member]
) -> None:
    """The household's own part is rounded half up once; what each rule owes adds up to the rest, each by less than one
    minor unit from its exact part."""
    code = f"S{next(examples):04d}"
    app.do(
        "benefit_packages.define",
        {
            "scheme": "chf", "code": code, "name": code, "valid_from": "2019-01-01",
            "terms": {
                "insurance_months": 12, "subsidies": told, **{name: money(amount) for name, amount in terms.items()},
            },
        },
    )  # fmt: skip
    named = [
        {"number": f"{code}-{n}", "given_name": "A", "family_name": "B", **member} for n, member in enumerate(members)
    ]
    app.do("beneficiaries.register_group", {"code": code, "members": named})
    policy = app.do("coverage.enrol", {"scheme": "chf", "package": code, "group": code})
    common, own = charges(terms, members)
    value = common + sum(own)
    parts = subsidised(told, members, common, own)
    due = (value - sum(parts.values(), Fraction(0)) + Fraction(1, 2)).__floor__()
    assert (policy["value"], policy["due"], policy["subsidy"]) == (money(value), money(due), money(value - due))
    rows = app.rows(
        "SELECT category, amount_minor FROM core.coverage_subsidies WHERE coverage = :coverage",
        coverage=app.ids.decode("coverages", policy["id"]),
    )
    owed = {row["category"]: row["amount_minor"] for row in rows}
    assert sum(owed.values()) == value - due
    for name in {*parts, *owed}:
        assert abs(owed.get(name, 0) - parts.get(name, Fraction(0))) < 1
