"""The rules of refunds of what was paid too much: the credit is there once, whoever asks and whatever happens."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import pairwise
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.errors import ImisError, Refusal
from imis_core.testing.app import TestApp
from tests.coverage.test_coverage import books, covered, enrol, family, package, pay, person, refused
from tests.coverage.test_late_joiners import join, show

pytestmark = pytest.mark.audited
DUE = 68000  # minor units: one adult with registration and assembly
JOINER = 30000


@pytest.fixture
def office(app: TestApp) -> TestApp:
    """A package that keeps credits, and a payment provider."""
    package(app, overpayment="credit")
    app.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    return app


def over(app: TestApp, code: str, paid: str, *, enrolled: bool = True) -> dict[str, Any]:
    """A family of one, for which `paid` was paid (680.00 is due)."""
    family(app, code, f"N{code}")
    policy = enrol(app, code)
    pay(app, policy, paid, f"R{code}")
    if enrolled:
        app.do("payments.enrol_recipient", {"number": f"N{code}", "provider": "POST"})
    return policy


def refund(app: TestApp, policy: Any, amount: str | None = None, as_: Any = "anna") -> Any:
    return app.do("contributions.refund", {"coverage": policy["id"], "amount": amount, "reason": "asked"}, as_=as_)


def approve(app: TestApp, *refunds: Any) -> Any:
    named = [one["id"] for one in refunds] or None
    return app.do("contributions.approve_refunds", {"scheme": "chf", "refunds": named}, as_="ben")


def sent(app: TestApp, *refunds: Any) -> Any:
    """Refunds approved and submitted; their orders."""
    batch = approve(app, *refunds)["id"]
    app.do("payments.submit", {"refunds": batch})
    return app.do("payments.orders", {"refunds": batch})


def first_days(app: TestApp, policy: Any) -> list[str | None]:
    return [member["effective_from"] for member in show(app, policy)["members"]]


def report(app: TestApp, order: Any, status: str) -> Any:
    row = {"order": order["id"], "status": status, "amount": order["amount"]}
    return app.do("payments.reconcile", {"provider": "POST", "rows": [row]})


def test_a_renewal_leaves_what_is_asked_for(office: TestApp) -> None:
    """A refund takes the credit from the moment it is prepared; given up later, it is the old policy's credit still."""
    policy = over(office, "F", "980")
    asked = refund(office, policy, "200")
    second = office.do("coverage.renew", {"coverage": policy["id"]}, on=date(2021, 12, 1))
    assert (second["paid"], second["balance"]) == ("100.00", "330.00")
    office.do("contributions.reject_refund", {"refund": asked["id"], "reason": "no"}, as_="ben")
    assert show(office, policy)["balance"] == "-200.00"
    assert refund(office, policy)["amount"] == "200.00"


def test_a_contribution_taken_back_keeps_its_refund_from_being_paid(office: TestApp) -> None:
    """Approval looks again: what the policy owes by then is not paid out; named, it is refused, else it waits."""
    policy, other = over(office, "F", "700"), over(office, "G", "700")
    asked, sound = refund(office, policy), refund(office, other)
    office.do("contributions.reverse", {"receipt": "RF", "reason": "bounced"}, as_="ben")
    data = {"scheme": "chf", "refunds": [asked["id"]]}
    assert refused(office, "contributions.approve_refunds", data, as_="ben").code == "contributions.nothing_to_approve"
    answer = approve(office)
    assert (answer["orders"], answer["amount"], answer["waiting"]) == (1, "20.00", 1)
    assert [r["status"] for r in office.do("contributions.refunds", {"scheme": "chf"})] == ["prepared", "approved"]
    assert sound["status"] == "prepared"


def test_a_receipt_that_bounces_after_its_refund_was_paid(office: TestApp) -> None:
    """The household owes its contribution and what was refunded; books and policy say so."""
    policy = over(office, "F", "700")
    (order,) = sent(office, refund(office, policy))
    report(office, order, "paid")
    office.do("contributions.reverse", {"receipt": "RF", "reason": "bounced"}, as_="ben")
    shown = show(office, policy)
    assert (shown["paid"], shown["balance"], shown["status"]) == ("-20.00", "700.00", "idle")
    assert books(office) == {"cash": -2000, "contributions_receivable": 70000, "contributions_income": -68000}


