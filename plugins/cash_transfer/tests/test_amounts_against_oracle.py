"""What a payroll owes is what a plain walk over each household computes: amounts, ceilings, arrears, deductions."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from attrs import define, field, frozen
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from imis_core.testing.app import TestApp

TODAY = date(2023, 6, 30)
CYCLES = [(date(2023, month, 1), date(2023, month, 28)) for month in (1, 2, 3)]
SINCE = [date(2023, 1, 1), date(2023, 1, 28), date(2023, 2, 10), date(2023, 3, 29)]
BIRTHS = [date(1950, 2, 1), date(1985, 5, 5), date(2005, 2, 10), date(2018, 3, 1), date(2023, 1, 15)]
MEMBER_EXPRESSIONS = ["age < 18", "sex = 'F'", "age >= 60 or relationship = 'head'"]
HOUSEHOLD_EXPRESSIONS = ["size >= 3", "any(members where age < 18)", "poor", "rooms < 3", "not poor or size = 1"]
CENTS = st.integers(0, 2000)


@frozen
class Member:
    born: date
    sex: str
    head: bool

    def holds(self, expression: str, on: date) -> bool:
        """Each of `MEMBER_EXPRESSIONS`, in Python."""
        age = on.year - self.born.year - ((on.month, on.day) < (self.born.month, self.born.day))
        return {
            "age < 18": age < 18,
            "sex = 'F'": self.sex == "F",
            "age >= 60 or relationship = 'head'": age >= 60 or self.head,
        }[expression]


@frozen
class Household:
    members: tuple[Member, ...]
    since: date
    poor: bool | None  # None: nobody asked
    rooms: int | None

    def holds(self, expression: str, on: date) -> bool:
        """Each of `HOUSEHOLD_EXPRESSIONS`, in Python; what is not known is not met."""
        size = len(self.members)
        return {
            "size >= 3": size >= 3,
            "any(members where age < 18)": any(m.holds("age < 18", on) for m in self.members),
            "poor": self.poor is True,
            "rooms < 3": self.rooms is not None and self.rooms < 3,
            "not poor or size = 1": self.poor is False or size == 1,
        }[expression]


@frozen
class Terms:
    base: int
    per_person: int
    count: str | None
    max_persons: int | None
    conditions: tuple[tuple[str, int], ...]
    ceiling: int | None
    late: bool
    missed: bool
    deductions: tuple[tuple[str | None, int], ...]
    limit: int

    def as_given(self) -> dict[str, Any]:
        """As a package's terms."""
        amount: dict[str, Any] = {"base": _text(self.base), "per_person": _text(self.per_person)}
        amount |= {} if self.count is None else {"count": self.count}
        amount |= {} if self.max_persons is None else {"max_persons": self.max_persons}
        amount["conditions"] = [
            {"name": f"c{n}", "when": when, "amount": _text(minor)} for n, (when, minor) in enumerate(self.conditions)
        ]
        deductions = [
            {"name": f"d{n}", "amount": _text(minor)} | ({} if when is None else {"when": when})
            for n, (when, minor) in enumerate(self.deductions)
        ]
        terms = {
            "amount": amount, "arrears": {"late": self.late, "missed": self.missed}, "deductions": deductions,
            "approval_limit": _text(self.limit),
        }  # fmt: skip
        return terms | ({} if self.ceiling is None else {"ceiling_per_beneficiary": _text(self.ceiling)})


