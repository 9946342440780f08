"""Rules of a cycle's reports as listings and files: funds, by place and provider, credited and not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from imis_core.files import read_table
from imis_core.queries import export, run_page
from imis_core.web.exports import write_export
from tests.payroll.conftest import Office

CYCLE = {"scheme": "g", "cycle": "C1"}


@pytest.fixture
def paid(bare: Office) -> Any:
    """Five households in two villages: paid by the post at a counter, paid and failed by the bank, unsent, and held."""
    do = bare.app.do
    bare.package()
    bare.cycle(1)
    bare.app.clock.set(bare.app.clock.today().replace(month=1, day=1))
    do("locations.add", {"code": "D", "name": "District", "level": "district"})
    for code in ("V1", "V2"):
        do("locations.add", {"code": code, "name": code, "level": "village", "parent": "D"})
    point = {"code": "PP", "name": "Counter"}
    do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list", "pay_points": [point]})
    for code, place in (("H1", "V1"), ("H2", "V1"), ("H3", "V2"), ("H5", "V2")):
        bare.household(code, location=place, enrolled=code != "H5")
    do("payments.enrol_recipient", {"number": "NH1", "provider": "POST", "pay_point": "PP", "scheme": "g"})
    bare.household("H4", location="V2", enrolled=True)
    bare.app.clock.set(bare.app.clock.today().replace(month=6, day=15))
    payroll = bare.generate()
    held = next(e for e in bare.entitlements(payroll) if e["beneficiary"] == "H4")
    do("payroll.hold", {"entitlement": held["id"], "reason": "moved away"})
    bare.approve(payroll)
    return payroll


def _pay(office: Office, payroll: Any) -> None:
    office.app.do("payments.submit", {"payroll": payroll["id"]})
    orders = {o["beneficiary"]: o for o in office.orders(payroll)}
    row = {"order": orders["H1"]["id"], "status": "paid", "amount": "10.00", "reference": "T-1"}
    office.app.do("payments.reconcile", {"provider": "POST", "rows": [row]})
    office.report("paid", orders["H2"])
    failed = {"order": orders["H3"]["id"], "status": "failed", "amount": "10.00", "reason": "account closed"}
    office.app.do("payments.reconcile", {"provider": "BANK", "rows": [failed]})


def test_a_funds_request_tells_what_each_provider_needs(bare: Office, paid: Any) -> None:
    """Unsent by the enrolments as they are, afterwards what has no final word; held ones not at all."""
    asked = bare.app.do("payroll.funds_request", CYCLE)
    assert [(r["provider"], r["pay_point"], r["orders"], r["amount"], r["unsent"]) for r in asked] == [
        (None, None, 1, "10.00", "10.00"), ("BANK", None, 2, "20.00", "20.00"), ("POST", "PP", 1, "10.00", "10.00"),
    ]  # fmt: skip
    bare.app.do("payments.submit", {"payroll": paid["id"]})
    sent = bare.app.do("payroll.funds_request", {"payroll": paid["id"]})
    assert [(r["provider"], r["amount"], r["unsent"]) for r in sent] == [
        (None, "10.00", "10.00"), ("BANK", "20.00", "0.00"), ("POST", "10.00", "0.00"),
    ]  # fmt: skip
    _pay(bare, paid)
    assert [r["provider"] for r in bare.app.do("payroll.funds_request", CYCLE)] == [None]


def test_results_are_told_by_place_and_provider(bare: Office, paid: Any) -> None:
    """A row for each place and provider; `level` sums the places below; requested = credited + not credited."""
    _pay(bare, paid)
    rows = bare.app.do("payroll.results", CYCLE)
    found = [(r["location"], r["provider"], r["pay_point"], r["credited"], r["not_credited"]) for r in rows]
    assert found == [
        ("V1", "BANK", None, "10.00", "0.00"), ("V1", "POST", "PP", "10.00", "0.00"),
        ("V2", None, None, "0.00", "10.00"), ("V2", "BANK", None, "0.00", "10.00"),
    ]  # fmt: skip
    district = bare.app.do("payroll.results", {**CYCLE, "level": "district"})
    assert [(r["location"], r["provider"], r["orders"], r["requested"]) for r in district] == [
        ("D", None, 1, "10.00"), ("D", "BANK", 2, "20.00"), ("D", "POST", 1, "10.00"),
    ]  # fmt: skip
    assert bare.code("payroll.results", {**CYCLE, "level": "distric"}) == "input.invalid"
    assert bare.code("payroll.results", {"scheme": "g"}) == "input.invalid"
    seen, cursor = [], None
    for _ in rows:
        page = run_page(bare.app, "payroll.results", CYCLE, bare.app.system, limit=1, cursor=cursor)
        seen, cursor = [*seen, *page.items], page.next
    assert (seen, cursor) == (rows, None)
    order = next(o for o in bare.orders(paid) if o["beneficiary"] == "H2")
    bare.app.do("payments.reverse", {"order": order["id"], "reason": "dead"}, as_="anna")
    first = bare.app.do("payroll.results", CYCLE)[0]
    told = [first[name] for name in ("requested", "credited", "reversed", "not_credited")]
    assert told == ["10.00", "0.00", "10.00", "0.00"]  # it had arrived


def test_credited_and_not_credited_are_listed_with_reasons(bare: Office, paid: Any) -> None:
    """Each payment once: with the provider's reference, or with why it did not arrive, also those never ordered."""
    _pay(bare, paid)
    credited = bare.app.do("payroll.credited", CYCLE)
    assert [(c["beneficiary"], c["recipient"], c["provider"], c["reference"]) for c in credited] == [
        ("H1", "NH1", "POST", "T-1"), ("H2", "NH2", "BANK", None),
    ]  # fmt: skip
    rest = bare.app.do("payroll.not_credited", {"payroll": paid["id"]})
    assert [(r["beneficiary"], r["state"], r["reason"], r["provider"]) for r in rest] == [
        ("H3", "failed", "account closed", "BANK"), ("H4", "held", "moved away", None),
        ("H5", "approved", "no_account", None),
    ]  # fmt: skip
    total = sum(Decimal(r["amount"]) for r in (*credited, *rest))
    assert total == Decimal(bare.show(paid)["amount"])


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("csv", "text/csv"), ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")],
)
def test_reports_are_files(bare: Office, paid: Any, tmp_path: Path, ending: str, kind: str) -> None:
    """Each report is exported by its name, with its columns."""
    _pay(bare, paid)
    names = {r["name"] for r in bare.app.do("reports.list", {})}
    assert names >= {"funds_request", "cycle_results", "payments_credited", "payments_not_credited", "payments_missed"}
    name, path = "reports.payments_not_credited", tmp_path / f"out.{ending}"
    with write_export(export(bare.app, name, CYCLE, bare.app.system), bare.app.queries[name].result, kind) as file:
        path.write_bytes(file.read())
    reasons = [reason for chunk in read_table(path).chunks() for reason in chunk.columns["reason"]]
    assert reasons == ["account closed", "moved away", "no_account"]