@pytest.mark.parametrize("first", ["coverage.terminate", "contributions.reverse"])
def test_termination_gives_up_the_contribution_and_not_what_was_refunded(office: TestApp, first: str) -> None:
    """Terminated before or after its receipt bounced: what was paid out is owed still, and can be paid back."""
    policy = over(office, "F", "700")
    (order,) = sent(office, refund(office, policy))
    report(office, order, "paid")
    steps = {
        "coverage.terminate": lambda: office.do("coverage.terminate", {"coverage": policy["id"]}),
        "contributions.reverse": lambda: office.do(
            "contributions.reverse", {"receipt": "RF", "reason": "bounced"}, as_="ben"
        ),
    }
    last = [steps.pop(first)(), *[step() for step in steps.values()]][-1]
    assert (last["status"], last["balance"], show(office, policy)["balance"]) == ("terminated", "20.00", "20.00")
    assert books(office) == {"cash": -2000, "contributions_receivable": 2000}
    back = {"coverage": policy["id"], "amount": "20.01", "receipt": "BACK"}
    assert refused(office, "contributions.record", back).code == "contributions.overpaid"
    assert office.do("contributions.record", {**back, "amount": "20"})["balance"] == "0.00"
    assert books(office) == {}
    again = {**back, "receipt": "MORE"}
    assert refused(office, "contributions.record", again).code == "coverage.wrong_state"
    office.do("contributions.reverse", {"receipt": "BACK", "reason": "bounced"}, as_="ben")
    assert books(office) == {"cash": -2000, "contributions_receivable": 2000}


def test_a_terminated_policy_is_refunded(office: TestApp) -> None:
    """Its credit stays the household's; when a refund of it fails after a receipt was taken back, nobody owes more."""
    policy = over(office, "F", "700")
    pay(office, policy, "100", "R2")
    office.do("coverage.terminate", {"coverage": policy["id"]})
    assert [c["credit"] for c in office.do("contributions.credits", {"scheme": "chf"})] == ["120.00"]
    (order,) = sent(office, refund(office, policy, "50"))
    office.do("contributions.reverse", {"receipt": "R2", "reason": "bounced"}, as_="ben")
    report(office, order, "failed")
    assert office.do("contributions.credits", {"scheme": "chf"})[0]["credit"] == "20.00"
    assert books(office) == {"cash": 70000, "contributions_receivable": -2000, "contributions_income": -68000}


def test_what_is_given_up_or_declared_wrong_is_a_credit_again(office: TestApp) -> None:
    """An order that is cancelled, and one that is reversed after it was paid: then whoever was paid owes it."""
    policy = over(office, "F", "780")
    batch = approve(office, refund(office, policy, "30"))
    (order,) = office.do("payments.orders", {"refunds": batch["id"]})
    office.do("payments.cancel", {"order": order["id"], "reason": "asked for by mistake"})
    assert show(office, policy)["balance"] == "-100.00"
    (order,) = sent(office, refund(office, policy, "100"))
    report(office, order, "paid")
    office.do("payments.reverse", {"order": order["id"], "reason": "to another person"}, as_="carl")
    assert show(office, policy)["balance"] == "-100.00"
    assert books(office) == {
        "cash": 68000, "contributions_receivable": -10000, "benefits_payable": 10000, "contributions_income": -68000,
    }  # fmt: skip
    statuses = [r["status"] for r in office.do("contributions.refunds", {"coverage": policy["id"]})]
    assert statuses == ["cancelled", "reversed"]


def test_who_approves_sees_what_was_reversed(office: TestApp) -> None:
    """A reversed refund is a credit again: what was paid out before is told with the credit and the next refund."""
    policy, other = over(office, "F", "780"), over(office, "G", "700")
    (order,) = sent(office, refund(office, policy, "30"))
    report(office, order, "paid")
    office.do("payments.reverse", {"order": order["id"], "reason": "to another person"}, as_="carl")
    refund(office, policy, "40")
    refund(office, other, "5")
    left = office.do("contributions.credits", {"scheme": "chf"})
    assert [(c["credit"], c["reversed"]) for c in left] == [("60.00", "30.00"), ("15.00", "0.00")]
    waiting = office.do("contributions.refunds", {"scheme": "chf", "status": "prepared"})
    assert [(r["amount"], r["reversed"]) for r in waiting] == [("40.00", "30.00"), ("5.00", "0.00")]


def test_a_held_order_keeps_its_credit(office: TestApp) -> None:
    """Held and released, the refund stays what it was: approved."""
    policy = over(office, "F", "700")
    batch = approve(office, refund(office, policy))
    (order,) = office.do("payments.orders", {"refunds": batch["id"]})
    for verb in ("hold", "release"):
        office.do(f"payments.{verb}", {"order": order["id"], "reason": "asked"})
        assert show(office, policy)["balance"] == "0.00"
    assert office.do("payments.submit", {"refunds": batch["id"]})["submitted"] == 1


