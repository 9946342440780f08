"""Short ways to open recoveries and to look at them and at what they take."""

from __future__ import annotations

from typing import Any

from tests.payroll.conftest import Office


def recover(office: Office, code: str = "R1", as_: Any = "anna", **more: Any) -> Any:
    data = {"scheme": "g", "code": code, "reason": "paid twice", **more}
    return office.app.do("payroll.recover", data, as_=as_)


def shown(office: Office, code: str = "R1") -> Any:
    return next(r for r in office.app.do("payroll.recoveries", {"scheme": "g"}) if r["code"] == code)


def of(office: Office, payroll: Any, beneficiary: str) -> Any:
    return next(e for e in office.entitlements(payroll) if e["beneficiary"] == beneficiary)


def steps(entitlement: Any) -> list[tuple[str, str]]:
    return [(step["name"], step["amount"]) for step in entitlement["steps"]]
