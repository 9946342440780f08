"""Random small worlds for the rules of claims, and how they are told to an application. It judges nothing.

A world has the shape that `oracle` reads. The commands get every code with a prefix of the example, so that many worlds
live in one database.
"""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from imis_core.testing.app import TestApp
from tests.claims.oracle import CONDITIONS, COUNTS, Claim, World, money

TODAY = date(2021, 12, 31)
YEAR = timedelta(days=365)
ITEM_CODES = ("I0", "I1", "I2", "I3", "I4")
FACILITY_CODES = ("H0", "H1")
CATEGORIES = (None, "surgery", "delivery", "antenatal", "hospitalisation", "consultation", "visit", "other")
CAPPED = ("surgery", "delivery", "antenatal", "hospitalisation", "consultation")
CARE_TYPES = ("inpatient", "outpatient", "both")

cents = st.one_of(st.integers(100, 50_000), st.integers(0, 50_000))
seldom = st.sampled_from([False] * 9 + [True])  # most of a world is as usual, or few lines would be paid
rarely = st.sampled_from([False, False, True])
often = st.sampled_from([True, True, True, False])
coming_of_age = st.dates(date(2002, 6, 1), date(2003, 12, 31))  # adult since, or not quite, at the target date
some_amount = st.one_of(st.integers(100, 10_000), st.integers(0, 60_000)).map(money)


def days(first: date, last: date) -> st.SearchStrategy[date]:
    return st.dates(first, last)


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    catalogue = [(date(1, 1, 1), draw(cents))]
    if draw(st.booleans()):
        catalogue.append((draw(days(date(2020, 9, 1), date(2021, 9, 1))), draw(cents)))
    kind = draw(st.sampled_from(["product", "service"]))
    return {
        "kind": kind,
        "category": draw(st.sampled_from(CATEGORIES)) if kind == "service" else None,
        "care_type": draw(st.sampled_from(CARE_TYPES)) if draw(seldom) else "both",
        "sexes": draw(st.sampled_from([["F"], ["M"]])) if draw(seldom) else ["F", "M"],
        "ages": draw(st.sampled_from([["adult"], ["child"]])) if draw(seldom) else ["adult", "child"],
        "catalogue": catalogue,
        "frequency": draw(st.sampled_from([None, None, None, 1, 20, 90])),
    }


@st.composite
def price_lists(draw: st.DrawFn) -> list[tuple[date, dict[str, Any]]]:
    starts = [date(2020, 1, 1), *([draw(days(date(2020, 11, 1), date(2021, 9, 1)))] if draw(st.booleans()) else [])]
    price = st.one_of(cents, cents, cents, st.just("catalogue"))
    named = st.lists(st.sampled_from(ITEM_CODES), min_size=4, unique=True)
    return [(start, {code: draw(price) for code in sorted(draw(named))}) for start in starts]


def ages_or_one(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        value, st.fixed_dictionaries({"adult": value, "child": value}), st.fixed_dictionaries({"child": value})
    )


@st.composite
def limits(draw: st.DrawFn, alone: bool) -> dict[str, Any]:
    """A limit of an item. Where packages meet, no limit is unlimited and no share whole by the terms of the second."""
    if draw(st.booleans()):
        least = 0 if alone else 1
        amount = st.integers(least, 60_000).map(money)
        given_ages = st.one_of(amount, st.fixed_dictionaries({"adult": amount, "child": amount}))
        return {"limit": "fixed", "amount": draw(given_ages)}
    percent = st.one_of(st.sampled_from([0, 50, 80, 100]), st.sampled_from(["12.5", "33.333333", "99.999999"]))
    return {"limit": "coinsurance", "percent": draw(ages_or_one(percent))}


@st.composite
def levels(draw: st.DrawFn) -> dict[str, Any]:
    level = draw(st.sampled_from(["treatment", "person", "policy"]))
    if draw(st.booleans()):
        return {"level": level, "general": draw(some_amount)}
    scopes = draw(st.sampled_from([["inpatient"], ["outpatient"], ["inpatient", "outpatient"]]))
    return {"level": level, **{scope: draw(some_amount) for scope in scopes}}


