"""A payroll that is generated in the background: there at once, filled whole or failed with nothing, tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from imis_core.payroll import generating
from tests.payroll.conftest import Office

pytestmark = pytest.mark.audited
ASKED = {"scheme": "g", "package": "P", "cycle": "C1"}


def begin(office: Office, as_: Any = "anna", **more: Any) -> Any:
    return office.app.do("payroll.generate_in_background", {**ASKED, **more}, as_=as_)


def listed(office: Office) -> list[tuple[str, str | None]]:
    return [(p["status"], p["reason"]) for p in office.app.do("payroll.list", {"scheme": "g"})]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Any:
    """While it holds, no plugin can say who is owed what."""

    def fail(*_: Any) -> Any:
        raise RuntimeError("the plugin broke")

    def breaking(on: bool) -> None:
        monkeypatch.setattr(generating, "_lines_of", fail) if on else monkeypatch.undo()

    return breaking


def test_it_is_there_at_once_and_filled_by_a_worker(office: Office) -> None:
    """`generating` and empty, moved by nobody, until the run is done; then it awaits somebody else's approval."""
    begun = begin(office)
    assert (begun["status"], listed(office)) == ("generating", [("generating", None)])
    assert office.show(begun)["by_state"] == {}
    for move in ("approve", "delete", "close"):
        assert office.code(f"payroll.{move}", {"payroll": begun["id"]}, as_="ben") == "payroll.wrong_state"
    office.app.queue.run_due()
    assert office.app.do("jobs.show", {"job": begun["job"]})["status"] == "succeeded"
    shown = office.show(begun)
    assert (shown["status"], shown["amount"], shown["by_state"]) == ("awaiting_approval", "30.00", {"generated": 3})
    assert office.code("payroll.approve", {"payroll": begun["id"]}, as_="anna") == "payroll.same_person"
    assert office.approve(begun)["status"] == "approved"


def test_what_cannot_be_asked_is_refused_at_once(office: Office) -> None:
    """As `payroll.generate` refuses it; nothing is begun."""
    assert office.code("payroll.generate_in_background", {**ASKED, "cycle": "C9"}) == "not_found"
    assert office.code("payroll.generate_in_background", {**ASKED, "scheme": "quiet"}) == "input.invalid"
    assert listed(office) == []


def test_a_failure_leaves_the_error_and_nothing_else(office: Office, broken: Any) -> None:
    """`failed`, with the error in its history and in the list; tried again by itself or by hand it is filled."""
    begun = begin(office)
    broken(True)
    office.app.queue.run_due()
    ((status, reason),) = listed(office)
    assert (status, "the plugin broke" in (reason or "")) == ("failed", True)
    assert office.app.rows("SELECT 1 FROM core.entitlements") == []
    broken(False)
    again = office.app.do("payroll.generate_again", {"payroll": begun["id"]}, as_="anna")
    assert (again["id"], again["status"]) == (begun["id"], "generating")
    office.app.queue.run_due()
    assert listed(office) == [("awaiting_approval", None)]
    assert office.show(begun)["amount"] == "30.00"
    assert office.code("payroll.generate_again", {"payroll": begun["id"]}) == "payroll.wrong_state"
    changes = office.app.do("audit.trail", {"entity": begun["id"]})
    states = [c["changes"]["state"][1] for c in changes if "state" in c["changes"]]
    assert states == ["generating", "failed", "generating", "awaiting_approval"]


def test_what_failed_may_be_deleted(office: Office, broken: Any) -> None:
    """It was never approved; a run that comes to it later finds it gone and writes nothing."""
    begun = begin(office)
    broken(True)
    office.app.queue.run_due()
    broken(False)
    assert office.app.do("payroll.delete", {"payroll": begun["id"]})["status"] == "deleted"
    office.app.clock.set(office.app.clock.today() + timedelta(days=1))
    office.app.queue.run_due()
    assert (listed(office), office.app.rows("SELECT 1 FROM core.entitlements")) == ([], [])


def test_two_packages_and_payrolls_do_not_pay_twice(office: Office) -> None:
    """A payroll generated meanwhile has those who were missing; the one in the background only the rest."""
    begun = begin(office)
    assert office.generate("C1")["beneficiaries"] == 3
    office.app.queue.run_due()
    assert (office.show(begun)["status"], office.show(begun)["beneficiaries"]) == ("awaiting_approval", 0)