def _text(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


@define
class Oracle:
    """The rule for one household after another: contract-cash-transfer.md, 'Terms'."""

    terms: Terms
    households: dict[str, Household]
    entitled: set[tuple[str, int]] = field(factory=set)  # household and cycle
    good: dict[tuple[str, int], tuple[int, ...]] = field(factory=dict)

    def regular(self, one: Household, cycle: int) -> tuple[int, list[tuple[str, int]]]:
        """A cycle's amount before arrears and deductions, with its steps."""
        on, terms = CYCLES[cycle][0], self.terms
        counted = [m for m in one.members if terms.count is None or m.holds(terms.count, on)]
        persons = len(counted) if terms.max_persons is None else min(len(counted), terms.max_persons)
        steps = [("base", terms.base), ("per_person", persons * terms.per_person)]
        steps += [(f"c{n}", minor if one.holds(when, on) else 0) for n, (when, minor) in enumerate(terms.conditions)]
        total = sum(minor for _, minor in steps)
        cut = total if terms.ceiling is None else min(total, terms.ceiling)
        return cut, [*steps, ("ceiling", cut - total)]

    def generate(self, cycle: int, code: str) -> dict[str, tuple[list[tuple[str, int]], str]]:
        """What a payroll of the cycle has for each household: the steps, and the state."""
        made = {}
        for name, one in sorted(self.households.items()):
            if (name, cycle) in self.entitled or one.since > min(CYCLES[cycle][1], TODAY):
                continue
            amount, steps = self.regular(one, cycle)
            owed = [
                n for n in range(cycle)
                if (name, n) not in self.entitled
                and (self.terms.late if one.since > CYCLES[n][1] else self.terms.missed)
            ]  # fmt: skip
            for n in owed:
                late, _ = self.regular(one, n)
                steps.append((f"arrears {code}{n}", late))
                amount += late
            for n, (when, minor) in enumerate(self.terms.deductions):
                met = when is None or one.holds(when, CYCLES[cycle][0])
                taken = min(amount, minor) if met else 0
                steps.append((f"d{n}", -taken))
                amount -= taken
            state = "awaiting_approval" if 0 < self.terms.limit < amount else "generated"
            made[name] = ([step for step in steps if step[1]], state)
            self.good[name, cycle] = (cycle, *owed)
        return made

    def keep(self, cycle: int, made: dict[str, Any]) -> None:
        """The payroll stands: what it made good is not owed any more."""
        self.entitled |= {(name, n) for name in made for n in self.good[name, cycle]}


MEMBERS = st.lists(st.builds(Member, st.sampled_from(BIRTHS), st.sampled_from("FM"), st.just(False)), max_size=4)
HOUSEHOLD = st.builds(
    lambda others, since, poor, rooms: Household((Member(BIRTHS[1], "F", True), *others), since, poor, rooms),
    MEMBERS, st.sampled_from(SINCE), st.sampled_from((True, False, None)), st.sampled_from((1, 3, None)),
)  # fmt: skip
TERMS = st.builds(
    Terms,
    base=CENTS,
    per_person=st.one_of(st.just(0), CENTS),
    count=st.one_of(st.none(), st.sampled_from(MEMBER_EXPRESSIONS)),
    max_persons=st.one_of(st.none(), st.integers(0, 3)),
    conditions=st.lists(st.tuples(st.sampled_from(HOUSEHOLD_EXPRESSIONS), CENTS), max_size=2).map(tuple),
    ceiling=st.one_of(st.none(), st.integers(1, 4000)),
    late=st.booleans(),
    missed=st.booleans(),
    deductions=st.lists(st.tuples(st.one_of(st.none(), st.sampled_from(HOUSEHOLD_EXPRESSIONS)), CENTS), max_size=2).map(
        tuple
    ),
    limit=st.one_of(st.just(0), st.integers(1, 3000)),
)
RUNS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(("kept", "kept", "rejected"))), min_size=1, max_size=4)


@settings(
    max_examples=10, deadline=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(terms=TERMS, households=st.lists(HOUSEHOLD, min_size=1, max_size=5), runs=RUNS)
def test_a_payroll_is_what_a_plain_walk_computes(
    cash: TestApp, terms: Terms, households: list[Household], runs: list[tuple[int, str]]
) -> None:
    """Whatever the terms, households and payrolls before: each entitlement has the steps and the state of the walk."""
    number = len(cash.do("cycles.list", {"scheme": "safe"})) // len(CYCLES)
    code, package = f"E{number}C", f"E{number}"
    named = {f"E{number}H{n}": one for n, one in enumerate(households)}
    cash.clock.set(date(2023, 1, 1))
    cash.do("benefit_packages.define", {
        "scheme": "safe", "code": package, "name": package, "valid_from": "2022-01-01", "terms": terms.as_given(),
    })  # fmt: skip
    for n, (starts, ends) in enumerate(CYCLES):
        cycle = {"scheme": "safe", "code": f"{code}{n}", "starts": starts, "ends": ends, "package": package}
        cash.do("cycles.open", cycle)
    cash.clock.set(TODAY)
    for name, one in named.items():
        _register(cash, name, one)
        move = {"scheme": "safe", "package": package, "beneficiary": name, "state": "active", "reason": "x"}
        cash.do("targeting.change_state", {**move, "on": one.since})
    oracle = Oracle(terms, named)
    for cycle, fate in runs:
        asked = {"scheme": "safe", "package": package, "cycle": f"{code}{cycle}"}
        payroll = cash.do("payroll.generate", asked, as_="anna")
        expected = oracle.generate(cycle, code)
        found = {
            e["beneficiary"]: ([(s["name"], int(Decimal(s["amount"]) * 100)) for s in e["steps"]], e["state"])
            for e in cash.do("payroll.entitlements", {"payroll": payroll["id"]})
        }
        assert found == expected
        total = sum(minor for steps, _ in expected.values() for _, minor in steps)
        assert payroll["amount"] == _text(total)
        if fate == "kept":
            oracle.keep(cycle, expected)
            cash.do("payroll.approve", {"payroll": payroll["id"]}, as_="ben")
        else:
            cash.do("payroll.reject", {"payroll": payroll["id"], "reason": "x"}, as_="ben")


def _register(app: TestApp, name: str, one: Household) -> None:
    members = [
        {"given_name": "A", "family_name": "B", "sex": m.sex, "birth_date": m.born,
         "relationship": "head" if m.head else "other"}
        for m in one.members
    ]  # fmt: skip
    known = {"poor": one.poor, "rooms": one.rooms}
    attributes = {attribute: value for attribute, value in known.items() if value is not None}
    app.do("beneficiaries.register_group", {"code": name, "members": members, "attributes": attributes})
