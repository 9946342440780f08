"""A claim in words: every step with its figures, every rejection with its reason, in every language."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.claims.explaining import WHY
from imis_core.eligibility.rejections import Rejection
from imis_core.errors import ImisError
from tests.claims.conftest import Clinic


def explain(clinic: Clinic, code: str, language: str | None = None, as_: Any = "administrator") -> Any:
    asked = {"claim": code} | ({} if language is None else {"language": language})
    return clinic.app.do("claims.explain", asked, as_=as_)


def line(clinic: Clinic, code: str, number: int = 1) -> list[str]:
    return list(explain(clinic, code)["lines"][number - 1]["sentences"])


def insured(clinic: Clinic, terms: dict[str, Any], number: str = "N7") -> None:
    clinic.package("P", {"insurance_months": 12, **terms})
    clinic.person(number)
    clinic.insure(number, "P")


def test_every_step_is_told_with_its_figures(clinic: Clinic) -> None:
    """Price list and date, limit, deductible, ceiling, and what is paid in the end."""
    insured(
        clinic,
        {
            "deductible": {"level": "policy", "general": "20"},
            "ceiling": {"level": "person", "general": "100"},
            "items": {"LAB": {"percent": "87.5"}, "DRUG": {"limit": "fixed", "amount": "60"}},
        },
    )
    clinic.submit("C1", ("LAB", 2, "120"), ("DRUG", "1.5", "80"), number="N7")
    clinic.process()
    answer = explain(clinic, "C1")
    assert answer["language"] == "en"
    assert answer["sentences"] == [
        "Claim C1 of the facility HC for care on February 1, 2021.",
        "Of $360.00 that were claimed the scheme owes $100.00.",
    ]
    # Products come first: they take the deductible and most of the ceiling.
    assert line(clinic, "C1", 2) == [
        "Line 2, DRUG: 1.5 at $80.00 each, $120.00 in all.",
        "The package P, in the version of January 1, 2019, pays for it.",
        "Price of one: $80.00, as asked; the price list PL in force from January 1, 2019 allows $100.00.",
        "Quantity and price make $120.00.",
        "At most $60.00 is paid for one: $90.00.",
        "Deductible of $20.00 for the whole policy: $20.00 of it is taken here, $70.00 are left.",
        "The scheme pays $70.00 of the $120.00 that were claimed.",
    ]
    assert line(clinic, "C1", 1) == [
        "Line 1, LAB: 2 at $120.00 each, $240.00 in all.",
        "The package P, in the version of January 1, 2019, pays for it.",
        "Price of one: $100.00, by the price list PL in force from January 1, 2019.",
        "Quantity and price make $200.00.",
        "The scheme's share is 87.5%: $175.00.",
        "Ceiling of $100.00 for this person: $145.00 lie above what is left of it.",
        "The scheme pays $30.00 of the $240.00 that were claimed.",
    ]
    assert answer["text"].splitlines()[:4] == [
        *answer["sentences"], "", "Line 1, LAB: 2 at $120.00 each, $240.00 in all.",
    ]  # fmt: skip


def test_co_payments_and_caps_are_told(clinic: Clinic) -> None:
    """What the patient pays beside the share, and what lies above the cap of the claim's category."""
    insured(
        clinic,
        {
            "copayments": [{"name": "at the counter", "amount": "5"}],
            "category_caps": {"consultation": "60"},
            "items": {"ADVICE": {}},
        },
    )
    clinic.submit("C1", "ADVICE", number="N7")
    clinic.process()
    assert line(clinic, "C1")[-4:] == [
        "Quantity and price make $100.00.",
        "Co-payment of the patient: $5.00, $95.00 are left.",
        "At most $60.00 is paid for such a claim (consultation): $35.00 lie above it, $60.00 are left.",
        "The scheme pays $60.00 of the $100.00 that were claimed.",
    ]


def test_a_ceiling_that_grows_with_members_is_told_as_it_was(clinic: Clinic) -> None:
    """The figure is the ceiling of the day: with one member beyond the threshold, base and one step."""
    terms = {
        "insurance_months": 12, "threshold_members": 1, "extra_member_ceiling": "30",
        "ceiling": {"level": "policy", "general": "100"}, "items": {"LAB": {}},
    }  # fmt: skip
    clinic.package("GROWS", terms)
    clinic.person("N7")
    child = {"number": "N8", "given_name": "C", "family_name": "B", "sex": "F", "birth_date": "2010-01-01"}
    clinic.app.do("beneficiaries.add_member", {"group": "F-N7", "relationship": "child", "on": "2020-12-01", **child})
    clinic.insure("N7", "GROWS")
    clinic.submit("C1", ("LAB", 2, "100"), number="N7")
    clinic.process()
    assert line(clinic, "C1")[-2:] == [
        "Ceiling of $130.00 for the whole policy: $70.00 lie above what is left of it.",
        "The scheme pays $130.00 of the $200.00 that were claimed.",
    ]


