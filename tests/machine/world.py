"""What the state machine starts from: three schemes, facilities, an employer, a bank, four insured households."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from imis_core.testing.app import TestApp

START: Final = date(2021, 1, 4)
SETTINGS: Final[dict[str, Any]] = {
    "schemes": {
        "chf": {"type": "health_insurance", "plugins": []},
        "nafa": {"type": "cash_transfer", "plugins": ["grievance"]},
        "wcf": {"type": "eii", "plugins": ["grievance"]},
    }
}
HEALTH: Final = {
    "insurance_months": 12, "premium_adult": "50", "items": {"DRUG": {}, "LAB": {}},
    "ceiling": {"level": "policy", "general": "700"}, "deductible": {"level": "person", "general": "35"},
}  # fmt: skip
GRANT: Final = {
    "amount": {"base": "100", "per_person": "10"}, "arrears": {"late": True, "missed": True}, "approval_limit": "260",
    "frequency": {"every": "month"}, "max_beneficiaries": 4,
}  # fmt: skip
INJURY: Final = {
    "wage": {"window_months": 6, "divisor": 26},
    "temporary": {"rate": 90, "waiting_days": 3, "maximum_days": 60},
    "permanent": {"method": "degree_x_rate", "rate": 100, "pension_from_degree": 20, "months": 24},
    "survivors": {"spouse": {"share": 60}}, "funeral": {"months": 2, "at_most": "500"},
    "contribution": {"employer": 2, "employee": 1},
    "medical": {"work": {"coinsurance": 100, "ceiling": "500"}, "non_work": {"coinsurance": 50}},
}  # fmt: skip

HOUSEHOLDS: Final = 4


def register_household(app: TestApp, n: int, members: int) -> None:
    """Household Fn of adults Nn-0, Nn-1, ...; the first is paid through the bank and works in the mill."""
    people = [
        {
            "number": f"N{n}-{m}", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01",
            "relationship": "head" if m == 0 else "spouse",
        }
        for m in range(members)
    ]  # fmt: skip
    app.do("beneficiaries.register_group", {"code": f"F{n}", "members": people})
    app.do("payments.enrol_recipient", {"number": f"N{n}-0", "provider": "BANK", "account": f"A{n}"})
    app.do("employment.register", {"employer": "E1", "number": f"N{n}-0", "from": "2020-01-01", "wage": "260"})


def make_world(app: TestApp) -> None:
    """As an administrator would set the deployment up."""
    do = app.do
    do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    do("catalogue.define_item", {"code": "DRUG", "name": "Drug", "kind": "product", "price": "100"})
    do("catalogue.define_item", {"code": "LAB", "name": "Laboratory", "kind": "service", "price": "60"})
    prices = {"code": "PL", "valid_from": "2019-01-01", "prices": {"DRUG": "100", "LAB": "60"}}
    do("catalogue.define_price_list", prices)
    for code in ("HC1", "HC2"):
        do("providers.register", {"code": code, "name": code, "level": "health_centre", "price_lists": ["PL"]})
    for scheme, code, terms in (("chf", "BASIC", HEALTH), ("nafa", "GRANT", GRANT), ("wcf", "INJURY", INJURY)):
        package = {"scheme": scheme, "code": code, "name": code, "valid_from": "2020-01-01", "terms": terms}
        do("benefit_packages.define", package)
    do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "bank_file"})
    for facility in ("HC1", "HC2"):
        do("payments.enrol_recipient", {"facility": facility, "provider": "BANK", "account": facility})
    do("payroll.set_budget", {"scheme": "nafa", "package": "GRANT", "amount": "3000"})
    do("employment.register_employer", {"scheme": "wcf", "code": "E1", "name": "Mill"})
    for n in range(HOUSEHOLDS):
        register_household(app, n, members=1 + n % 3)
        policy = do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": f"F{n}"})
        do("contributions.record", {"coverage": policy["id"], "amount": policy["due"], "receipt": f"first {n}"})
    enrolment = do("targeting.enrol", {"scheme": "nafa", "package": "GRANT"})
    do("targeting.approve", {"enrolment": enrolment["id"]}, as_="ben")
    do("cycles.open", {"scheme": "nafa", "code": "nafa-0", "starts": "2021-01-01", "ends": "2021-01-31"})
    do("grievances.define_category", {"code": "WRONG", "name": "Wrong amount", "days": 10, "holds_payment": True})
