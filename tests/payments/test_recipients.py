"""Payment providers, and through whom persons and facilities are paid."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from imis_core.payments.channels import PaymentChannel
from tests.payments.conftest import Office


def test_a_payment_provider_is_registered_once(office: Office) -> None:
    """A code is used once; an unknown channel, a pay point twice, or an unknown place is told with its path."""
    data: dict[str, Any] = {"code": "BANK", "name": "Bank", "channel": "cash_list"}
    assert office.refusal("payments.register_provider", data) == "payments.duplicate_code"
    assert office.refusal("payments.register_provider", {**data, "channel": "pigeon"}) == "input.invalid"
    twice = [{"code": "P1", "name": "P1"}, {"code": "P1", "name": "P2"}]
    assert office.refusal("payments.register_provider", {**data, "pay_points": twice}) == "input.invalid"
    lost = [{"code": "P1", "name": "P1", "location": "NOWHERE"}]
    assert office.refusal("payments.register_provider", {**data, "code": "B2", "pay_points": lost}) == "not_found"


def test_the_newest_enrolment_replaces_the_one_before(office: Office) -> None:
    """An order goes where the facility was enrolled last, by its own scheme's enrolment if it has one."""
    office.claim()
    batch = office.approved()
    office.account("HC1", "BANK")
    office.account("HC1", "POST")
    office.submit(batch)
    (order,) = office.orders(batch)
    assert office.report((order["id"], "paid", "100.00")) == {"unknown": 1}
    assert office.report((order["id"], "paid", "100.00"), provider="POST") == {"matched": 1}
    office.claim()
    own = {"facility": "HC1", "provider": "BANK", "scheme": "chf"}
    office.app.do("payments.enrol_recipient", own)
    second = office.approved()
    office.submit(second)
    assert office.report((office.orders(second)[0]["id"], "paid", "100.00")) == {"matched": 1}


def test_of_several_enrolments_in_a_batch_the_last_counts(office: Office) -> None:
    """As if they had come one after the other; a new provider twice in a batch is refused the second time."""
    batch = [{"facility": "HC1", "provider": provider} for provider in ("BANK", "POST", "NONE", "BANK")]
    outcomes = office.app.do_all("payments.enrol_recipient", batch)
    assert [getattr(o, "code", None) or o["provider"] for o in outcomes] == ["BANK", "POST", "not_found", "BANK"]
    active = office.app.rows(
        "SELECT p.code FROM core.recipients r JOIN core.payment_providers p ON p.id = r.payment_provider WHERE r.active"
    )
    assert [row["code"] for row in active] == ["BANK"]
    new = {"code": "NEW", "name": "New", "channel": "cash_list", "pay_points": [{"code": "P1", "name": "P1"}]}
    first, second = office.app.do_all("payments.register_provider", [new, new])
    assert (first["code"], second.code) == ("NEW", "payments.duplicate_code")
    office.app.do("payments.enrol_recipient", {"number": "N1", "provider": first["id"], "pay_point": "P1"})


def test_two_enrolments_at_once_leave_one_active(office: Office) -> None:
    """The second waits for the first and replaces it."""
    office.app.as_user("administrator")
    for _ in range(5):
        barrier = Barrier(2)

        def enrol(provider: str, barrier: Barrier = barrier) -> None:
            barrier.wait()
            office.account("HC1", provider)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(enrol, ("BANK", "POST")))
        assert len(office.app.rows("SELECT 1 FROM core.recipients WHERE active")) == 1


def test_enrolling_many_takes_as_many_statements_as_enrolling_few(office: Office) -> None:
    """Ten recipients and two hundred take the same number of statements."""
    counts = []
    for size in (10, 200):
        people = [
            {"number": f"R{size}-{n}", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
            for n in range(size)
        ]
        office.app.do_all("beneficiaries.register_person", people)
        before = office.app.database.statements
        office.app.do_all("payments.enrol_recipient", [{"number": p["number"], "provider": "BANK"} for p in people])
        counts.append(office.app.database.statements - before)
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"provider": "BANK"}, "input.invalid"),
        ({"provider": "BANK", "facility": "HC1", "number": "N1"}, "input.invalid"),
        ({"provider": "NONE", "facility": "HC1"}, "not_found"),
        ({"provider": "BANK", "facility": "NONE"}, "not_found"),
        ({"provider": "BANK", "number": "NONE"}, "not_found"),
        ({"provider": "BANK", "facility": "HC1", "scheme": "none"}, "input.invalid"),
        ({"provider": "BANK", "facility": "HC1", "pay_point": "NONE"}, "not_found"),
    ],
)
def test_a_recipient_and_a_provider_must_be_known(office: Office, data: dict[str, Any], code: str) -> None:
    """One holder is named, and all that is named exists."""
    assert office.refusal("payments.enrol_recipient", data) == code


def test_who_is_paid_through_whom_is_listed(office: Office) -> None:
    """The active enrolments, of one provider or of one scheme; each change is a version in the recipient's history."""
    points = [{"code": "PP1", "name": "Main street"}]
    bank = {"code": "MM", "name": "Operator", "channel": "mobile_money", "pay_points": points}
    office.app.do("payments.register_provider", bank)
    first = office.app.do("payments.enrol_recipient", {"facility": "HC1", "provider": "BANK"})
    office.app.do("payments.enrol_recipient", {"facility": "HC1", "provider": "POST"})
    wallet = {"number": "N1", "provider": "MM", "account": "220", "pay_point": "PP1", "scheme": "chf"}
    office.app.do("payments.enrol_recipient", wallet)
    listed = office.app.do("payments.recipients")
    shown = [(r["number"], r["facility"], r["provider"], r["account"], r["pay_point"], r["scheme"]) for r in listed]
    assert shown == [(None, "HC1", "POST", None, None, None), ("N1", None, "MM", "220", "PP1", "chf")]
    assert office.app.do("payments.recipients", {"provider": "MM"}) == listed[1:]
    assert office.app.do("payments.recipients", {"scheme": "chf"}) == listed[1:]
    assert office.refusal("payments.recipients", {"provider": "NONE"}) == "not_found"
    assert office.refusal("payments.recipients", {"scheme": "none"}) == "input.invalid"
    changes = office.app.do("audit.trail", {"entity": first["id"]})
    assert [entry["command"] for entry in changes] == ["payments.enrol_recipient"] * 2


@pytest.mark.parametrize(
    ("channel", "account"), [("cash_list", False), ("bank_file", True), ("mobile_money", True), ("voucher", False)]
)
def test_the_kernel_brings_four_channels(office: Office, channel: str, account: bool) -> None:
    """Providers register with any of them; those that pay to accounts ask for one."""
    office.app.do("payments.register_provider", {"code": "X", "name": "X", "channel": channel})
    enrolment = {"provider": "X", "number": "N1"}
    if account:
        assert office.refusal("payments.enrol_recipient", enrolment) == "input.invalid"
        enrolment["account"] = "220"
    assert office.app.do("payments.enrol_recipient", enrolment)["provider"] == "X"


def test_a_channel_says_what_a_recipient_needs(office: Office) -> None:
    """A channel to accounts refuses a recipient without one."""
    office.app.channels["wire"] = PaymentChannel("wire", needs_account=True, needs_pay_point=False)
    office.app.do("payments.register_provider", {"code": "WIRE", "name": "Wire", "channel": "wire"})
    asked = {"provider": "WIRE", "number": "N1"}
    assert office.refusal("payments.enrol_recipient", asked) == "input.invalid"
    assert office.app.do("payments.enrol_recipient", {**asked, "account": "1234"})["provider"] == "WIRE"
