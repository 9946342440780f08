"""Random terms, households and stories: enrol, join, die, pay, take back, renew; each step against the oracle."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

from .oracle import Policy

SERIAL = count(1)
CATEGORIES = ("ultra_poor", "poor", "odd")


def amounts() -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, 99, 10_000, 33_333])


@st.composite
def terms_of_packages(draw: Any) -> dict[str, Any]:
    """Terms with amounts in minor units."""
    terms: dict[str, Any] = {"insurance_months": draw(st.sampled_from([1, 6, 12]))}
    for name in ("premium_adult", "premium_child"):
        terms[name] = draw(amounts())
    optional: dict[str, st.SearchStrategy[Any]] = {
        "lump_sum": amounts(), "threshold_members": st.integers(1, 3), "max_members": st.integers(1, 5),
        "registration_lump_sum": amounts(), "registration_fee": amounts(), "assembly_lump_sum": amounts(),
        "assembly_fee": amounts(), "administration_months": st.integers(0, 2),
        "grace_enrolment_months": st.integers(0, 3), "grace_renewal_months": st.integers(0, 3),
        "grace_payment_months": st.integers(0, 3), "max_installments": st.integers(1, 3),
        "underpaid": st.sampled_from(["idle", "active", "suspended"]), "overpayment": st.just("credit"),
        "cycles": st.sampled_from([["01-01"], ["01-31", "07-01"], ["02-28", "03-31", "06-30", "12-31"]]),
        "enrolment_discount": discounts(), "renewal_discount": discounts(),
        "subsidies": st.fixed_dictionaries({c: st.sampled_from(["0", "33.333", "75", "100"]) for c in CATEGORIES}),
    }  # fmt: skip
    for name, strategy in optional.items():
        if draw(st.booleans()):
            terms[name] = draw(strategy)
    return terms


def discounts() -> st.SearchStrategy[dict[str, Any]]:
    percents = st.sampled_from(["3.333", "10", "50"])
    return st.fixed_dictionaries({"percent": percents, "months": st.integers(0, 2)})


def members() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "born": st.sampled_from([date(1960, 2, 29), date(1990, 5, 5), date(2003, 1, 31), date(2015, 8, 20)]),
            "relationship": st.sampled_from(["spouse", "child", "other"]),
        }
    )


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 50),  # days later
        st.sampled_from(["join", "pay", "rest", "part", "back", "renew", "die"]),
        st.integers(0, 10**6),
    ),
    max_size=8,
)


def as_text(terms: dict[str, Any]) -> dict[str, Any]:
    money = ("premium", "lump_sum", "registration", "assembly")
    return {n: f"{v / 100:.2f}" if n.startswith(money) else v for n, v in terms.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    terms=terms_of_packages(), family=st.lists(members(), min_size=1, max_size=4),
    newcomers=st.lists(members(), min_size=8, max_size=8),
    category=st.sampled_from([None, *CATEGORIES]), start=st.dates(date(2021, 1, 1), date(2021, 12, 31)), events=EVENTS,
)  # fmt: skip
def test_policies_stand_as_the_oracle_tells(
    app: TestApp, terms: dict[str, Any], family: list[dict[str, Any]], newcomers: list[dict[str, Any]],
    category: str | None, start: date, events: list[tuple[int, str, int]],
) -> None:  # fmt: skip
    """Dates, contribution, subsidy, state and first days are those of the rules, whatever happens in which order."""
    Story(app, terms, family, newcomers, category, start).play(events)


class Story:
    """One household in one package of its own, in the system and in the oracle."""

    def __init__(
        self, app: TestApp, terms: dict[str, Any], family: list[dict[str, Any]], newcomers: list[dict[str, Any]],
        category: str | None, start: date,
    ) -> None:  # fmt: skip
        self.app, self.terms, self.newcomers, self.category, self.today = app, terms, list(newcomers), category, start
        self.name = f"S{next(SERIAL)}"
        self.receipts: list[str] = []
        self.gone: set[str] = set()
        app.clock.set(start)
        package = {"scheme": "chf", "code": self.name, "name": self.name, "valid_from": "2020-01-01"}
        app.do("benefit_packages.define", {**package, "terms": as_text(terms)})
        self.members = [{**m, "number": f"{self.name}-{i}"} for i, m in enumerate(family)]
        self.members[0] = {**self.members[0], "relationship": "head"}
        attributes = {} if category is None else {"category": category}
        rows = [self._person(m) for m in self.members]
        app.do("beneficiaries.register_group", {"code": self.name, "attributes": attributes, "members": rows})
        shown = app.do("coverage.enrol", {"scheme": "chf", "package": self.name, "group": self.name})
        self.id = shown["id"]
        self.policy = Policy(terms, self.members, category, start)
        self.all = [(self.id, self.policy)]
        self.compare()

    def _person(self, member: dict[str, Any]) -> dict[str, Any]:
        return {
            "number": member["number"], "given_name": "A", "family_name": "B", "sex": "F",
            "birth_date": str(member["born"]), "relationship": member["relationship"],
        }  # fmt: skip

    def play(self, events: list[tuple[int, str, int]]) -> None:
        for days, what, number in events:
            self.today += timedelta(days=days)
            self.app.clock.set(self.today)
            getattr(self, f"_{what}")(number)
            self.compare()

    def _join(self, number: int) -> None:
        member = {**self.newcomers.pop(), "number": f"{self.name}-n{len(self.newcomers)}"}
        self.app.do("beneficiaries.add_member", {"group": self.name, **self._person(member)})
        self.members = [*self.members, member]
        for _, policy in self.all:
            lapsed = policy.told()[0] == "idle" and policy.last_payment < self.today
            if policy.ends >= self.today and not lapsed:
                policy.join(member, self.today)

    def _die(self, number: int) -> None:
        """A member other than the head; who dies stays charged, and is no member of what is renewed."""
        living = [m for m in self.members[1:] if m["number"] not in self.gone]
        if living:
            dead = living[number % len(living)]["number"]
            self.app.do("beneficiaries.record_death", {"number": dead})
            self.gone.add(dead)

    def _pay(self, number: int) -> None:
        self._record(number % 50_000 + 1)

    def _part(self, number: int) -> None:
        left = self.policy.due - self.policy.paid
        self._record(max(left // 2, 1))

    def _rest(self, number: int) -> None:
        self._record(max(self.policy.due - self.policy.paid, 1))

    def _record(self, minor: int) -> None:
        receipt = f"{self.name}-R{next(SERIAL)}"
        data = {"coverage": self.id, "amount": f"{minor / 100:.2f}", "receipt": receipt}
        wanted = self.policy.refusal(minor, self.today)
        if wanted == "contributions.overdue" and self.policy.ends >= self.today and minor % 2:
            data["override_reason"] = "by decision"
            limit = self.terms.get("max_installments", 10**6)
            parts = sum(e["what"] == "pay" and e["receipt"] is not None for e in self.policy.story)
            left = self.policy.due - self.policy.paid
            too_much = minor > left and self.terms.get("overpayment") != "credit"
            wanted = (
                "contributions.too_many_installments"
                if parts >= limit
                else "contributions.overpaid"
                if too_much
                else None
            )
        try:
            self.app.do("contributions.record", data)
            found = None
        except ImisError as error:
            found = error.code
        assert found == wanted
        if found is None:
            self.policy.pay(minor, self.today, receipt)
            self.receipts.append(receipt)

    def _back(self, number: int) -> None:
        if not self.receipts:
            return
        receipt = self.receipts.pop(number % len(self.receipts))
        other = self.app.as_user("ben", "administrator")
        self.app.do("contributions.reverse", {"receipt": receipt, "reason": "bounced"}, as_=other)
        for _, policy in self.all:
            policy.take_back(receipt)

    def _renew(self, number: int) -> None:
        state, first, _ = self.policy.told()
        if first is None or state != "active" or any(p.before is self.policy for _, p in self.all):
            return
        credit = max(self.policy.paid - self.policy.due, 0)
        living = [m for m in self.members if m["number"] not in self.gone]
        after = Policy(self.terms, living, self.category, self.today, before=self.policy, credit=credit)
        shown = self.app.do("coverage.renew", {"coverage": self.id})
        if credit:
            self.policy.story.append({"what": "pay", "on": self.today, "amount": -credit, "receipt": None})
        self.id, self.policy = shown["id"], after
        self.all.append((self.id, after))

    def compare(self) -> None:
        for identity, policy in self.all:
            shown = self.app.do("coverage.show", {"coverage": identity})
            state, first, days = policy.told()
            if self.today > policy.ends:
                state = "expired"
            wanted = {
                "starts": str(policy.starts), "ends": str(policy.ends), "last_payment": str(policy.last_payment),
                "value": policy.value, "subsidy": policy.subsidy, "due": policy.due, "paid": policy.paid,
                "balance": policy.due - policy.paid, "status": state, "effective_from": first and str(first),
            }  # fmt: skip
            found = {n: cents(shown[n]) if isinstance(v, int) else shown[n] for n, v in wanted.items()}
            assert found == wanted
            told = {m["number"]: m["effective_from"] for m in shown["members"]}
            assert told == {number: day and str(day) for number, day in days.items()}
        ledger = self.app.do("ledger.balances", {"scheme": "chf"})
        assert ledger["balanced"]


def cents(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    whole, _, part = text.lstrip("-").partition(".")
    return sign * (int(whole) * 100 + int(part))
