"""A deployment that pays a small grant: households on the register, one provider, two people in the office."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp
from imis_core.testing.plugin import AppMaker
from tests.payroll.grants import GrantsPlugin, SilentPlugin

CLERK = {"permissions": ["*"], "scope": "place"}
ADULT = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01", "relationship": "head"}


class Office:
    """`anna` prepares payrolls, `ben` approves them; the scheme `g` has the package P and monthly cycles C1, C2, ..."""

    def __init__(self, app: TestApp) -> None:
        self.app = app

    def package(self, code: str = "P", valid_from: str = "2020-01-01", **terms: Any) -> None:
        package = {"scheme": "g", "code": code, "name": code, "valid_from": valid_from, "terms": terms}
        self.app.do("benefit_packages.define", package)

    def household(self, code: str, location: str | None = None, enrolled: bool = True, **attributes: Any) -> None:
        """A household of one adult, N and the code, who is paid through the bank."""
        member = {**ADULT, "number": f"N{code}", "location": location}
        group = {"code": code, "location": location, "attributes": attributes, "members": [member]}
        self.app.do("beneficiaries.register_group", group)
        if enrolled:
            self.app.do("payments.enrol_recipient", {"number": f"N{code}", "provider": "BANK"})

    def attribute(self, code: str, **attributes: int) -> None:
        """Change what is known of a household."""
        with self.app.database.command(self.app.system) as (connection, _):
            connection.execute(
                sa.text("UPDATE core.groups SET attributes = CAST(:attributes AS jsonb) WHERE code = :code"),
                {"code": code, "attributes": json.dumps(attributes)},
            )

    def cycle(self, month: int, **more: Any) -> None:
        starts = date(2021, month, 1)
        ends = date(2021, month, 28)
        self.app.do("cycles.open", {"scheme": "g", "code": f"C{month}", "starts": starts, "ends": ends, **more})

    def generate(self, cycle: str = "C1", as_: Any = "anna", **more: Any) -> Any:
        return self.app.do("payroll.generate", {"scheme": "g", "package": "P", "cycle": cycle, **more}, as_=as_)

    def approve(self, payroll: Any, as_: Any = "ben") -> Any:
        return self.app.do("payroll.approve", {"payroll": payroll["id"]}, as_=as_)

    def approved(self, cycle: str = "C1") -> Any:
        return self.approve(self.generate(cycle))

    def submitted(self, cycle: str = "C1") -> Any:
        payroll = self.approved(cycle)
        self.app.do("payments.submit", {"payroll": payroll["id"]})
        return payroll

    def orders(self, payroll: Any) -> Any:
        return self.app.do("payments.orders", {"payroll": payroll["id"]})

    def report(self, status: str, *orders: Any) -> Any:
        rows = [{"order": order["id"], "status": status, "amount": order["amount"]} for order in orders]
        return self.app.do("payments.reconcile", {"provider": "BANK", "rows": rows})

    def entitlements(self, payroll: Any) -> Any:
        return self.app.do("payroll.entitlements", {"payroll": payroll["id"]})

    def states(self, payroll: Any) -> list[tuple[str, str]]:
        return [(e["beneficiary"], e["state"]) for e in self.entitlements(payroll)]

    def show(self, payroll: Any) -> Any:
        return self.app.do("payroll.show", {"payroll": payroll["id"]})

    def status(self, payroll: Any) -> str:
        return str(self.show(payroll)["status"])

    def budget(self) -> Any:
        return self.app.do("payroll.budget", {"scheme": "g", "package": "P"})

    def balances(self) -> dict[str, str]:
        """What the accounts hold; accounts at 0 are left out."""
        shown = self.app.do("ledger.balances", {"scheme": "g"})
        assert shown["balanced"]
        return {account: amount for account, amount in shown["accounts"].items() if amount != "0.00"}

    def code(self, name: str, data: Any, **more: Any) -> str:
        """The code with which a command or query is refused."""
        with pytest.raises(ImisError) as refused:
            self.app.do(name, data, **more)
        return refused.value.code


@pytest.fixture
def bare(make_app: AppMaker) -> Office:
    """The office before anything is defined or registered."""
    settings = {
        "plugins": {"enabled": ["grants", "silence"]},
        "schemes": {"g": {"type": "grant"}, "quiet": {"type": "silent"}},
        "roles": {"clerk": CLERK},
    }
    extra = {"grants": GrantsPlugin(), "silence": SilentPlugin()}
    app = make_app(today=date(2021, 6, 15), settings=settings, extra=extra, plugins=())
    app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "cash_list"})
    return Office(app)


@pytest.fixture
def office(bare: Office) -> Office:
    """The office with the package P (10.00 a household), the cycles C1 to C3 and the households H1 to H3."""
    bare.package()
    for month in (1, 2, 3):
        bare.cycle(month)
    bare.app.clock.set(date(2021, 1, 1))
    for code in ("H1", "H2", "H3"):
        bare.household(code)
    bare.app.clock.set(date(2021, 6, 15))
    return bare
