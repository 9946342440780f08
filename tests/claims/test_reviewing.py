"""The medical review: what a reviewer may decide, what it changes, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.auditor import assert_sound
from tests.claims.conftest import TERMS, Clinic

WHY = "guideline 4 allows no more"


def review(clinic: Clinic, code: str, *lines: dict[str, Any], as_: Any = "doctor") -> Any:
    said = [{"justification": WHY, **line} for line in lines]
    return clinic.app.do("claims.review", {"claim": code, "lines": said}, as_=as_)


def refusal(clinic: Clinic, code: str, *lines: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    with pytest.raises(ImisError) as caught:
        review(clinic, code, *lines)
    return caught.value.code, [(p.path, p.reason) for p in caught.value.refusal.problems]


def test_the_reviewers_quantity_and_price_are_valued(clinic: Clinic) -> None:
    """Approved quantity and price of a review go before those of the checks and the price list."""
    clinic.submit("C1", ("LAB", 5, "120"), ("DRUG", 3, "100"))
    answer = review(clinic, "C1", {"item": "LAB", "quantity": 4, "price": "110"}, {"line": 2, "quantity": "2.5"})
    assert (answer["status"], answer["reviewed_by"]) == ("checked", "doctor")
    assert [line["quantity_approved"] for line in answer["lines"]] == ["4", "2.5"]
    assert [line["justification"] for line in answer["lines"]] == [WHY, WHY]
    assert clinic.paid("C1") == ["440.00", "250.00"]
    assert clinic.show("C1")["approved"] == "690.00"
    assert clinic.show("C1")["lines"][0]["unit_price"] == "110.00"


def test_a_rejected_line_carries_minus_one_and_the_rest_is_paid(clinic: Clinic) -> None:
    """Rejected by the reviewer: name reviewer, code -1; the other lines go their way."""
    clinic.submit("C1", "LAB", "DRUG")
    answer = review(clinic, "C1", {"item": "DRUG", "reject": True})
    line = answer["lines"][1]
    assert (line["status"], line["rejection"], line["rejection_code"]) == ("rejected", "reviewer", -1)
    assert line["quantity_approved"] == "0"
    assert clinic.paid("C1") == ["100.00", "0.00"]


def test_a_claim_without_a_line_left_is_rejected(clinic: Clinic) -> None:
    """With the last line the whole claim goes, and it is final."""
    clinic.submit("C1", "LAB", "DRUG")
    review(clinic, "C1", {"item": "LAB", "reject": True})
    answer = review(clinic, "C1", {"item": "DRUG", "reject": True})
    assert (answer["status"], answer["rejection"], answer["rejection_code"]) == ("rejected", "all_lines_rejected", 1)
    assert clinic.process() == {"processed": 0, "valuated": 0, "rejected": 0}
    assert refusal(clinic, "C1")[0] == "claims.wrong_state"


def test_a_line_that_failed_a_check_stays_rejected_for_its_own_reason(clinic: Clinic) -> None:
    """A review brings no rejected line back, and the claim without a passed line keeps each line's own reason."""
    clinic.submit("C1", "LAB", "EXTRA")
    assert refusal(clinic, "C1", {"item": "EXTRA", "quantity": 1}) == (
        "input.invalid",
        [("lines.0.item", "rejected")],
    )
    answer = review(clinic, "C1", {"item": "LAB", "reject": True})
    assert [line["rejection"] for line in answer["lines"]] == ["reviewer", "not_covered"]
    assert answer["rejection"] == "all_lines_rejected"


def test_a_later_review_builds_on_the_earlier_one(clinic: Clinic) -> None:
    """What the second reviewer does not speak about stays as the first one left it."""
    clinic.submit("C1", ("LAB", 5, "100"), ("DRUG", 5, "100"))
    review(clinic, "C1", {"item": "LAB", "quantity": 4})
    answer = review(clinic, "C1", {"item": "DRUG", "price": "50", "justification": "half of it"}, as_="chief")
    assert answer["reviewed_by"] == "chief"
    assert [line["justification"] for line in answer["lines"]] == [WHY, "half of it"]
    assert clinic.paid("C1") == ["400.00", "250.00"]


