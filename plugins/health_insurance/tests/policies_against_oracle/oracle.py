"""A plain oracle of policies: dates, contribution, state and first days, one household at a time.

It shares no code with the rules or the kernel: days by the calendar module, amounts as fractions, and the whole story
of a household told again from its beginning after each event. Source: health_insurance.md 2.
"""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

DAY = timedelta(days=1)


def months_later(day: date, months: int) -> date:
    """The same day, or the month's last one."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def half_up(exact: Fraction) -> int:
    return int((exact + Fraction(1, 2)) // 1)


def age(born: date, on: date) -> int:
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def first_day(terms: dict[str, Any], on: date, previous_end: date | None) -> date:
    cycles = [tuple(int(part) for part in text.split("-")) for text in terms.get("cycles", ())]
    reference = on if previous_end else months_later(on, terms.get("administration_months", 0))
    start = reference
    if cycles:
        grace = terms.get("grace_renewal_months" if previous_end else "grace_enrolment_months", 0)
        this_year = [date(reference.year, *cycle) for cycle in cycles]
        start = next((c for c in this_year if reference < months_later(c, grace)), date(reference.year + 1, *cycles[0]))
    return start if previous_end is None else max(start, previous_end + DAY)


def last_day_of_payment(terms: dict[str, Any], on: date, starts: date, previous_end: date | None) -> date:
    if terms.get("cycles"):
        last = months_later(starts, terms.get("grace_renewal_months" if previous_end else "grace_enrolment_months", 0))
    elif previous_end:
        last = months_later(previous_end + DAY, terms.get("grace_payment_months", 0))
    else:
        last = months_later(on, terms.get("grace_payment_months", 0))
    return max(last - DAY, on)


def contribution(
    terms: dict[str, Any], members: list[dict[str, Any]], category: str | None, on: date, starts: date,
    previous_end: date | None,
) -> tuple[int, int]:  # fmt: skip
    """Value and subsidised part, in minor units, of the counted members."""
    adults = [m for m in members if age(m["born"], on) >= 18]
    children = [m for m in members if age(m["born"], on) < 18]
    lump = terms.get("lump_sum", 0)
    free: list[int] = []
    if lump:
        sharing = [id(m) for m in (*adults, *children) if m["relationship"] != "other"]
        free = sharing[: terms.get("threshold_members", len(sharing))]
    total = lump
    total += sum(terms["premium_adult"] for m in adults if id(m) not in free)
    total += sum(terms["premium_child"] for m in children if id(m) not in free)
    total += terms.get("assembly_lump_sum", 0) or terms.get("assembly_fee", 0) * len(members)
    if previous_end is None:
        total += terms.get("registration_lump_sum", 0) or terms.get("registration_fee", 0) * len(members)
    discount = Fraction(0)
    offered = terms.get("renewal_discount") if previous_end else terms.get("cycles") and terms.get("enrolment_discount")
    if offered and on <= months_later(previous_end + DAY if previous_end else starts, -offered["months"]):
        discount = Fraction(offered["percent"])
    value = half_up(total * (100 - discount) / 100)
    subsidy = Fraction(terms.get("subsidies", {}).get(category, 0))
    return value, value - half_up(value * (100 - subsidy) / 100)


class Policy:
    """A policy as its story tells it: what happened is kept, and told again whenever something is asked."""

    def __init__(
        self, terms: dict[str, Any], members: list[dict[str, Any]], category: str | None, on: date,
        before: Policy | None = None, credit: int = 0,
    ) -> None:  # fmt: skip
        self.terms, self.category, self.on, self.before = terms, category, on, before
        self.previous_end = before.ends if before else None
        self.members = members[: terms.get("max_members")]
        self.starts = first_day(terms, on, self.previous_end)
        self.ends = months_later(self.starts, terms["insurance_months"]) - DAY
        self.last_payment = last_day_of_payment(terms, on, self.starts, self.previous_end)
        self.value, self.subsidy = self._contribution()
        self.story: list[dict[str, Any]] = []
        if credit:
            self.story.append({"what": "pay", "on": on, "amount": credit, "receipt": None})
        self.first_due = self.due

    def _contribution(self) -> tuple[int, int]:
        return contribution(self.terms, self.members, self.category, self.on, self.starts, self.previous_end)

    @property
    def due(self) -> int:
        return self.value - self.subsidy

    @property
    def paid(self) -> int:
        return sum(e["amount"] for e in self.story if e["what"] == "pay")

    def join(self, member: dict[str, Any], on: date) -> None:
        """A newcomer, where there is room."""
        if len(self.members) >= self.terms.get("max_members", 10**6):
            return
        before = self.due
        self.members = [*self.members, member]
        self.value, self.subsidy = self._contribution()
        more = self.due - before
        if more > 0:
            self.last_payment = max(self.last_payment, months_later(on, self.terms.get("grace_payment_months", 0)))
        self.story.append({"what": "join", "on": on, "more": more, "number": member["number"]})

    def refusal(self, amount: int, on: date) -> str | None:
        """Why money is not taken."""
        left = self.due - self.paid
        credit = self.terms.get("overpayment") == "credit"
        if left <= 0 and not credit:
            return "contributions.overpaid"
        if left > 0 and on > self.last_payment:
            return "contributions.overdue"
        parts = sum(e["what"] == "pay" and e["receipt"] is not None for e in self.story)
        if parts >= self.terms.get("max_installments", 10**6):
            return "contributions.too_many_installments"
        return "contributions.overpaid" if amount > left and not credit else None

    def pay(self, amount: int, on: date, receipt: str) -> None:
        self.story.append({"what": "pay", "on": on, "amount": amount, "receipt": receipt})

    def take_back(self, receipt: str) -> None:
        self.story = [e for e in self.story if e.get("receipt") != receipt]

    def told(self) -> tuple[str, date | None, dict[str, date | None]]:
        """State (but for expiry), first day, and the first day of each member."""
        underpaid = self.terms.get("underpaid", "idle")
        due, paid = self.first_due, 0
        first = max(self.on, self.starts) if due <= 0 else None
        newcomers = {e["number"] for e in self.story if e["what"] == "join"}
        days: dict[str, date | None] = {m["number"]: None for m in self.members}
        for event in sorted(self.story, key=lambda e: (e["on"], e["what"] == "pay")):
            if event["what"] == "join":
                due += event["more"]
                if first is not None and (event["more"] <= 0 or paid >= due):
                    days[event["number"]] = max(event["on"], first)
                joined = {e["number"] for e in self.story if e["what"] == "join" and e["on"] <= event["on"]}
            else:
                paid += event["amount"]
                if first is None and event["amount"] > 0 and (paid >= due or underpaid == "active"):
                    first = max(event["on"], self.starts)
                joined = {e["number"] for e in self.story if e["what"] == "join" and e["on"] <= event["on"]}
            if first is not None and paid >= due:
                for number in joined:
                    days[number] = days[number] or max(event["on"], first)
        for number in days:
            if number not in newcomers:
                days[number] = first
        if first is not None:
            return "active", first, days
        return ("suspended" if underpaid == "suspended" and paid > 0 else "idle"), None, dict.fromkeys(days)