def test_a_late_joiner_is_covered_by_a_credit_that_came_back(office: TestApp) -> None:
    """Who joined while the credit was asked for waits; refused, the credit pays for him or her from that day on."""
    policy = over(office, "F", "980")
    asked = refund(office, policy)
    join(office, "F", "N3", date(2021, 3, 1))
    assert (show(office, policy)["balance"], covered(office, "N3", "2021-03-01")) == ("300.00", False)
    office.do("contributions.reject_refund", {"refund": asked["id"], "reason": "no"}, as_="ben")
    assert (show(office, policy)["balance"], covered(office, "N3", "2021-03-01")) == ("0.00", True)


def test_who_joined_before_the_refund_by_date_only_finds_no_credit(office: TestApp) -> None:
    """Dated back before a refund, a joiner waits like any other: the money is paid out already."""
    policy = over(office, "F", "980")
    office.clock.set(date(2021, 6, 1))
    (order,) = sent(office, refund(office, policy))
    report(office, order, "paid")
    office.do("beneficiaries.add_member", {"group": "F", **person("N3", "child"), "on": "2021-03-01"})
    assert (show(office, policy)["balance"], covered(office, "N3", "2021-06-01")) == ("300.00", False)
    pay(office, policy, "300", "R2", override_reason="late")
    assert first_days(office, policy) == ["2021-01-01", "2021-06-01"]


def test_a_retry_takes_what_was_paid_since(office: TestApp) -> None:
    """Who was covered by the credit of a failed refund stays covered from that day when the refund is tried again."""
    policy = over(office, "F", "980")
    (order,) = sent(office, refund(office, policy))
    report(office, order, "failed")
    join(office, "F", "N3", date(2021, 1, 6))
    assert first_days(office, policy) == ["2021-01-01", "2021-01-06"]
    office.clock.set(date(2021, 1, 11))
    pay(office, policy, "300", "R2")
    office.do("payments.retry", {"order": order["id"]})
    assert (show(office, policy)["balance"], first_days(office, policy)) == ("0.00", ["2021-01-01", "2021-01-06"])


@pytest.mark.parametrize("second", [date(2021, 1, 1), date(2021, 1, 10), date(2021, 1, 20)])
@pytest.mark.parametrize("bounced", ["RF", "R2"])
def test_a_policy_is_idle_when_nothing_of_it_is_paid(office: TestApp, second: date, bounced: str) -> None:
    """Paid twice and refunded once, either receipt bounces: whatever the days, the policy is not covered."""
    policy = over(office, "F", "680")
    office.clock.set(date(2021, 1, 20))
    pay(office, policy, "680", "R2", second)
    (order,) = sent(office, refund(office, policy))
    report(office, order, "paid")
    office.do("contributions.reverse", {"receipt": bounced, "reason": "bounced"}, as_="ben")
    shown = show(office, policy)
    assert (shown["paid"], shown["status"], shown["effective_from"]) == ("0.00", "idle", None)


def test_who_joins_leaves_a_refund_its_credit(office: TestApp) -> None:
    """What was taken for a refund stays taken: who is not covered yet keeps it from being approved by nothing."""
    policy = over(office, "F", "700")
    asked = refund(office, policy)
    join(office, "F", "N3", date(2021, 1, 2))
    (order,) = sent(office, asked)
    report(office, order, "paid")
    assert (show(office, policy)["balance"], first_days(office, policy)) == ("300.00", ["2021-01-01", None])


def test_a_failed_refund_is_not_approved_again(office: TestApp) -> None:
    """Its order is tried again, says the refusal."""
    asked = refund(office, over(office, "F", "700"))
    report(office, sent(office, asked)[0], "failed")
    data = {"scheme": "chf", "refunds": [asked["id"]]}
    refusal = refused(office, "contributions.approve_refunds", data, as_="ben")
    assert refusal.code == "contributions.wrong_state"
    assert "payments.retry" in refusal.message


def test_a_household_is_paid_through_its_primary_recipient_as_it_is(office: TestApp) -> None:
    """The order goes to the primary recipient; tried again, to whoever is it by then; of a person, to the person."""
    family(office, "F", "N1", "N2")
    policy = enrol(office, "F")
    pay(office, policy, "1000", "R1")
    for number in ("N1", "N2"):
        office.do("payments.enrol_recipient", {"number": number, "provider": "POST"})
    (order,) = sent(office, refund(office, policy))
    assert (order["recipient"], order["beneficiary"]) == ("N1", "F")
    report(office, order, "failed")
    office.do("beneficiaries.set_recipient", {"group": "F", "number": "N2", "recipient": "primary"})
    again = office.do("payments.retry", {"order": order["id"]})
    assert {o["id"]: o["recipient"] for o in office.do("payments.orders")}[again["id"]] == "N2"