def test_the_reviewers_price_decides_who_pays(clinic: Clinic) -> None:
    """Of two policies that cover a line the fixed limit pays where it lies above the price, else the better share: the
    price of the last review counts, and who was not asked about stays. What pays is what is used up."""
    fixed = {"LAB": {"limit": "fixed", "amount": "60"}, "DRUG": {"limit": "fixed", "amount": "60"}}
    shared = {code: {"percent": 80} for code in fixed}
    for code, items in (("SHARE", shared), ("FIXED", fixed)):
        ceiling = {"level": "policy", "general": "1000"}
        clinic.package(code, {"insurance_months": 12, "ceiling": ceiling, "items": items})
    clinic.person("N7")
    for code in ("SHARE", "FIXED"):
        clinic.insure("N7", code)

    def left() -> dict[str, str]:
        answer = clinic.app.do("eligibility.check", {"number": "N7", "on": "2021-06-30"})
        return {one["package"]: one["ceiling_left"]["general"] for one in answer["coverages"]}

    for code in ("C1", "C2", "C3"):
        clinic.submit(code, ("LAB", 2, "100"), ("DRUG", 1, "100"), number="N7")
    review(clinic, "C1", {"item": "LAB", "price": "50"})
    review(clinic, "C2", {"item": "LAB", "price": "50"})
    review(clinic, "C2", {"item": "LAB", "price": "90"})
    review(clinic, "C3", {"item": "LAB", "price": "50"})
    review(clinic, "C3", {"item": "LAB", "quantity": 1})
    assert clinic.paid("C1") == ["100.00", "80.00"]  # by the limit of 60, which is above 50; 80 % of 100
    assert clinic.show("C2")["payable"] == "224.00"  # 80 % of 180 and of 100
    assert [line["payable"] for line in clinic.show("C3")["lines"]] == ["50.00", "80.00"]
    assert left() == {"SHARE": "616.00", "FIXED": "850.00"}
    assert_sound(clinic.app)


def test_a_review_without_lines_lets_the_claim_pass(clinic: Clinic) -> None:
    """A reviewer who finds nothing says so; the claim is as it was, and reviewed."""
    clinic.submit("C1", "LAB")
    answer = review(clinic, "C1")
    assert (answer["status"], answer["reviewed_by"], answer["version"]) == ("checked", "doctor", 2)
    assert clinic.paid("C1") == ["100.00"]


def test_only_checked_claims_are_reviewed(clinic: Clinic) -> None:
    """Rejected, valuated and withdrawn claims: claims.wrong_state."""
    clinic.submit("C1", "EXTRA")
    clinic.submit("C2", "LAB")
    clinic.process()
    clinic.submit("C3", "LAB")
    clinic.app.do("claims.withdraw", {"claim": "C3", "reason": "double"})
    for code in ("C1", "C2", "C3"):
        assert refusal(clinic, code, {"line": 1, "reject": True})[0] == "claims.wrong_state"
    assert refusal(clinic, "NONE")[0] == "not_found"


@pytest.mark.parametrize(
    ("line", "path", "reason"),
    [
        ({"justification": " "}, "justification", "required"),
        ({"quantity": 6}, "quantity", "range"),  # above what the checks approved
        ({"quantity": 0}, "quantity", "range"),
        ({"quantity": "1.0001"}, "quantity", "decimals"),
        ({"price": "-1"}, "price", "negative"),
        ({"price": "1.001"}, "price", "decimals"),
        ({"price": "100.01"}, "price", "range"),  # pays more than was claimed
        ({"reject": True, "price": "1"}, "price", "excluded"),
        ({"line": 3}, "line", "not_found"),
        ({"item": "DRUG"}, "line", "required"),  # both names at once
    ],
)
def test_what_a_review_may_not_say(clinic: Clinic, line: dict[str, Any], path: str, reason: str) -> None:
    """Each mistake with its place; the claim stays as it was."""
    clinic.submit("C1", ("LAB", 5, "100"), "DRUG")
    before = clinic.show("C1")
    assert refusal(clinic, "C1", {"line": 1, **line}) == ("input.invalid", [(f"lines.0.{path}", reason)])
    assert clinic.show("C1") == before


