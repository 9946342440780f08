"""Selection for medical review: by value, chance and deviation, by plugins and by hand; and how chosen claims wait."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.deployment import SettingsError
from imis_core.errors import ImisError
from tests.claims.conftest import Clinic


def clinic_with(make_app: Any, review: dict[str, Any] | None = None, **settings: Any) -> Clinic:
    chf = {"type": "health_insurance"} | ({} if review is None else {"review": review})
    return Clinic(make_app(settings={"schemes": {"chf": chf}, **settings}))


def waiting(clinic: Clinic, **asked: Any) -> dict[str, list[str]]:
    return {row["code"]: row["reasons"] for row in clinic.app.do("claims.reviews", asked)}


def test_without_settings_nobody_is_chosen(clinic: Clinic) -> None:
    """A scheme that says nothing reviews nothing, and taking claims in costs no statement more."""
    clinic.submit("C1", ("LAB", 1000, "100"))
    assert waiting(clinic) == {}
    assert clinic.process()["valuated"] == 1


def test_by_value(make_app: Any) -> None:
    """Claims that ask more than the amount wait; those that ask just so much do not, nor do rejected ones."""
    clinic = clinic_with(make_app, {"above": "300.00"})
    clinic.submit("C1", ("LAB", 3, "100"))
    clinic.submit("C2", ("LAB", 3, "100"), ("DRUG", 1, "0.01"))
    clinic.submit("C3", ("EXTRA", 9, "100"))
    assert waiting(clinic) == {"C2": ["value"]}
    assert [clinic.show(code)["awaits_review"] for code in ("C1", "C2", "C3")] == [False, True, False]


def test_a_chosen_claim_waits_for_its_review(make_app: Any) -> None:
    """Processing all leaves it where it is, naming it is refused; after the review it goes like any other."""
    clinic = clinic_with(make_app, {"above": "50"})
    clinic.submit("C1", "LAB")
    assert clinic.process() == {"processed": 0, "valuated": 0, "rejected": 0}
    clinic.app.do("claims.process_in_background", {"scheme": "chf"})
    clinic.app.queue.run_due()
    assert clinic.show("C1")["status"] == "checked"
    with pytest.raises(ImisError) as caught:
        clinic.process("C1")
    assert caught.value.code == "claims.awaits_review"
    clinic.app.do("claims.review", {"claim": "C1", "lines": []}, as_="doctor")
    assert (waiting(clinic), clinic.show("C1")["awaits_review"]) == ({}, False)
    assert clinic.process()["valuated"] == 1
    (row,) = clinic.app.do("claims.reviews", {"status": "reviewed"})
    assert (row["code"], row["reviewed_by"], row["reasons"], row["status"]) == ("C1", "doctor", ["value"], "valuated")


def test_a_chosen_claim_may_be_withdrawn(make_app: Any) -> None:
    """A claim that its facility takes back waits no more."""
    clinic = clinic_with(make_app, {"above": "50"})
    clinic.submit("C1", "LAB")
    clinic.app.do("claims.withdraw", {"claim": "C1", "reason": "double"})
    assert waiting(clinic) == {}


def test_chance_chooses_the_share_and_always_the_same(make_app: Any) -> None:
    """All at 100 percent, none at 0, about the share between; what is drawn follows from the claim and the key."""
    from imis_core.claims.selecting import draw
    from imis_core.context import Context

    clinic = clinic_with(make_app, {"share": 30})
    clinic.app.do_all("claims.submit", [clinic.claim(f"C{n}", "LAB") for n in range(200)])
    chosen = set(waiting(clinic, reason="random"))
    assert 30 <= len(chosen) <= 95  # 30 percent of 200, five standard deviations
    app = clinic.app
    with app.database.query(app.system) as connection:
        context = Context(app, connection, app.system, app.clock.now(), app.clock.today())
        rows = app.rows("SELECT id, code FROM core.claims")
        assert {row["code"] for row in rows if draw(context, "claims.review", row["id"]) * 100 < 30} == chosen
        # Another purpose and another key draw otherwise.
        assert {row["code"] for row in rows if draw(context, "claims.feedback", row["id"]) * 100 < 30} != chosen


@pytest.mark.parametrize(("share", "count"), [(0, 0), ("100", 20)])
def test_the_ends_of_chance(make_app: Any, share: Any, count: int) -> None:
    """0 chooses nobody, 100 everybody."""
    clinic = clinic_with(make_app, {"share": share})
    clinic.app.do_all("claims.submit", [clinic.claim(f"C{n}", "LAB") for n in range(20)])
    assert len(waiting(clinic)) == count


def test_by_deviation_from_last_years_average(make_app: Any) -> None:
    """More than 50 percent above what the diagnosis cost on average in the calendar year before; others pass."""
    clinic = clinic_with(make_app, {"deviation": 50})
    clinic.app.do("catalogue.add_diagnosis", {"code": "B50", "name": "Malaria"})
    for code, amount in (("P1", 100), ("P2", 300), ("P3", 9000)):
        clinic.submit(code, ("LAB", 1, str(amount)))
    clinic.app.do("claims.withdraw", {"claim": "P3", "reason": "no part of the average"})
    clinic.submit("P4", ("EXTRA", 1, "5000"))  # nor is a rejected one
    clinic.submit("SAME-YEAR", ("LAB", 1, "9000"))
    assert waiting(clinic) == {}  # nothing of 2020 is known
    clinic.app.do("claims.withdraw", {"claim": "SAME-YEAR", "reason": "no part of the average either"})
    clinic.app.clock.set(date(2022, 3, 1))
    clinic.insure("N1", "BASIC", on="2022-01-01")
    clinic.app.queue.enqueue_due()
    clinic.app.queue.run_due()
    day = {"from": "2022-02-01"}
    clinic.submit("C1", ("LAB", 1, "300"), **day)  # 150 % of 200: not more
    clinic.submit("C2", ("LAB", 1, "300.01"), **day)
    clinic.submit("C3", ("LAB", 1, "9000"), diagnosis="B50", **day)  # nobody had it last year
    clinic.submit("C4", ("LAB", 1, "9000"))  # of 2021, and of 2020 nothing is known
    assert waiting(clinic) == {"C2": ["deviation"]}


def test_a_claim_chosen_for_several_reasons_tells_them_all(make_app: Any) -> None:
    """The reasons come in the order of the rules, and one review answers all."""
    clinic = clinic_with(make_app, {"above": "50", "share": 100})
    clinic.submit("C1", "LAB")
    clinic.app.do("claims.select_for_review", {"claim": "C1", "reason": "looks odd"}, as_="doctor")
    (row,) = clinic.app.do("claims.reviews")
    assert (sorted(row["reasons"]), row["notes"]) == (["by_hand", "random", "value"], ["looks odd"])
    clinic.app.do("claims.review", {"claim": "C1", "lines": []})
    assert waiting(clinic) == {}


def test_by_hand(clinic: Clinic) -> None:
    """A checked claim may be chosen by anyone with the permission, with a reason; others not."""
    clinic.submit("C1", "LAB")
    clinic.submit("C2", "EXTRA")
    items = [
        {"claim": "C1", "reason": "a neighbour says so"}, {"claim": "C1", "reason": " "},
        {"claim": "C2", "reason": "x"}, {"claim": "C9", "reason": "x"},
    ]  # fmt: skip
    outcomes = clinic.app.do_all("claims.select_for_review", items)
    assert outcomes[0] == {"code": "C1", "awaits_review": True}
    assert [outcome.code for outcome in outcomes[1:]] == ["input.invalid", "claims.wrong_state", "not_found"]
    assert waiting(clinic) == {"C1": ["by_hand"]}


def test_a_restored_claim_is_chosen_like_any_other(make_app: Any) -> None:
    """A claim made anew goes through the same selection."""
    clinic = clinic_with(make_app, {"above": "50"})
    clinic.submit("C1", "LAB")
    said = [{"line": 1, "reject": True, "justification": "why"}]
    clinic.app.do("claims.review", {"claim": "C1", "lines": said})
    clinic.app.do("claims.restore", {"claim": "C1", "code": "C2"})
    assert waiting(clinic) == {"C2": ["value"]}


def test_stays_at_two_places_at_once(make_app: Any) -> None:
    """With the plugin's setting, a stay that shares a night with one elsewhere waits; it may be nobody's fault."""
    clerk = {"permissions": ["claims.*"], "scope": "provider"}
    clinic = clinic_with(
        make_app, plugins={"health_insurance": {"review_overlapping_stays": True}}, roles={"clerk": clerk}
    )
    clinic.submit("C1", "LAB", **{"from": "2021-02-01", "to": "2021-02-05"})
    anna = clinic.app.as_user("anna", "clerk", providers=["IN"])  # who does not see the other facility's claim
    stay = {"provider": "IN", "as_": anna}
    clinic.submit("C2", "LAB", **{"from": "2021-02-05", "to": "2021-02-07"}, **stay)  # came as the other left
    clinic.submit("C3", "LAB", **{"from": "2021-02-04", "to": "2021-02-06"}, **stay)
    clinic.submit("C4", "LAB", **{"from": "2021-02-03"}, **stay)  # no stay
    clinic.submit("C5", "LAB", number="N2", **{"from": "2021-02-02", "to": "2021-02-03"}, **stay)  # somebody else
    clinic.submit("C6", "LAB", **{"from": "2021-02-02", "to": "2021-02-03"})  # the same facility
    assert waiting(clinic) == {"C3": ["overlapping_stays"]}


def test_choosing_takes_as_many_statements_for_many_claims(make_app: Any) -> None:
    """All rules of all plugins are one statement for a batch."""
    clinic = clinic_with(make_app, {"above": "50", "share": 50, "deviation": 10})
    counts = []
    for size in (5, 60):
        batch = [clinic.claim(f"S{size}-{n}", "LAB") for n in range(size)]
        before = clinic.app.database.statements
        clinic.app.do_all("claims.submit", batch)
        counts.append(clinic.app.database.statements - before)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("review", "path"),
    [
        ({"above": "1.001"}, "schemes.chf.review.above"),
        ({"above": "much"}, "schemes.chf.review.above"),
        ({"share": 101}, "schemes.chf.review.share"),
        ({"deviation": -1}, "schemes.chf.review.deviation"),
        ({"abov": "1"}, "schemes.chf.review.abov"),
    ],
)
def test_wrong_settings_are_told_with_their_place(make_app: Any, review: dict[str, Any], path: str) -> None:
    """A mistake in the table `review` stops the start."""
    with pytest.raises(SettingsError) as caught:
        clinic_with(make_app, review)
    assert [problem.path for problem in caught.value.refusal.problems] == [path]
