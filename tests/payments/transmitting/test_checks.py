"""Accounts are checked with the provider before anything is paid to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from imis_core.errors import ImisError
from imis_core.web.server import make_asgi
from tests.payments.transmitting.conftest import Agency
from tests.payments.transmitting.test_messages import Line


@pytest.fixture
def line(agency: Agency) -> Iterator[Line]:
    with TestClient(make_asgi(agency.app)) as client:
        yield Line(agency, client)


def test_accounts_that_cannot_be_paid_to_are_listed(agency: Agency, line: Line) -> None:
    """Asked once for all, answered by a message; what fails is listed until the enrolment is another one."""
    app = agency.app
    assert app.do("payments.check_accounts", {"provider": "MM"}) == {"checks": 1, "accounts": 3}
    agency.work()
    (asked,) = agency.operator.checks
    assert sorted(one["financialAddress"] for one in asked["creditInstructions"]) == [f"+250788P{i}" for i in (1, 2, 3)]
    (check,) = app.do("payments.account_checks", {"provider": "MM"})
    assert (check["state"], check["accounts"], check["failures"]) == ("asked", 3, None)
    wrong = next(one for one in asked["creditInstructions"] if one["financialAddress"] == "+250788P2")
    failed = [{"instructionID": wrong["instructionID"], "failureReason": "account not found"}]
    answer = {"clientCorrelationId": asked["batchId"], "batchId": asked["batchId"], "numberOfFailedCases": 1}
    assert line.post({**answer, "failedAccountLookups": failed}) == 202
    line.read()
    assert line.outcomes() == ["checked"]
    assert app.do("payments.account_checks", {"provider": "MM"})[0]["failures"] == 1
    unpayable = app.do("payments.unpayable_accounts", {"provider": "MM"})
    assert [(one["number"], one["account"], one["reason"]) for one in unpayable] == [
        ("P2", "+250788P2", "account not found")
    ]
    app.do("payments.enrol_recipient", {"number": "P2", "provider": "MM", "account": "+250788999"})
    assert app.do("payments.unpayable_accounts", {"provider": "MM"}) == []


def test_the_last_check_of_an_account_counts(agency: Agency, line: Line) -> None:
    """Found wrong once, and right when the provider is asked again: it is listed no more."""
    app = agency.app
    for failing in (True, False):
        app.do("payments.check_accounts", {"provider": "MM"})
        agency.work()
        asked = agency.operator.checks[-1]
        wrong = [{"instructionID": asked["creditInstructions"][0]["instructionID"], "failureReason": "closed"}]
        answer = {"clientCorrelationId": asked["batchId"], "batchId": asked["batchId"]}
        failed = {"numberOfFailedCases": int(failing), "failedAccountLookups": wrong if failing else []}
        assert line.post({**answer, **failed}) == 202
        line.read()
        assert len(app.do("payments.unpayable_accounts", {"provider": "MM"})) == failing


def test_an_account_that_no_message_can_name_is_listed_at_once(agency: Agency) -> None:
    """More than 20 characters: the provider is not asked about it."""
    agency.app.do("payments.enrol_recipient", {"number": "P1", "provider": "MM", "account": "9" * 21})
    agency.app.do("payments.check_accounts", {"provider": "MM"})
    agency.work()
    (asked,) = agency.operator.checks
    assert len(asked["creditInstructions"]) == 2
    assert [one["number"] for one in agency.app.do("payments.unpayable_accounts", {"provider": "MM"})] == ["P1"]


def test_an_answer_to_nothing_that_was_asked_changes_nothing(agency: Agency, line: Line) -> None:
    """Another name, or garbage in its rows."""
    agency.app.do("payments.check_accounts", {"provider": "MM"})
    agency.work()
    rows: list[Any] = [{"instructionID": "x"}, {"instructionID": "999999", "failureReason": "no"}, {}]
    assert line.post({"clientCorrelationId": "A0", "failedAccountLookups": rows}) == 202
    assert line.post({"clientCorrelationId": "A1", "failedAccountLookups": json.dumps(rows)}) == 202
    line.read()
    assert line.outcomes() == ["checked", "unreadable"]
    assert agency.app.do("payments.account_checks", {"provider": "MM"})[0]["state"] == "asked"


def test_a_provider_without_a_service_cannot_be_asked(agency: Agency) -> None:
    """It says where that would be set."""
    agency.app.do("payments.register_provider", {"code": "B", "name": "B", "channel": "bank_file"})
    with pytest.raises(ImisError, match=r"payment_gateways\.B") as refused:
        agency.app.do("payments.check_accounts", {"provider": "B"})
    assert refused.value.code == "payments.no_service"
