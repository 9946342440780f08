"""Claims that are taken back, and rejected ones that are made anew."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.auditor import assert_sound
from tests.claims.conftest import Clinic


def withdraw(clinic: Clinic, code: str, reason: str = "entered twice") -> Any:
    return clinic.app.do("claims.withdraw", {"claim": code, "reason": reason})


def restore(clinic: Clinic, code: str, new: str, as_: Any = "administrator") -> Any:
    return clinic.app.do("claims.restore", {"claim": code, "code": new}, as_=as_)


def refusal(clinic: Clinic, command: str, **data: Any) -> str:
    with pytest.raises(ImisError) as caught:
        clinic.app.do(command, data)
    return str(caught.value.code)


def test_a_withdrawn_claim_is_valued_no_more(clinic: Clinic) -> None:
    """It keeps its lines and says why, is processed by no run, and its code stays taken."""
    clinic.submit("C1", "LAB")
    assert withdraw(clinic, "C1") == {"code": "C1", "status": "withdrawn"}
    shown = clinic.show("C1")
    assert (shown["status"], shown["reason"], shown["version"]) == ("withdrawn", "entered twice", 2)
    assert (shown["approved"], shown["payable"]) == ("0.00", "0.00")
    assert clinic.process()["processed"] == 0
    assert refusal(clinic, "claims.process", scheme="chf", claims=["C1"]) == "claims.wrong_state"
    assert clinic.refusal("LAB") == ("claims.duplicate_code", [])
    assert [claim["code"] for claim in clinic.app.do("claims.list", {"status": "withdrawn"})] == ["C1"]


def test_what_is_decided_is_not_withdrawn(clinic: Clinic) -> None:
    """Rejected, paid and withdrawn claims stay what they are; a reason is needed."""
    clinic.submit("C1", "EXTRA")
    clinic.submit("C2", ("LAB", 1, "0"))
    clinic.process()
    pay(clinic)
    assert clinic.show("C2")["status"] == "paid"
    clinic.submit("C3", "LAB")
    assert refusal(clinic, "claims.withdraw", claim="C3", reason=" ") == "input.invalid"
    withdraw(clinic, "C3")
    for code in ("C1", "C2", "C3"):
        assert refusal(clinic, "claims.withdraw", claim=code, reason="late") == "claims.wrong_state"
    assert refusal(clinic, "claims.withdraw", claim="NONE", reason="late") == "not_found"


def request(clinic: Clinic) -> Any:
    asked = {"scheme": "chf", "from": "2021-01-01", "to": "2021-12-31"}
    return clinic.app.do("claims.request_payment", asked)["id"]


def pay(clinic: Clinic) -> None:
    """Asked for and approved: claims of nothing are paid at once."""
    second = clinic.app.as_user("second", "administrator")
    clinic.app.do("claims.approve_payment", {"request": request(clinic)}, as_=second)


def accounts(clinic: Clinic) -> dict[str, str]:
    answer = clinic.app.do("ledger.balances", {"scheme": "chf"})
    assert answer["balanced"]
    return {name: answer["accounts"].get(name, "0.00") for name in ("benefits_expense", "benefits_payable")}


LIMITED = {
    "insurance_months": 12, "deductible": {"level": "policy", "general": "30"},
    "ceiling": {"level": "policy", "general": "150"}, "items": {"LAB": {}, "DRUG": {"max_provisions": 3}},
}  # fmt: skip


def limited(clinic: Clinic) -> None:
    clinic.package("LIMITED", LIMITED)
    clinic.person("N7")
    clinic.insure("N7", "LIMITED")


def left(clinic: Clinic) -> tuple[Any, Any]:
    (policy,) = clinic.app.do("eligibility.check", {"number": "N7", "on": "2021-06-30"})["coverages"]
    return policy["deductible_used"]["general"], policy["ceiling_left"]["general"]


def test_a_valuated_claim_gives_back_what_it_took(clinic: Clinic) -> None:
    """Deductible, ceiling and the debt are as if it had never been; others keep their amounts, also computed again."""
    limited(clinic)
    clinic.submit("C1", "LAB", number="N7")
    clinic.submit("C2", "LAB", number="N7")
    assert (clinic.paid("C1"), clinic.paid("C2")) == (["70.00"], ["80.00"])  # 30 deducted; 20 above the ceiling
    assert accounts(clinic) == {"benefits_expense": "150.00", "benefits_payable": "-150.00"}
    assert withdraw(clinic, "C1") == {"code": "C1", "status": "withdrawn"}
    assert accounts(clinic) == {"benefits_expense": "80.00", "benefits_payable": "-80.00"}
    assert left(clinic) == ("0.00", "70.00")
    shown = clinic.show("C1")
    assert (shown["status"], shown["payable"], shown["lines"][0]["payable"]) == ("withdrawn", "0.00", None)
    assert clinic.process("C2") == {"processed": 1, "valuated": 1, "rejected": 0}
    assert clinic.show("C2")["payable"] == "80.00"
    assert left(clinic) == ("0.00", "70.00")
    clinic.submit("C3", "LAB", number="N7")
    assert clinic.paid("C3") == ["70.00"]
    assert left(clinic) == ("30.00", "0.00")
    assert_sound(clinic.app)


def test_a_claim_whose_payment_was_asked_for_is_not_withdrawn(clinic: Clinic) -> None:
    """claims.payment_requested, until the request is rejected."""
    clinic.submit("C1", "LAB")
    clinic.process()
    asked = request(clinic)
    assert refusal(clinic, "claims.withdraw", claim="C1", reason="late") == "claims.payment_requested"
    clinic.app.do("claims.reject_payment", {"request": asked, "reason": "wait"})
    assert withdraw(clinic, "C1")["status"] == "withdrawn"
    assert clinic.app.do("claims.request_payment", {"scheme": "chf", "from": "2021-01-01", "to": "2021-12-31"}) | {
        "id": None
    } == {"id": None, "claims": 0, "amount": "0.00", "status": "requested"}
    assert accounts(clinic) == {"benefits_expense": "0.00", "benefits_payable": "0.00"}
    assert_sound(clinic.app)


def test_a_facility_takes_back_its_own_valuated_claim(make_app: Any) -> None:
    """By a clerk who sees only the facility's claims, nobody else's; a whole batch in one go, each with its outcome."""
    clerk = {"permissions": ["claims.withdraw"], "scope": "provider"}
    clinic = Clinic(make_app(settings={"roles": {"clerk": clerk}}))
    limited(clinic)
    for code in ("C1", "C2", "C3"):
        clinic.submit(code, ("DRUG", 1, "40"), number="N7")
    clinic.process("C1", "C2")
    anna = clinic.app.as_user("anna", "clerk", providers=["HC"])
    ben = clinic.app.as_user("ben", "clerk", providers=["OUT"])
    with pytest.raises(ImisError) as caught:
        clinic.app.do("claims.withdraw", {"claim": "C1", "reason": "double"}, as_=ben)
    assert caught.value.code == "not_found"
    said = [{"claim": code, "reason": "double"} for code in ("C1", "C3", "C1", "C2")]
    outcomes = clinic.app.do_all("claims.withdraw", said, as_=anna)
    assert [getattr(outcome, "code", None) or outcome["status"] for outcome in outcomes] == [
        "withdrawn", "withdrawn", "claims.wrong_state", "withdrawn",
    ]  # fmt: skip
    assert left(clinic) == ("0.00", "150.00")
    assert accounts(clinic) == {"benefits_expense": "0.00", "benefits_payable": "0.00"}
    answer = clinic.submit("C4", ("DRUG", 3, "40"), number="N7")
    assert answer["lines"][0]["quantity_approved"] == "3"
    assert_sound(clinic.app)


def test_a_rejected_claim_is_made_anew_and_linked(clinic: Clinic) -> None:
    """The new claim asks the same, is claimed today and judged by today's state; both name each other."""
    clinic.submit("C1", ("EXTRA", "2.5", "99.50"), ("EXTRA", 1, "3"), **{"from": "2021-02-01", "to": "2021-02-03"})
    terms = {"insurance_months": 12, "items": {"EXTRA": {}}}
    clinic.package("MORE", terms)
    clinic.insure("N1", "MORE")
    clinic.app.clock.set(date(2021, 7, 7))
    answer = restore(clinic, "C1", "C1-B")
    assert (answer["code"], answer["status"], answer["claimed"]) == ("C1-B", "checked", "251.75")
    old, new = clinic.show("C1"), clinic.show("C1-B")
    assert (old["status"], old["restored_as"], old["restored_from"]) == ("rejected", "C1-B", None)
    assert (new["restored_from"], new["restored_as"], new["claimed_on"]) == ("C1", None, "2021-07-07")
    same = ("provider", "number", "from", "to", "visit_type", "diagnosis", "secondary", "category")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    asked = ("line", "item", "quantity", "price")
    assert [[line[n] for n in asked] for line in new["lines"]] == [[line[n] for n in asked] for line in old["lines"]]