@st.composite
def copayments(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"name": "share"}
    if draw(often):
        found["when"] = draw(st.sampled_from(sorted(CONDITIONS)))
    if draw(st.booleans()):
        return {**found, "percent": draw(st.sampled_from([0, 10, 50, "33.333333", 100]))}
    return {**found, "amount": draw(st.integers(0, 20_000).map(money))}


@st.composite
def packages(draw: st.DrawFn, alone: bool) -> dict[str, Any]:
    terms: dict[str, Any] = {
        "insurance_months": 12, "grace_payment_months": 2, "premium_adult": "10", "premium_child": "10", "items": {},
    }  # fmt: skip
    for code in ITEM_CODES:
        if draw(seldom):
            continue
        item = draw(limits(alone))
        if draw(st.booleans()):
            item["price_origin"] = draw(st.sampled_from(["pricelist", "provider"]))
        visits = draw(st.lists(st.sampled_from(["other", "referral", "emergency"]), max_size=2, unique=True))
        if visits:
            item["visit_types"] = {visit: draw(limits(alone)) for visit in sorted(visits)}
        whole = {"waiting_months": st.integers(0, 3), "max_provisions": st.integers(0, 9)}
        whole["ceiling_exclusion"] = st.sampled_from(["hospital", "non_hospital", "both"])
        for name, value in whole.items():
            if draw(seldom):
                item[name] = draw(ages_or_one(value))
        terms["items"][code] = item
    for name in ("deductible", "ceiling"):
        if draw(often):
            terms[name] = draw(levels())
    if draw(st.booleans()):
        terms["ceiling_interpretation"] = draw(st.sampled_from(["stay", "facility"]))
    for name in COUNTS.values():
        if draw(seldom):
            terms[name] = draw(st.integers(0, 3))
    if draw(rarely):
        terms["category_caps"] = draw(st.dictionaries(st.sampled_from(CAPPED), some_amount, min_size=1))
    if draw(rarely) and terms.get("ceiling", {}).get("level") == "policy":
        terms["threshold_members"] = draw(st.integers(1, 3))
        terms["extra_member_ceiling"] = draw(some_amount)
        if draw(st.booleans()):
            terms["max_policy_ceiling"] = draw(some_amount)
    if draw(rarely):
        terms["copayments"] = draw(st.lists(copayments(), min_size=1, max_size=3))
    return terms


@st.composite
def policies(draw: st.DrawFn, package: str, family: int, members: list[str]) -> dict[str, Any]:
    """A policy with what happens to it: paid or not, suspended, resumed, terminated. 365 days, no leap day."""
    enrolled = draw(st.one_of(days(date(2021, 1, 1), date(2021, 1, 31)), days(date(2020, 7, 1), date(2021, 6, 30))))
    # Within the two months in which it may be paid.
    paid_on = enrolled + draw(st.integers(0, 50)) * timedelta(days=1) if not draw(seldom) else None
    pauses: list[tuple[date, date | None]] = []
    terminated = None
    if paid_on is not None:
        until = min(enrolled + YEAR - timedelta(days=1), TODAY)
        if draw(seldom):
            begin = draw(days(paid_on, until))
            pauses.append((begin, draw(st.one_of(st.none(), days(begin, until)))))
        elif draw(seldom):
            terminated = draw(days(paid_on, until))
    return {
        "package": package,
        "family": family,
        "members": members,
        "enrolled": enrolled,
        "effective": paid_on,
        "ends": date(enrolled.year + 1, enrolled.month, enrolled.day) - timedelta(days=1),
        "pauses": pauses,
        "terminated": terminated,
        "renewal": False,
    }


@st.composite
def renewals(draw: st.DrawFn, before: dict[str, Any]) -> dict[str, Any]:
    """The policy after one that has ended by now, renewed and paid on a day about its end."""
    renewed = draw(days(before["ends"] - timedelta(days=20), min(TODAY, before["ends"] + timedelta(days=30))))
    starts = max(renewed, before["ends"] + timedelta(days=1))
    return {
        **before, "enrolled": renewed, "effective": starts, "renewal": True, "pauses": [], "terminated": None,
        "ends": date(starts.year + 1, starts.month, starts.day) - timedelta(days=1),
    }  # fmt: skip


