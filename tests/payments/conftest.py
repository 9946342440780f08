"""A deployment with two facilities, payment providers, and claims to pay for; and short ways through a payment."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp

PERIOD = {"scheme": "chf", "from": "2021-01-01", "to": "2021-12-31"}


class Office:
    """Claims of 100.00 a line at HC1 and HC2; `anna` asks for payments, `ben` approves them."""

    def __init__(self, app: TestApp) -> None:
        self.app = app
        self.claims = 0
        app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
        for code in ("LAB", "FREE"):
            app.do("catalogue.define_item", {"code": code, "name": code, "kind": "service", "price": "100"})
        prices = {"code": "PL", "valid_from": "2019-01-01", "prices": {"LAB": "100", "FREE": "100"}}
        app.do("catalogue.define_price_list", prices)
        for code in ("HC1", "HC2"):
            provider = {"code": code, "name": code, "care_type": "both", "price_lists": ["PL"]}
            app.do("providers.register", provider)
        terms = {"insurance_months": 12, "items": {"LAB": {}, "FREE": {"percent": 0}}}
        package = {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2019-01-01", "terms": terms}
        app.do("benefit_packages.define", package)
        member = {"number": "N1", "given_name": "A", "family_name": "B", "sex": "M", "birth_date": "1980-01-01"}
        app.do("beneficiaries.register_group", {"code": "F", "members": [{**member, "relationship": "head"}]})
        app.do("coverage.enrol", {"scheme": "chf", "package": "P", "group": "F"})
        for code in ("BANK", "POST"):
            app.do("payments.register_provider", {"code": code, "name": code, "channel": "cash_list"})

    def claim(self, facility: str = "HC1", item: str = "LAB", quantity: int = 1) -> str:
        """A valuated claim; its code."""
        self.claims += 1
        code = f"C{self.claims}"
        self.app.do(
            "claims.submit",
            {
                "code": code, "provider": facility, "number": "N1", "from": "2021-01-01", "diagnosis": "A09",
                "lines": [{"item": item, "quantity": quantity, "price": "100"}],
            },
        )  # fmt: skip
        self.app.do("claims.process", {"scheme": "chf", "claims": [code]})
        return code

    def account(self, facility: str, provider: str = "BANK") -> None:
        self.app.do("payments.enrol_recipient", {"facility": facility, "provider": provider})

    def request(self, **more: Any) -> Any:
        return self.app.do("claims.request_payment", PERIOD | more, as_="anna")

    def approve(self, request: Any) -> Any:
        return self.app.do("claims.approve_payment", {"request": request["id"]}, as_="ben")

    def approved(self) -> str:
        """A request for everything that waits, approved; its id is the batch of claims."""
        request = self.request()
        self.approve(request)
        return str(request["id"])

    def submit(self, batch: str) -> Any:
        return self.app.do("payments.submit", {"claims_batch": batch})

    def orders(self, batch: str) -> Any:
        return self.app.do("payments.orders", {"claims_batch": batch})

    def submitted(self) -> Any:
        """The only order of a fresh batch for HC1, sent to the bank."""
        self.account("HC1")
        batch = self.approved()
        self.submit(batch)
        (order,) = self.orders(batch)
        return order

    def report(self, *rows: tuple[str, str, str], provider: str = "BANK") -> dict[str, int]:
        """Reconcile (order, status, amount) rows; what is not 0 of the answer."""
        written = [{"order": order, "status": status, "amount": amount} for order, status, amount in rows]
        answer = self.app.do("payments.reconcile", {"provider": provider, "rows": written})
        return {name: count for name, count in answer.items() if count}

    def status(self, claim: str) -> str:
        return str(self.app.do("claims.show", {"claim": claim})["status"])

    def ledger(self) -> dict[str, str]:
        """Balances that are not 0."""
        answer = self.app.do("ledger.balances", {"scheme": "chf"})
        assert answer["balanced"]
        return {name: amount for name, amount in answer["accounts"].items() if amount != "0.00"}

    def refusal(self, name: str, data: dict[str, Any], as_: str = "administrator") -> str:
        with pytest.raises(ImisError) as caught:
            self.app.do(name, data, as_=as_)
        return caught.value.code


@pytest.fixture
def office(app: TestApp) -> Office:
    return Office(app)