def test_only_rejected_claims_are_restored_and_only_once_at_a_time(clinic: Clinic) -> None:
    """A claim whose successor stands is not restored again; one whose successor fell may be."""
    clinic.submit("C1", "LAB")
    assert refusal(clinic, "claims.restore", claim="C1", code="C2") == "claims.wrong_state"
    clinic.app.do("claims.review", {"claim": "C1", "lines": [{"line": 1, "reject": True, "justification": "why"}]})
    assert refusal(clinic, "claims.restore", claim="C1", code="C1") == "claims.duplicate_code"
    assert restore(clinic, "C1", "C2")["status"] == "checked"
    assert refusal(clinic, "claims.restore", claim="C1", code="C3") == "claims.already_restored"
    withdraw(clinic, "C2")
    assert restore(clinic, "C1", "C3")["status"] == "checked"
    assert clinic.show("C1")["restored_as"] == "C3"
    assert clinic.paid("C3") == ["100.00"]
    assert refusal(clinic, "claims.restore", claim="NONE", code="C9") == "not_found"


def test_a_batch_restores_and_refuses_in_order(clinic: Clinic) -> None:
    """Each item has its own outcome; the same claim twice in a batch is restored once."""
    for code in ("C1", "C2"):
        clinic.submit(code, "EXTRA")
    clinic.submit("C3", "LAB")
    items = [("C3", "X0"), ("C1", "X1"), ("NONE", "X2"), ("C1", "X3"), ("C2", "X4"), ("C2", "X1")]
    outcomes = clinic.app.do_all("claims.restore", [{"claim": claim, "code": code} for claim, code in items])
    assert [getattr(outcome, "code", None) or outcome["code"] for outcome in outcomes] == [
        "claims.wrong_state", "X1", "not_found", "claims.already_restored", "X4", "claims.already_restored",
    ]  # fmt: skip