@st.composite
def claims_of(draw: st.DrawFn, code: str, numbers: list[str]) -> Claim:
    begin = draw(st.one_of(days(date(2021, 3, 25), date(2021, 11, 30)), days(date(2020, 8, 1), date(2021, 12, 20))))
    end = draw(st.sampled_from([None, begin, begin + timedelta(days=3)]))
    wild = draw(seldom)
    claimed_on = draw(days(begin - timedelta(days=2), begin)) if wild else max(begin, end or begin)
    lines = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "item": st.sampled_from(ITEM_CODES),
                    "quantity": st.one_of(st.integers(1, 5), st.integers(1, 9_999).map(lambda q: Fraction(q, 1000))),
                    "price": cents,
                }
            ),
            min_size=1,
            max_size=5,
        )
    )
    return {
        "code": code, "facility": draw(st.sampled_from(FACILITY_CODES)), "number": draw(st.sampled_from(numbers)),
        "from": begin, "to": end, "claimed_on": claimed_on,
        "visit_type": draw(st.sampled_from(["other", "referral", "emergency"])),
        "lines": [{**line, "quantity": Fraction(line["quantity"])} for line in lines],
    }  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> World:
    persons, families, held = {}, [], []
    alone = draw(st.booleans())
    for family in range(draw(st.integers(1, 3))):
        members = []
        for _ in range(draw(st.integers(1, 3))):
            number = f"P{len(persons)}"
            died = draw(days(date(2021, 9, 1), date(2021, 12, 1))) if draw(seldom) else None
            persons[number] = {
                "sex": draw(st.sampled_from("FMO")),
                "born": draw(st.one_of(days(date(1950, 1, 1), date(2015, 1, 1)), coming_of_age)),
                "died": died,
            }
            members.append(number)
        families.append(members)
        for package in ["A0"] if alone else draw(st.sampled_from([["A0"], ["A1"], ["A0", "A1"], ["A0", "A1"]])):
            held.append(draw(policies(package, family, members)))
            first = held[-1]
            whole = first["effective"] is not None and first["terminated"] is None and not first["pauses"]
            if whole and first["ends"] < TODAY and draw(st.booleans()):
                held.append({**draw(renewals(first)), "renews": len(held) - 1})
    facility = st.fixed_dictionaries(
        {
            "level": st.sampled_from(["hospital", "health_centre"]),
            "care_type": st.sampled_from(["both", "both", "both", *CARE_TYPES]),
            "lists": st.sampled_from([["L0"], ["L0", "L1"], ["L1", "L0"]]),
        }
    )
    return {
        "persons": persons,
        "families": families,
        "items": {code: draw(items()) for code in ITEM_CODES},
        "lists": {code: draw(price_lists()) for code in ("L0", "L1")},
        "facilities": {code: draw(facility) for code in FACILITY_CODES},
        "packages": {"A0": draw(packages(alone)), **({} if alone else {"A1": draw(packages(alone))})},
        "policies": held,
    }


