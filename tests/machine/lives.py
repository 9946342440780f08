"""What happens to people and their employers: deaths, members who leave, persons found to be one, wages, reversals.

Steps of the machine, in a file of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

PICK = st.integers(0, 11)
WAGES = st.sampled_from(["260", "300.50", "0", "9999.99"])


class Lives:
    """Rules that a machine has beside its own."""

    people: list[str]
    claims: list[str]
    accidents: list[str]
    receipts: list[str]

    def attempt(self, name: str, data: Mapping[str, Any], user: str = "administrator") -> Any:
        raise NotImplementedError

    def listed(self, name: str, data: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def today(self) -> date:
        raise NotImplementedError

    @rule(pick=PICK)
    def die(self, pick: int) -> None:
        if pick % 4 == 0:  # seldom: a machine of the dead walks nowhere
            self.attempt("beneficiaries.record_death", {"number": one(self.people, pick), "on": self.today()})

    @rule(pick=PICK)
    def leave(self, pick: int) -> None:
        group = "F" + one(self.people, pick)[1:].partition("-")[0]
        number = one(self.people, pick).replace("-0", "-1")
        self.attempt("beneficiaries.remove_member", {"group": group, "number": number, "reason": "moved away"})

    @rule(keep=PICK, drop=PICK)
    def merge(self, keep: int, drop: int) -> None:
        if (keep + drop) % 3 == 0:
            kept, dropped = one(self.people, keep), one(self.people, drop).replace("-0", "-1")
            self.attempt("beneficiaries.merge", {"keep": kept, "drop": dropped})

    @precondition(lambda self: self.receipts)
    @rule(pick=PICK, user=st.sampled_from(["administrator", "ben"]))
    def reverse_contribution(self, pick: int, user: str) -> None:
        receipt = {"scheme": "chf", "receipt": one(self.receipts, pick), "reason": "typed wrongly"}
        self.attempt("contributions.reverse", receipt, user)

    @rule(pick=PICK, wage=WAGES)
    def declare_wages(self, pick: int, wage: str) -> None:
        rows = [{"number": one(self.people, pick), "wage": wage}]
        month = self.today().strftime("%Y-%m")
        self.attempt("employment.declare_wages", {"scheme": "wcf", "employer": "E1", "month": month, "rows": rows})

    @rule(amount=st.sampled_from(["5", "7.80", "100"]))
    def employer_pays(self, amount: str) -> None:
        month = self.today().strftime("%Y-%m")
        receipt = f"E{len(self.receipts)}-{self.today()}"
        data = {"scheme": "wcf", "employer": "E1", "month": month, "amount": amount, "receipt": receipt}
        if self.attempt("contributions.record", data):
            self.receipts.append(receipt)

    @precondition(lambda self: self.claims)
    @rule(pick=PICK)
    def restore_claim(self, pick: int) -> None:
        code = f"C{len(self.claims)}"
        if self.attempt("claims.restore", {"claim": one(self.claims, pick), "code": code}):
            self.claims.append(code)

    @precondition(lambda self: self.accidents)
    @rule(pick=PICK, amount=st.sampled_from(["10", "55.55"]))
    def recover_from_award(self, pick: int, amount: str) -> None:
        for award in self.listed("eii.awards", {"accident": one(self.accidents, pick)})[:1]:
            self.attempt("eii.recover", {"award": award["id"], "amount": amount, "instalment": "5"})

    @precondition(lambda self: self.accidents)
    @rule(pick=PICK)
    def award_survivors(self, pick: int) -> None:
        accident = one(self.accidents, pick)
        survivors = [{"number": one(self.people, pick + 1), "relationship": "spouse"}]
        data = {"accident": accident, "died_on": self.today(), "survivors": survivors}
        self.attempt("eii.award_survivors", data)


def one(things: Sequence[Any], pick: int) -> Any:
    return things[pick % len(things)]