def test_a_facility_restores_its_own_claims(make_app: Any) -> None:
    """A clerk of the facility makes its rejected claim anew, though the patient lives elsewhere; nobody else's."""
    clerk = {"permissions": ["claims.*"], "scope": "provider"}
    clinic = Clinic(make_app(settings={"roles": {"clerk": clerk}}))
    clinic.submit("C1", "EXTRA")
    anna = clinic.app.as_user("anna", "clerk", providers=["HC"])
    ben = clinic.app.as_user("ben", "clerk", providers=["OUT"])
    with pytest.raises(ImisError) as caught:
        restore(clinic, "C1", "C2", as_=ben)
    assert caught.value.code == "not_found"
    assert restore(clinic, "C1", "C2", as_=anna)["status"] == "rejected"
    assert clinic.show("C2")["number"] == "N1"


def test_what_is_taken_back_or_refused_by_a_reviewer_is_free_again(clinic: Clinic) -> None:
    """Counts and provisions of a withdrawn claim, and quantities that a reviewer cut, are there for the next claim."""
    terms = {"insurance_months": 12, "max_consultations": 1, "items": {"ADVICE": {}, "DRUG": {"max_provisions": 10}}}
    clinic.package("COUNTED", terms)
    clinic.person("N7")
    clinic.insure("N7", "COUNTED")

    def submit(code: str, *lines: Any) -> list[tuple[str | None, str]]:
        answer = clinic.submit(code, *lines, number="N7")
        return [(line["rejection"], line["quantity_approved"]) for line in answer["lines"]]

    assert submit("C1", "ADVICE") == [(None, "1")]
    assert submit("C2", "ADVICE") == [("max_consultations", "0")]
    withdraw(clinic, "C1")
    assert submit("C3", "ADVICE") == [(None, "1")]
    said = [{"line": 1, "reject": True, "justification": "no need"}]
    clinic.app.do("claims.review", {"claim": "C3", "lines": said})
    assert submit("C4", "ADVICE") == [(None, "1")]
    assert submit("D1", ("DRUG", 8, "100")) == [(None, "8")]
    clinic.app.do("claims.review", {"claim": "D1", "lines": [{"line": 1, "quantity": 3, "justification": "enough"}]})
    assert submit("D2", ("DRUG", 9, "100")) == [(None, "7")]
    assert submit("D3", "DRUG") == [("max_provisions", "0")]