class Told:
    """A world as an application knows it: `prefix` stands before every code and number."""

    def __init__(self, app: TestApp, prefix: str, world: World) -> None:
        self.app, self.prefix, self.world = app, prefix, world
        self.policies: list[str] = []  # ids, in the world's order
        self._catalogue()
        self._packages()
        self._people()

    def name(self, code: str) -> str:
        return f"{self.prefix}{code}"

    def _all(self, command: str, batch: list[dict[str, Any]]) -> list[Any]:
        outcomes = self.app.do_all(command, batch, atomic=True)
        assert all(isinstance(outcome, dict) for outcome in outcomes), outcomes
        return outcomes

    def _catalogue(self) -> None:
        world, name = self.world, self.name
        self._all(
            "catalogue.define_item",
            [
                {
                    "code": name(code), "name": code, "kind": item["kind"], "category": item["category"],
                    "care_type": item["care_type"], "frequency_days": item["frequency"],
                    "sexes": item["sexes"], "ages": item["ages"], "price": money(price),
                    **({} if start == date(1, 1, 1) else {"valid_from": start}),
                }
                for code, item in world["items"].items()
                for start, price in item["catalogue"]
            ],
        )  # fmt: skip
        self._all(
            "catalogue.define_price_list",
            [
                {
                    "code": name(code),
                    "valid_from": start,
                    "prices": {name(i): p if p == "catalogue" else money(p) for i, p in prices.items()},
                }
                for code, versions in world["lists"].items()
                for start, prices in versions
            ],
        )
        self._all(
            "providers.register",
            [
                {
                    "code": name(code), "name": code, "level": facility["level"], "care_type": facility["care_type"],
                    "price_lists": [name(price_list) for price_list in facility["lists"]],
                }
                for code, facility in world["facilities"].items()
            ],
        )  # fmt: skip

    def _packages(self) -> None:
        self._all(
            "benefit_packages.define",
            [
                {
                    "scheme": "chf", "code": self.name(code), "name": code, "valid_from": "2019-01-01",
                    "terms": {**terms, "items": {self.name(i): item for i, item in terms["items"].items()}},
                }
                for code, terms in self.world["packages"].items()
            ],
        )  # fmt: skip

    def _people(self) -> None:
        world, name = self.world, self.name
        self._all(
            "beneficiaries.register_group",
            [
                {
                    "code": name(f"F{index}"),
                    "members": [
                        {
                            "number": name(number), "given_name": "A", "family_name": "B",
                            "sex": world["persons"][number]["sex"], "birth_date": world["persons"][number]["born"],
                            "relationship": "head" if place == 0 else "other",
                        }
                        for place, number in enumerate(members)
                    ],
                }
                for index, members in enumerate(world["families"])
            ],
        )  # fmt: skip
        pairs: list[tuple[dict[str, Any], Any]] = []
        # Renewals after all first policies were paid; who renews pays the same day.
        for renewing in (False, True):
            batch = [policy for policy in world["policies"] if policy["renewal"] is renewing]
            enrolled = self._all(
                "coverage.renew" if renewing else "coverage.enrol",
                [self._renewal(policy, pairs) if renewing else self._enrolment(policy) for policy in batch],
            )
            paid = [
                {
                    "coverage": e["id"],
                    "amount": e["due"],
                    "on": p["enrolled" if renewing else "effective"],
                    "receipt": e["id"],
                }
                for p, e in zip(batch, enrolled, strict=True)
                if p["effective"] is not None
            ]
            self._all("contributions.record", paid)
            pairs += zip(batch, enrolled, strict=True)
        by_policy = {id(policy): answer["id"] for policy, answer in pairs}
        self.policies = [by_policy[id(policy)] for policy in world["policies"]]
        pauses = [(e["id"], pause) for p, e in pairs for pause in p["pauses"]]
        self._all("coverage.suspend", [{"coverage": policy, "on": begin} for policy, (begin, _) in pauses])
        self._all(
            "coverage.resume", [{"coverage": policy, "on": end} for policy, (_, end) in pauses if end is not None]
        )
        self._all(
            "coverage.terminate", [{"coverage": e["id"], "on": p["terminated"]} for p, e in pairs if p["terminated"]]
        )
        dead = [(number, person["died"]) for number, person in world["persons"].items() if person["died"]]
        self._all("beneficiaries.record_death", [{"number": name(number), "on": died} for number, died in dead])

    def _enrolment(self, policy: dict[str, Any]) -> dict[str, Any]:
        return {
            "scheme": "chf", "package": self.name(policy["package"]), "group": self.name(f"F{policy['family']}"),
            "on": policy["enrolled"],
        }  # fmt: skip

    def _renewal(self, policy: dict[str, Any], pairs: list[tuple[dict[str, Any], Any]]) -> dict[str, Any]:
        before = self.world["policies"][policy["renews"]]
        (answer,) = [answer for one, answer in pairs if one is before]
        return {"coverage": answer["id"], "on": policy["enrolled"]}

    def submission(self, claim: Claim) -> dict[str, Any]:
        """The input of `claims.submit`."""
        return {
            "code": self.name(claim["code"]), "provider": self.name(claim["facility"]),
            "number": self.name(claim["number"]), "from": claim["from"], "to": claim["to"],
            "claimed_on": claim["claimed_on"], "visit_type": claim["visit_type"], "diagnosis": "A09",
            "lines": [
                {
                    "item": self.name(line["item"]), "quantity": quantity_text(line["quantity"]),
                    "price": money(line["price"]),
                }
                for line in claim["lines"]
            ],
        }  # fmt: skip


def quantity_text(quantity: Fraction) -> str:
    thousandths = quantity * 1000
    assert thousandths.denominator == 1
    return f"{int(thousandths) // 1000}.{int(thousandths) % 1000:03d}"