def test_many_refunds_take_few_statements(office: TestApp) -> None:
    """Sixty are prepared, approved, sent and paid set-based."""
    members = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
    numbers = [f"P{i:02d}" for i in range(60)]
    office.do_all("beneficiaries.register_person", [{**members, "number": number} for number in numbers])
    office.do_all("payments.enrol_recipient", [{"number": number, "provider": "POST"} for number in numbers])
    asked = [{"scheme": "chf", "package": "BASIC", "number": number} for number in numbers]
    policies = office.do_all("coverage.enrol", asked)
    paid = [{"coverage": p["id"], "amount": "700", "receipt": f"R{i}"} for i, p in enumerate(policies)]
    office.do_all("contributions.record", paid)
    counted = []

    def count(done: Any) -> Any:
        counted.append(office.database.statements)
        return done

    count(None)
    wanted = [{"coverage": policy["id"], "reason": "asked"} for policy in policies]
    count(office.do_all("contributions.refund", wanted, as_="anna"))
    batch = count(approve(office))["id"]
    count(office.do("payments.submit", {"refunds": batch}))
    orders = office.do("payments.orders", {"refunds": batch})
    count(None)
    rows = [{"order": o["id"], "status": "failed", "amount": o["amount"]} for o in orders]
    assert count(office.do("payments.reconcile", {"provider": "POST", "rows": rows}))["matched"] == 60
    assert all(after - before <= 30 for before, after in pairwise(counted)), counted
    assert len(office.do("contributions.credits", {"scheme": "chf"})) == 60


def test_two_refunds_of_one_credit_at_once(office: TestApp) -> None:
    """The policy is locked before its credit is looked at: one of them is prepared, the other is above the credit."""
    policy = over(office, "F", "700")
    office.as_user("anna")
    barrier = Barrier(2)

    def ask(_: int) -> str:
        barrier.wait()
        (done,) = office.do_all("contributions.refund", [{"coverage": policy["id"], "reason": "asked"}], as_="anna")
        return done.code if isinstance(done, Refusal) else "done"

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(ask, range(2))) == ["contributions.above_credit", "done"]


ACTIONS = st.one_of(
    st.tuples(st.just("pay"), st.integers(1, 400)),
    st.tuples(st.just("join"), st.integers(0, 3)),  # so many days before today
    st.tuples(st.just("ask"), st.integers(0, 200)),
    *[
        st.tuples(st.just(verb), st.integers(0, 3))
        for verb in ("reject", "approve", "paid", "failed", "returned", "retry", "cancel", "reverse", "hold", "release")
    ],
)


TAKES = ("prepared", "approved", "submitted", "held", "paid")
MOVES = {
    "reject": (("prepared",), "rejected"), "approve": (("prepared",), "submitted"),
    "paid": (("submitted",), "paid"), "failed": (("submitted",), "failed"),
    "returned": (("paid", "submitted"), "returned"), "retry": (("failed", "returned"), "approved"),
    "cancel": (("approved", "held"), "cancelled"), "reverse": (("paid",), "reversed"),
    "hold": (("approved",), "held"), "release": (("held",), "approved"),
}  # fmt: skip


