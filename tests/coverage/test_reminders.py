"""The rules of what holders are told: renewals to come, old photos, policies that ended."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from imis_core.coverage.reminders import remind
from imis_core.jobs import NoInput
from imis_core.testing.app import TestApp
from tests.coverage.test_coverage import enrol, family, package, pay, person

PNG = "iVBORw0KGgo="  # how a PNG begins


def day(app: TestApp, on: date) -> list[dict[str, Any]]:
    """Let the daily jobs of a day run; what was told on it."""
    app.clock.set(on)
    app.queue.enqueue_due()
    app.queue.run_due()
    path = app.var / "notifications" / f"{on}.ndjson"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def paid(app: TestApp, code: str = "F", *numbers: str, **more: Any) -> dict[str, Any]:
    family(app, code, *(numbers or ("N1", "N2")))
    policy = enrol(app, code, **more)
    pay(app, policy, policy["due"], f"R-{code}")
    return policy


def test_a_renewal_is_offered_once_within_a_fortnight_of_the_end(app: TestApp) -> None:
    """Fourteen days before the end the head is told to what and from when the policy may be renewed; once."""
    package(app)
    policy = paid(app)
    assert day(app, date(2021, 12, 16)) == []
    [told] = day(app, date(2021, 12, 17))
    assert (told["person"], told["about"]) == ("N1", policy["id"])
    assert told["text"] == "The policy of A B ends on 2021-12-31. Renew it in time: BASIC from 2022-01-01."
    assert day(app, date(2021, 12, 18)) == []
    [shown] = app.do("coverage.reminders", {"coverage": policy["id"]})
    assert (shown["kind"], shown["package"], shown["starts"], shown["told_on"]) == (
        "renewal", "BASIC", "2022-01-01", "2021-12-17",
    )  # fmt: skip


def test_who_was_renewed_or_never_paid_is_not_told(app: TestApp) -> None:
    """A successor that stands, an unpaid policy, a terminated one: nothing to offer."""
    package(app)
    renewed = paid(app, "F", "N1")
    app.do("coverage.renew", {"coverage": renewed["id"]}, on=date(2021, 1, 2))
    family(app, "G", "N3")
    enrol(app, "G")
    ended = paid(app, "H", "N4")
    app.do("coverage.terminate", {"coverage": ended["id"]})
    assert day(app, date(2021, 12, 31)) == []


def test_the_offer_names_what_follows(app: TestApp) -> None:
    """The next version of the package, or the conversion package, in force on the day after the end."""
    package(app)
    package(app, "OLD", conversion_package="BASIC")
    app.do(
        "benefit_packages.define",
        {"scheme": "chf", "code": "BASIC", "name": "Basic 2022", "valid_from": "2022-01-01",
         "terms": {"insurance_months": 12, "premium_adult": "5"}},
    )  # fmt: skip
    paid(app, "F", "N1", package="OLD")
    [told] = day(app, date(2021, 12, 20))
    assert "Basic 2022 from 2022-01-01" in told["text"]


def test_an_old_photo_is_warned_of(app: TestApp) -> None:
    """Sixty months for adults, twelve for children; who has no photo is not warned."""
    package(app)
    for number, born in (("N1", "1980-01-01"), ("N2", "2012-01-01"), ("N3", "2012-01-01"), ("N4", "1980-01-01")):
        fields = {k: v for k, v in person(number, born=born).items() if k != "relationship"}
        app.do("beneficiaries.register_person", {**fields, "given_name": f"G{number}"})
    members = [{"number": n, "relationship": "head" if n == "N1" else "child"} for n in ("N1", "N2", "N3", "N4")]
    app.do("beneficiaries.register_group", {"code": "F", "members": members})
    for number, on in (("N1", "2016-12-20"), ("N2", "2020-12-20"), ("N3", "2020-12-21")):
        app.do("beneficiaries.set_photo", {"number": number, "media_type": "image/png", "content": PNG, "on": on})
    policy = enrol(app, "F")
    pay(app, policy, policy["due"], "R1")
    told = [m["text"] for m in day(app, date(2021, 12, 20)) if m["subject"] == "A new photo is needed"]
    assert told == [
        f"The photo of G{n} B ({n}) is from {taken}. Please bring a new one when you renew."
        for n, taken in (("N1", "2016-12-20"), ("N2", "2020-12-20"))
    ]
    photos = app.do("coverage.reminders", {"kind": "photo"})
    assert [p["number"] for p in photos] == ["N1", "N2"]


def test_who_is_not_covered_any_more_is_told(app: TestApp) -> None:
    """After its last day a policy is expired, and the holder is told once."""
    package(app)
    policy = paid(app)
    assert [m["subject"] for m in day(app, date(2022, 1, 1))] == ["Your policy has ended"]
    assert day(app, date(2022, 1, 2)) == []
    assert app.do("coverage.show", {"coverage": policy["id"]})["status"] == "expired"


@pytest.mark.parametrize(
    ("language", "begin"),
    [("fr", "La police de A B prend fin le"), ("sw", "Bima ya A B"), ("ne", "A B को बीमा"), ("xx", "The policy of")],
)
def test_messages_are_in_the_deployments_language(make_app: Any, language: str, begin: str) -> None:
    """The first of the deployment's languages that has the text; English has all."""
    app = make_app(settings={"deployment": {"languages": [language], "renewal_notice_days": 30}})
    package(app)
    paid(app)
    [told] = day(app, date(2021, 12, 1))
    assert told["text"].startswith(begin)


def test_a_day_takes_the_same_number_of_statements_whatever_the_policies(make_app: Any) -> None:
    """Set-based: the statements of the job do not grow with the policies of a chunk."""
    counts = []
    for size in (3, 6):
        app = make_app()
        package(app)
        for i in range(size):
            paid(app, f"F{i}", f"N{i}")
        app.clock.set(date(2021, 12, 20))
        before = app.database.statements
        remind(app, NoInput())
        counts.append(app.database.statements - before)
        assert len(app.do("coverage.reminders", {"kind": "renewal"})) == size
    assert counts[0] == counts[1]
