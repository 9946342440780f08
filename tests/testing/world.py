"""A deployment in which every room holds something: policies, claims and payrolls, paid, waiting and failed."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from imis_core.events import deliver_due
from imis_core.testing.app import TestApp

SETTINGS: Final[dict[str, Any]] = {
    "plugins": {"enabled": ["grants", "health_insurance"]},
    "schemes": {"g": {"type": "grant"}, "chf": {"type": "health_insurance"}},
}
TODAY: Final = date(2021, 6, 15)
TERMS: Final[dict[str, Any]] = {
    "insurance_months": 12,
    "premium_adult": "50",
    "items": {"LAB": {}, "BED": {}},
    "deductible": {"level": "person", "general": "30"},
    "ceiling": {"level": "policy", "inpatient": "500"},
}


def populate(app: TestApp) -> None:
    """Fill an application made with `SETTINGS`, `TODAY` and the plugin of `tests.payroll.grants`."""
    _insure(app)
    _claim(app)
    _pay_grants(app)
    deliver_due(app)


def _family(code: str, *numbers: str) -> dict[str, Any]:
    adult = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
    members = [{**adult, "number": n, "relationship": "head" if i == 0 else "other"} for i, n in enumerate(numbers)]
    return {"code": code, "members": members}


def _insure(app: TestApp) -> None:
    """F1 is insured and paid, F2 idle and paid in part, F3 terminated, F4 suspended."""
    app.clock.set(date(2021, 1, 2))
    app.do("benefit_packages.define", {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2019-01-01",
                                       "terms": TERMS | {"items": {}}})  # fmt: skip
    for code in ("LAB", "BED"):
        app.do("catalogue.define_item", {"code": code, "name": code, "kind": "service", "price": "100"})
    app.do("benefit_packages.define", {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2020-01-01",
                                       "terms": TERMS})  # fmt: skip
    policies = {}
    for code in ("F1", "F2", "F3", "F4"):
        app.do("beneficiaries.register_group", _family(code, f"{code}A", f"{code}B"))
        policies[code] = app.do("coverage.enrol", {"scheme": "chf", "package": "P", "group": code})
    for code, amount in (("F1", "100"), ("F2", "40"), ("F3", "40"), ("F4", "100")):
        paid = {"coverage": policies[code]["id"], "amount": amount, "receipt": f"R-{code}"}
        app.do("contributions.record", paid)
    app.do("coverage.terminate", {"coverage": policies["F3"]["id"]})
    app.do("coverage.suspend", {"coverage": policies["F4"]["id"]})


def _claim(app: TestApp) -> None:
    """C1 and C2 are paid (C2 with a stay), C3 is valuated, C4 rejected, C5 waits in a request whose order failed."""
    app.clock.set(TODAY)
    app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01",
                                           "prices": {"LAB": "100", "BED": "200"}})  # fmt: skip
    for code in ("HC1", "HC2"):
        app.do("providers.register", {"code": code, "name": code, "care_type": "both", "price_lists": ["PL"]})
    app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "cash_list"})
    app.do("payments.enrol_recipient", {"facility": "HC1", "provider": "BANK"})
    app.do("payments.enrol_recipient", {"facility": "HC2", "provider": "BANK"})
    for code, facility, person, item, to in (
        ("C1", "HC1", "F1A", "LAB", "2021-02-01"), ("C2", "HC1", "F1B", "BED", "2021-02-03"),
        ("C4", "HC1", "F2A", "LAB", "2021-02-01"), ("C5", "HC2", "F1A", "LAB", "2021-02-01"),
    ):  # fmt: skip
        app.do("claims.submit", {
            "code": code, "provider": facility, "number": person, "from": "2021-02-01", "to": to, "diagnosis": "A09",
            "lines": [{"item": item, "quantity": 3, "price": "200"}],
        })  # fmt: skip
    app.do("claims.process", {"scheme": "chf"})
    asked = {"scheme": "chf", "from": "2021-01-01", "to": "2021-12-31"}
    request = app.do("claims.request_payment", asked, as_="anna")["id"]
    app.do("claims.approve_payment", {"request": request}, as_="ben")
    app.do("payments.submit", {"claims_batch": request})
    for order in app.do("payments.orders", {"claims_batch": request}):
        _report(app, order, "paid" if order["recipient"] == "HC1" else "failed")
    app.do("claims.submit", {
        "code": "C3", "provider": "HC1", "number": "F1A", "from": "2021-03-01", "diagnosis": "A09",
        "lines": [{"item": "LAB", "quantity": 1, "price": "200"}],
    })  # fmt: skip
    app.do("claims.process", {"scheme": "chf"})


def _report(app: TestApp, order: Any, status: str) -> None:
    rows = [{"order": order["id"], "status": status, "amount": order["amount"]}]
    app.do("payments.reconcile", {"provider": "BANK", "rows": rows})


def _pay_grants(app: TestApp) -> None:
    """Of the first cycle F1 is paid, F2 failed and is tried again, F3 is held, F4 reversed; the second one waits."""
    app.do("benefit_packages.define", {"scheme": "g", "code": "G", "name": "G", "valid_from": "2020-01-01",
                                       "terms": {}})  # fmt: skip
    for code in ("F1", "F2", "F3", "F4"):
        app.do("payments.enrol_recipient", {"number": f"{code}A", "provider": "BANK"})
    app.do("payroll.set_budget", {"scheme": "g", "package": "G", "amount": "1000"})
    app.do("cycles.open", {"scheme": "g", "code": "Y1", "starts": "2021-04-01", "ends": "2021-04-30"})
    app.do("cycles.open", {"scheme": "g", "code": "Y2", "starts": "2021-05-01", "ends": "2021-05-31"})
    payroll = app.do("payroll.generate", {"scheme": "g", "package": "G", "cycle": "Y1"}, as_="anna")["id"]
    app.do("payroll.approve", {"payroll": payroll}, as_="ben")
    held = app.do("payroll.entitlements", {"payroll": payroll})[2]
    app.do("payroll.hold", {"entitlement": held["id"], "reason": "a complaint"})
    app.do("payments.submit", {"payroll": payroll})
    orders = app.do("payments.orders", {"payroll": payroll})
    for order, status in zip(
        [o for o in orders if o["status"] == "submitted"], ("paid", "failed", "paid"), strict=True
    ):
        _report(app, order, status)
        if status == "failed":
            app.do("payments.retry", {"order": order["id"], "reason": "a new account"})
    last = app.do("payments.orders", {"payroll": payroll})
    app.do("payments.reverse", {"order": next(o for o in reversed(last) if o["status"] == "paid")["id"],
                                "reason": "a mistake"})  # fmt: skip
    app.do("payroll.generate", {"scheme": "g", "package": "G", "cycle": "Y2"}, as_="anna")
