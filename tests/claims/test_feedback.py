"""Feedback of patients: who is asked, what is kept, and that it moves nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from imis_core.errors import ImisError
from tests.claims.conftest import Clinic


def messages(clinic: Clinic) -> list[dict[str, Any]]:
    """What the kernel's notifier wrote on the disk."""
    clinic.app.queue.run_due()
    files = sorted((clinic.app.var / "notifications").glob("*.ndjson"))
    return [msgspec.json.decode(line) for file in files for line in file.read_bytes().splitlines()]


def test_a_patient_is_asked_and_answers(clinic: Clinic) -> None:
    """The message goes out, the answer is kept and shown; the claim is paid as if nothing had been said."""
    clinic.submit("C1", "LAB")
    assert clinic.app.do("claims.ask_feedback", {"claim": "C1"}) == {"code": "C1", "status": "asked"}
    (message,) = messages(clinic)
    assert (message["person"], message["about"]) == ("N1", clinic.show("C1")["id"])
    assert message["text"].startswith("HC asks the scheme to pay for care that you had there on February 1, 2021.")
    (row,) = clinic.app.do("claims.feedback", {"status": "asked"})
    assert (row["code"], row["asked_on"], row["care_given"]) == ("C1", "2021-06-30", None)
    said = {"claim": "C1", "care_given": False, "paid": True, "rating": 1, "note": "nobody was there"}
    assert clinic.app.do("claims.record_feedback", said)["status"] == "answered"
    (row,) = clinic.app.do("claims.feedback", {"care_given": False})
    assert (row["rating"], row["paid"], row["items_received"], row["note"]) == (1, True, None, "nobody was there")
    assert clinic.show("C1")["care_given"] is False
    assert clinic.paid("C1") == ["100.00"]


def test_a_later_answer_replaces_the_earlier_one(clinic: Clinic) -> None:
    """An answer without a question is kept too; each is a version of the history."""
    clinic.submit("C1", "LAB")
    clinic.app.do("claims.record_feedback", {"claim": "C1", "care_given": False})
    clinic.app.do("claims.record_feedback", {"claim": "C1", "care_given": True, "rating": 5})
    (row,) = clinic.app.do("claims.feedback")
    assert (row["asked_on"], row["care_given"], row["rating"]) == (None, True, 5)
    history = clinic.app.rows("SELECT care_given FROM core.claim_feedback_history ORDER BY version")
    assert [row["care_given"] for row in history] == [None, False, True]


def test_what_is_not_asked_or_recorded(clinic: Clinic) -> None:
    """Nobody is asked twice or about a claim that is void; an answer is of today or before, a rating 0 to 5."""
    clinic.submit("C1", "LAB")
    clinic.submit("C2", "EXTRA")
    asked = clinic.app.do_all("claims.ask_feedback", [{"claim": code} for code in ("C1", "C1", "C2", "C9")])
    assert [getattr(outcome, "code", "asked") for outcome in asked] == [
        "asked", "claims.feedback_asked", "claims.wrong_state", "not_found",
    ]  # fmt: skip
    wrong = [{"rating": 6}, {"rating": -1}, {"on": "2021-07-01"}]
    said = clinic.app.do_all("claims.record_feedback", [{"claim": "C1", "care_given": True} | more for more in wrong])
    assert [outcome.code for outcome in said] == ["input.invalid"] * 3
    assert len(messages(clinic)) == 1


def test_a_facility_does_not_answer_for_its_patient(make_app: Any) -> None:
    """The answer comes from somebody else than the facility that claims."""
    roles = {"clerk": {"permissions": ["claims.*"], "scope": "provider"}}
    clinic = Clinic(make_app(settings={"roles": roles}))
    clinic.submit("C1", "LAB")
    anna = clinic.app.as_user("anna", "clerk", providers=["HC"])
    with pytest.raises(ImisError) as caught:
        clinic.app.do("claims.record_feedback", {"claim": "C1", "care_given": True}, as_=anna)
    assert caught.value.code == "permission.denied"
    assert clinic.app.do("claims.feedback") == []


def test_chance_asks_the_share_that_the_scheme_says(make_app: Any) -> None:
    """With 100 percent every patient of a checked claim is asked as the claim comes in, with as many statements."""
    chf = {"type": "health_insurance", "feedback": {"share": 100}}
    clinic = Clinic(make_app(settings={"schemes": {"chf": chf}}))
    counts = []
    for size in (2, 9):
        batch = [clinic.claim(f"S{size}-{n}", "LAB") for n in range(size)]
        before = clinic.app.database.statements
        clinic.app.do_all("claims.submit", batch)
        counts.append(clinic.app.database.statements - before)
    clinic.submit("C1", "EXTRA")
    assert counts[0] == counts[1]
    assert len(clinic.app.do("claims.feedback", {"status": "asked"})) == 11
    assert len(messages(clinic)) == 11