class Plain:
    """The oracle: a policy's payments (a coin of 1.00 each, with its day), the days on which others joined it, and its
    refunds as (amount, state of the order or of what comes before it, day on which the credit was taken)."""

    def __init__(self, first: date) -> None:
        self.first = self.today = first
        self.coins = [first] * (DUE // 100)
        self.joined: list[date] = []
        self.refunds: list[tuple[int, str, date]] = []

    @property
    def paid(self) -> int:
        return len(self.coins) * 100

    @property
    def due(self) -> int:
        return DUE + len(self.joined) * JOINER

    @property
    def credit(self) -> int:
        return self.paid - self.due - sum(amount for amount, state, _ in self.refunds if state in TAKES)

    def move(self, verb: str, which: int) -> bool:
        amount, state, taken = self.refunds[which]
        before, after = MOVES[verb]
        if state not in before or (verb == "retry" and amount > self.credit):
            return False
        self.refunds[which] = (amount, after, self.today if verb == "retry" else taken)
        return True

    def days(self) -> list[str | None]:
        """The first day of each member: the first on which all that was due by then was paid and never refunded."""
        coins = sorted(self.coins)
        for amount, state, taken in sorted(self.refunds, key=lambda one: one[2]):
            if state in TAKES:
                end = bisect_right(coins, taken)
                del coins[end - amount // 100 : end]
        found: list[str | None] = [None] * len(self.joined)
        due, waiting = DUE, []
        for day in (self.first + timedelta(n) for n in range((self.today - self.first).days + 1)):
            before, by = (100 * cut(coins, day) for cut in (bisect_left, bisect_right))
            for place in [n for n, joined in enumerate(self.joined) if joined == day] + [-1]:
                if place >= 0:
                    due += JOINER
                    waiting.append(place)
                if due <= (before if place >= 0 else by):
                    found = [str(day) if n in waiting else one for n, one in enumerate(found)]
                    waiting = []
        return [str(self.first), *found]

    def books(self) -> dict[str, int]:
        def total(*states: str) -> int:
            return sum(amount for amount, state, _ in self.refunds if state in states)

        owed = total("approved", "submitted", "held")
        accounts = {
            "cash": self.paid - total("paid", "reversed"),
            "contributions_receivable": self.due - self.paid + owed + total("paid"),
            "benefits_payable": total("reversed") - owed,
            "contributions_income": -self.due,
        }
        return {name: amount for name, amount in accounts.items() if amount}


class Walk:
    """The same on a policy of the application."""

    def __init__(self, app: TestApp, code: str) -> None:
        self.app, self.code, self.policy = app, code, over(app, code, "680")
        self.refunds: list[Any] = []
        self.orders: dict[int, Any] = {}
        self.receipts = self.joined = 0

    def do(self, verb: str, number: int) -> Any:
        app = self.app
        if verb == "pay":
            self.receipts += 1
            return pay(app, self.policy, str(number), f"{self.policy['id']}-{self.receipts}")
        if verb == "join":
            self.joined += 1
            on = max(app.clock.today() - timedelta(number), date.fromisoformat(self.policy["starts"]) + timedelta(1))
            member = person(f"N{self.code}-{self.joined}", "child")
            return app.do("beneficiaries.add_member", {"group": self.code, **member, "on": str(on)})
        if verb == "ask":
            self.refunds.append(refund(app, self.policy, str(number) if number else None))
            return None
        name = self.refunds[number]["id"]
        if verb == "reject":
            return app.do("contributions.reject_refund", {"refund": name, "reason": "no"}, as_="ben")
        if verb == "approve":
            (self.orders[number],) = sent(app, self.refunds[number])
            return None
        order = self.orders.get(number)
        if order is None:
            raise ImisError(Refusal("test.no_order", "there is none"))
        if verb in ("paid", "failed", "returned"):
            # A retry goes out with the next submission; then its provider reports.
            answer = report(app, order, verb)
            if not answer["matched"]:
                raise ImisError(Refusal("test.not_matched", "there is none"))
            return None
        done = app.do(f"payments.{verb}", {"order": order["id"], "reason": "so"}, as_="carl")
        if verb == "retry":
            self.orders[number] = {"id": done["id"], "amount": order["amount"]}
        return None


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, min_size=4, max_size=14))
def test_any_course_of_payments_and_refunds(office: TestApp, actions: list[tuple[str, int]]) -> None:
    """Whatever is asked for in whatever order: what the oracle allows is done and nothing else; the credit, the
    balance and the books are its sums, and everybody is covered from the day that it finds."""
    before = books(office)
    walk = Walk(office, f"W{len(office.rows('SELECT id FROM core.groups'))}")
    plain = Plain(office.clock.today())
    for verb, number in [("pay", 150), *actions]:
        office.clock.set(plain.today)
        if verb not in ("pay", "join", "ask") and number >= len(plain.refunds):
            continue
        wanted = number * 100 or plain.credit
        allowed = verb in ("pay", "join") or (0 < wanted <= plain.credit if verb == "ask" else plain.move(verb, number))
        if verb == "pay":
            plain.coins += [plain.today] * number
        elif verb == "join":
            plain.joined.append(max(plain.today - timedelta(number), plain.first + timedelta(1)))
        elif verb == "ask" and allowed:
            plain.refunds.append((wanted, "prepared", plain.today))
        try:
            walk.do(verb, number)
            done = True
        except ImisError:
            done = False
        assert done == allowed, (verb, number, plain.refunds)
        shown = show(office, walk.policy)
        assert shown["balance"] == f"{-plain.credit / 100:.2f}"
        assert [member["effective_from"] for member in shown["members"]] == plain.days()
        plain.today += timedelta(1)
    grown = {name: amount - before.get(name, 0) for name, amount in books(office).items()}
    assert {name: amount for name, amount in grown.items() if amount} == plain.books()
