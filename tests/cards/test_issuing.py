"""Who gets a card, how often, and what takes it back. Source: the issue's words, 'cards'."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import evolve

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp
from tests.cards.conftest import enrol


def issue(app: TestApp, **asked: Any) -> Any:
    return app.do("cards.issue", {"scheme": "chf", **asked})


def verified(app: TestApp, code: str, **more: Any) -> Any:
    return app.do("cards.verify", {"code": code, **more})


def statuses(app: TestApp, number: str) -> list[str]:
    return [card["status"] for card in app.do("cards.list", {"number": number})]


def test_every_covered_person_gets_a_card_that_verifies(insured: TestApp) -> None:
    """One card for each cover; it says who, and until when."""
    made = issue(insured)
    assert made["issued"] == 4
    assert [card["number"] for card in made["cards"]] == ["11", "12", "21", "22"]
    found = verified(insured, made["cards"][1]["code"])
    assert found["good"]
    assert (found["name"], found["last_day"]) == ("Björn Bhattarai", "2021-12-31")


def test_asking_again_gives_the_same_cards(insured: TestApp) -> None:
    """A card printed twice is one card: the same serial and the same code."""
    first, second = issue(insured), issue(insured)
    assert second["issued"] == 0
    assert [card["code"] for card in second["cards"]] == [card["code"] for card in first["cards"]]


def test_pages_follow_one_another(insured: TestApp) -> None:
    """`limit` and `after` walk through all of a scheme."""
    first = issue(insured, limit=3)
    second = issue(insured, limit=3, after=first["next"])
    assert [len(first["cards"]), len(second["cards"]), second["next"]] == [3, 1, None]


def test_an_unpaid_policy_gives_no_card(insured: TestApp) -> None:
    """Nobody is covered before the contribution is paid."""
    person = {"number": "31", "given_name": "C", "family_name": "D", "sex": "F", "birth_date": "1990-01-01"}
    insured.do("beneficiaries.register_person", person)
    insured.do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "person": "31"})
    assert issue(insured, number="31")["cards"] == []


def test_issuing_again_revokes_the_lost_card(insured: TestApp) -> None:
    """`reissue` takes the old one back; only the new one is good."""
    old = issue(insured, number="11")["cards"][0]
    new = issue(insured, number="11", reissue="lost")["cards"][0]
    assert old["serial"] != new["serial"]
    assert verified(insured, old["code"])["reason"] == "revoked"
    assert verified(insured, new["code"])["good"]
    assert statuses(insured, "11") == ["revoked", "good"]


def test_a_revoked_card_is_revoked_once(insured: TestApp) -> None:
    card = issue(insured, number="11")["cards"][0]
    insured.do("cards.revoke", {"card": card["serial"], "reason": "stolen"})
    with pytest.raises(ImisError) as error:
        insured.do("cards.revoke", {"card": card["id"], "reason": "stolen"})
    assert error.value.code == "cards.wrong_state"
    assert verified(insured, card["code"])["reason"] == "revoked"


def test_death_suspension_and_termination_void_a_card(insured: TestApp) -> None:
    """Nothing has to be revoked by hand: the list follows the cover."""
    cards = {card["number"]: card for card in issue(insured)["cards"]}
    insured.do("beneficiaries.record_death", {"number": "12", "on": "2021-02-01"}, on=date(2021, 2, 1))
    policy = insured.do("coverage.list", {"number": "21"})[0]["id"]
    assert verified(insured, cards["12"]["code"])["good"], "the day of death is covered"
    insured.do("coverage.suspend", {"coverage": policy, "reason": "fraud"}, on=date(2021, 2, 2))
    assert verified(insured, cards["12"]["code"])["reason"] == "revoked"
    assert verified(insured, cards["21"]["code"])["reason"] == "revoked"
    assert verified(insured, cards["11"]["code"])["good"]
    assert statuses(insured, "12") == ["void"]
    assert insured.do("cards.revoked", {})["cards"] == 3
    insured.do("coverage.resume", {"coverage": policy}, on=date(2021, 2, 3))
    assert verified(insured, cards["21"]["code"])["good"]


def test_a_renewal_gets_a_card_of_its_own(insured: TestApp) -> None:
    """A card ends with its cover; ended cards need no place in the revocation list."""
    card = issue(insured, number="11")["cards"][0]
    insured.clock.set(date(2022, 1, 2))
    assert verified(insured, card["code"])["reason"] == "expired"
    assert insured.do("cards.revoked", {})["cards"] == 0
    policy = enrol(insured, "F1")
    insured.do("contributions.record", {"coverage": policy["id"], "amount": policy["due"], "receipt": "R3"})
    assert issue(insured, number="11")["issued"] == 1


def test_a_clerk_issues_cards_of_the_own_place_only(insured: TestApp) -> None:
    """Cards of other places are neither made, listed, revoked nor told from cards that are not there."""
    other = issue(insured, number="21")["cards"][0]
    place = insured.rows("SELECT id FROM core.locations WHERE code = 'A'")[0]["id"]
    scoped = evolve(insured.as_user("clerk"), everywhere=False, places=(place,))
    made = insured.do("cards.issue", {"scheme": "chf"}, as_=scoped)
    assert [card["number"] for card in made["cards"]] == ["11", "12"]
    assert [card["number"] for card in insured.do("cards.list", {}, as_=scoped)] == ["11", "12"]
    for name in (other["id"], other["serial"], "0" * 16):
        with pytest.raises(ImisError) as error:
            insured.do("cards.revoke", {"card": name, "reason": "x"}, as_=scoped)
        assert error.value.code == "not_found"
    with pytest.raises(ImisError) as error:
        insured.do("cards.revoked", {}, as_=scoped)
    assert error.value.code == "permission.denied"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, "input.invalid"),
        ({"scheme": "chf", "limit": 0}, "input.invalid"),
        ({"scheme": "nope"}, "input.invalid"),
        ({"scheme": "chf", "reissue": " "}, "input.invalid"),
        ({"number": "99"}, "not_found"),
        ({"group": "F9"}, "not_found"),
        ({"location": "Z"}, "not_found"),
        ({"coverage": "x"}, "not_found"),
    ],
)
def test_what_is_asked_wrongly_is_refused(insured: TestApp, asked: dict[str, Any], code: str) -> None:
    with pytest.raises(ImisError) as error:
        insured.do("cards.issue", asked)
    assert error.value.code == code


def test_lost_keys_are_not_made_anew_in_silence(insured: TestApp) -> None:
    """A new key beside printed cards would make them all worthless: somebody has to say so."""
    code = issue(insured, number="11")["cards"][0]["code"]
    (insured.keys / "cards.json").unlink()
    with pytest.raises(ImisError) as error:
        issue(insured, number="12")
    assert error.value.code == "cards.keys_lost"
    insured.do("cards.rotate_keys", {})
    assert issue(insured, number="12")["issued"] == 1
    assert verified(insured, code)["reason"] == "unknown_key"


def test_a_batch_costs_the_same_statements_as_a_card(insured: TestApp) -> None:
    """No statement per card."""
    counts = []
    for asked in ({"number": "11"}, {"scheme": "chf", "location": "A"}):
        seen: list[str] = []

        def note(*arguments: Any, seen: list[str] = seen) -> None:
            seen.append(arguments[2])

        sa.event.listen(insured.database.engine, "before_cursor_execute", note)
        insured.do("cards.issue", {**asked, "reissue": "new layout"})
        sa.event.remove(insured.database.engine, "before_cursor_execute", note)
        counts.append(len(seen))
    assert abs(counts[0] - counts[1]) <= 2, counts


def test_eligibility_is_answered_by_card(insured: TestApp) -> None:
    """health_insurance.md 3: a person by number or by card; a card that was taken back answers nothing."""
    card = issue(insured, number="12")["cards"][0]
    by_number = insured.do("eligibility.check", {"number": "12"})
    assert insured.do("eligibility.check", {"card": card["code"]}) == by_number
    insured.do("cards.revoke", {"card": card["serial"], "reason": "lost"})
    for code, refusal in ((card["code"], "cards.revoked"), ("12", "cards.unreadable")):
        with pytest.raises(ImisError) as error:
            insured.do("eligibility.check", {"card": code})
        assert error.value.code == refusal
    with pytest.raises(ImisError) as error:
        insured.do("eligibility.check", {"card": card["code"], "number": "12"})
    assert error.value.code == "input.invalid"