def test_rejections_are_told_in_words(clinic: Clinic) -> None:
    """Each rejected line says why, a rejected claim too; nothing is said of steps that were not taken."""
    clinic.submit("C1", "LAB", "UNLISTED", "EXTRA", "KIDS")
    assert [line(clinic, "C1", number)[-1] for number in (2, 3, 4)] == [
        "Rejected: the facility had no price for it on February 1, 2021.",
        "Rejected: no package of the patient covers it.",
        "Rejected: it is not for patients of this sex or age.",
    ]
    clinic.submit("C2", "LAB", **{"from": "2020-06-01"})
    answer = explain(clinic, "C2")
    assert answer["sentences"][1] == "It is rejected: no policy of the patient covered June 1, 2020."
    assert answer["lines"][0]["sentences"][1] == "Rejected: no policy of the patient covered June 1, 2020."


def test_there_are_words_for_every_rejection() -> None:
    """No code of the rules is without its sentence."""
    assert set(WHY) == {rejection.label for rejection in Rejection}


def test_a_review_is_told(clinic: Clinic) -> None:
    """The reviewer's words, quantity and price; a rejection by the reviewer; the day of the review."""
    clinic.submit("C1", ("LAB", 3, "100"), "DRUG")
    said = [
        {"line": 1, "quantity": 2, "price": "90", "justification": "two are enough"},
        {"line": 2, "reject": True, "justification": "not for this illness"},
    ]
    clinic.app.do("claims.review", {"claim": "C1", "lines": said})
    clinic.process()
    assert "It had its medical review on June 30, 2021." in explain(clinic, "C1")["sentences"]
    first = line(clinic, "C1", 1)
    assert "The medical reviewer says: two are enough" in first
    assert "2 of 3 are approved." in first
    assert "Price of one: $90.00, set by the medical reviewer." in first
    assert line(clinic, "C1", 2)[1:] == [
        "The medical reviewer says: not for this illness", "Rejected: the medical reviewer refused it.",
    ]  # fmt: skip


def test_where_a_claim_stands_is_told(make_app: Any) -> None:
    """Checked, chosen for review, withdrawn, made anew."""
    chf = {"type": "health_insurance", "review": {"above": "150"}}
    clinic = Clinic(make_app(settings={"schemes": {"chf": chf}}))
    clinic.submit("C1", ("LAB", 2, "100"))
    assert explain(clinic, "C1")["sentences"][1:] == [
        "It passed the checks and is not valued yet.", "It was chosen for medical review and waits for it.",
    ]  # fmt: skip
    clinic.app.do("claims.withdraw", {"claim": "C1", "reason": "entered twice"})
    assert explain(clinic, "C1")["sentences"][1:] == ["It was withdrawn: entered twice"]
    clinic.submit("C2", "EXTRA")
    clinic.app.do("claims.restore", {"claim": "C2", "code": "C2-B"})
    assert explain(clinic, "C2")["sentences"][-1] == "It was made anew as the claim C2-B."
    assert explain(clinic, "C2-B")["sentences"][-1] == "It was made anew from the rejected claim C2."


def test_every_language_tells_it(make_app: Any) -> None:
    """The deployment's first language by default, another on request, none that has no catalog."""
    clinic = Clinic(make_app(settings={"deployment": {"languages": ["sw", "en"], "currency": "TZS"}}))
    clinic.submit("C1", ("LAB", "2.5", "100"), "EXTRA")
    clinic.process()
    told = {language: explain(clinic, "C1", language) for language in ("en", "fr", "ne", "sw")}
    assert explain(clinic, "C1") == told["sw"]
    assert told["fr"]["sentences"][0] == "Demande C1 de l’établissement HC pour des soins du 1 février 2021."
    assert told["sw"]["lines"][1]["sentences"][1] == "Umekataliwa: hakuna kifurushi cha mgonjwa kinachogharamia."
    assert told["ne"]["lines"][1]["sentences"][1] == "अस्वीकृत: बिरामीको कुनै प्याकेजले यसलाई समेट्दैन।"
    assert len({answer["text"] for answer in told.values()}) == 4
    with pytest.raises(ImisError) as caught:
        explain(clinic, "C1", "xx")
    assert [problem.path for problem in caught.value.refusal.problems] == ["language"]


def test_who_does_not_see_the_claim_is_told_nothing(make_app: Any) -> None:
    """The explanation needs the permission to see claims, and the claim in one's scope."""
    clerk = {"permissions": ["claims.show"], "scope": "provider"}
    clinic = Clinic(make_app(settings={"roles": {"clerk": clerk}}))
    clinic.submit("C1", "LAB")
    own = clinic.app.as_user("own", "clerk", providers=["HC"])
    other = clinic.app.as_user("other", "clerk", providers=["OUT"])
    assert explain(clinic, "C1", as_=own)["code"] == "C1"
    with pytest.raises(ImisError) as caught:
        explain(clinic, "C1", as_=other)
    assert caught.value.code == "not_found"