def test_a_line_is_named_by_item_only_where_it_is_the_only_one(clinic: Clinic) -> None:
    """The same item in several lines is named by the line's number; a line is spoken of once."""
    clinic.submit("C1", "LAB", ("LAB", 2, "100"))
    assert refusal(clinic, "C1", {"item": "LAB", "reject": True})[1] == [("lines.0.item", "ambiguous")]
    twice = ({"line": 2, "quantity": 1}, {"line": 2, "reject": True})
    assert refusal(clinic, "C1", *twice)[1] == [("lines.1.line", "duplicate")]
    review(clinic, "C1", {"line": 2, "reject": True})
    assert clinic.paid("C1") == ["100.00", "0.00"]


def test_quantity_and_price_may_trade_within_what_was_claimed(clinic: Clinic) -> None:
    """A price above the asked one passes as long as the line stays within what was claimed."""
    clinic.submit("C1", ("LAB", 4, "100"))
    review(clinic, "C1", {"line": 1, "quantity": 2, "price": "200"})
    assert clinic.paid("C1") == ["400.00"]


def test_the_reviewers_price_comes_before_limit_and_share(clinic: Clinic) -> None:
    """The fixed limit and the co-insurance are taken of the reviewer's price."""
    terms = {**TERMS, "items": {"LAB": {"limit": "fixed", "amount": "60"}, "DRUG": {"percent": 50}}}
    clinic.package("LIMITED", terms)
    clinic.person("N7")
    clinic.insure("N7", "LIMITED")
    clinic.submit("C1", ("LAB", 2, "100"), ("DRUG", 2, "100"), number="N7")
    review(clinic, "C1", {"line": 1, "price": "50"}, {"line": 2, "price": "30"})
    assert clinic.paid("C1") == ["100.00", "30.00"]


def test_a_batch_may_review_a_claim_twice_and_refuse_a_third(clinic: Clinic) -> None:
    """Items of a batch see each other in order; a refused one writes nothing and hinders no other."""
    clinic.submit("C1", ("LAB", 5, "100"))
    clinic.submit("C2", "LAB")
    said = {"justification": WHY, "line": 1}
    answers = clinic.app.do_all(
        "claims.review",
        [
            {"claim": "C1", "lines": [{**said, "quantity": 3}]},
            {"claim": "C1", "lines": [{**said, "quantity": 4}]},  # more than the first one left
            {"claim": "C2", "lines": [{**said, "reject": True}]},
            {"claim": "C1", "lines": [{**said, "quantity": 2}]},
            {"claim": "C2", "lines": []},
        ],
    )
    assert [getattr(answer, "code", "done") for answer in answers] == [
        "done", "input.invalid", "done", "done", "claims.wrong_state",
    ]  # fmt: skip
    assert clinic.paid("C1") == ["200.00"]
    assert clinic.app.rows("SELECT count(*) AS n FROM core.claim_reviews")[0]["n"] == 3


def test_reviews_of_many_claims_take_as_many_statements_as_of_one(clinic: Clinic) -> None:
    """The batch is read and written as sets."""
    for number in range(12):
        clinic.submit(f"C{number}", "LAB", "DRUG")
    said = [{"line": 1, "quantity": 1, "justification": WHY}]
    counts = []
    for batch in ([0], range(1, 12)):
        items = [{"claim": f"C{number}", "lines": said} for number in batch]
        before = clinic.app.database.statements
        clinic.app.do_all("claims.review", items)
        counts.append(clinic.app.database.statements - before)
    assert counts[0] == counts[1]


def test_a_reviewer_reviews_what_he_or_she_sees(make_app: Any) -> None:
    """Another district's claim is not there for a reviewer of limited scope, and stays as it was."""
    doctor = {"permissions": ["claims.*"], "scope": "provider"}
    clinic = Clinic(make_app(settings={"roles": {"doctor": doctor}}))
    clinic.submit("C1", "LAB")
    own = clinic.app.as_user("own", "doctor", providers=["HC"])
    other = clinic.app.as_user("other", "doctor", providers=["OUT"])
    with pytest.raises(ImisError) as caught:
        review(clinic, "C1", {"line": 1, "reject": True}, as_=other)
    assert caught.value.code == "not_found"
    assert clinic.show("C1")["version"] == 1
    assert review(clinic, "C1", {"line": 1, "reject": True}, as_=own)["status"] == "rejected"
