"""A tiny kind of scheme that pays every person a stipend by payroll, so that there are payments to complain about.

Grievances need no other plugin: this one is made on the spot and stands for schemes of every kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from imis_core.api import Manifest, PayrollRun, SchemeType, hookimpl, persons
from imis_core.testing.app import TestApp

SETTINGS = {
    "plugins": {"enabled": ["grievance", "stipends"]},
    "schemes": {"aid": {"type": "stipends"}, "other": {"type": "stipends", "plugins": []}},
    "roles": {
        "clerk": {
            "permissions": ["grievances.open", "grievances.show", "grievances.list", "grievances.resolve"],
            "scope": "place",
        },
        "officer": {"permissions": ["grievances.*", "attachments.*", "notifications.list"], "scope": "place"},
    },
}


@frozen(kw_only=True)
class StipendTerms:
    """`amount`: in minor units."""

    amount: int


def _lines(run: PayrollRun) -> list[sa.Select[Any]]:
    number = sa.cast(sa.null(), sa.BigInteger)
    return [
        sa.select(
            persons.c.id.label("person"), number.label("group"), persons.c.place.label("place"),
            sa.literal("regular").label("source_kind"), sa.literal(0, sa.BigInteger).label("source"),
            sa.false().label("once"), sa.literal(run.version, sa.BigInteger).label("package_version"),
            sa.literal(run.terms.amount, sa.BigInteger).label("amount_minor"),
            sa.cast(sa.literal("[]"), JSONB).label("steps"), sa.false().label("waits"),
            sa.cast(sa.null(), ARRAY(sa.BigInteger)).label("arrears"),
        )
    ]  # fmt: skip


@pytest.fixture(scope="session")
def stipends() -> ModuleType:
    """The plugin, for `extra`."""
    module = ModuleType("stipends")

    @hookimpl
    def imis_plugin() -> Manifest:
        return Manifest(name="stipends", version="1", kernel=">=0.1")

    @hookimpl
    def imis_register_scheme_types() -> list[SchemeType]:
        return [SchemeType(name="stipends", terms=StipendTerms, check_terms=lambda terms, check: [])]

    @hookimpl
    def imis_payroll_lines_sql(run: PayrollRun) -> Sequence[sa.Select[Any]]:
        return _lines(run)

    for function in (imis_plugin, imis_register_scheme_types, imis_payroll_lines_sql):
        setattr(module, function.__name__, function)
    return module


class Desk:
    """A deployment with two places and two persons, categories `PAY` (holds), `OTHER` and the sensitive `ABUSE`."""

    def __init__(self, app: TestApp) -> None:
        self.app = app
        for code in ("P1", "P2"):
            app.do("locations.add", {"code": code, "name": code, "level": "region"})
        for number in ("1", "2"):
            given = {"given_name": "A", "family_name": number, "sex": "F", "birth_date": "1990-01-01"}
            app.do("beneficiaries.register_person", {"number": number, "location": f"P{number}", **given})
        app.do_all(
            "grievances.define_category",
            [
                {"code": "PAY", "name": "Payment", "days": 20, "holds_payment": True},
                {"code": "OTHER", "name": "Other", "days": 20},
                {"code": "ABUSE", "name": "Abuse", "days": 4, "sensitivity": "sensitive"},
            ],
        )

    def open(self, category: str = "OTHER", as_: Any = "administrator", **fields: Any) -> Any:
        given = {"category": category, "description": "Nothing came", **fields}
        return self.app.do("grievances.open", given, as_=as_)

    def show(self, grievance: Any, as_: Any = "administrator") -> Any:
        return self.app.do("grievances.show", {"grievance": grievance["id"]}, as_=as_)

    def step(self, verb: str, grievance: Any, as_: Any = "administrator", **fields: Any) -> Any:
        return self.app.do(f"grievances.{verb}", {"grievance": grievance["code"], **fields}, as_=as_)

    def resolve(self, grievance: Any, decision: str = "rejected", **fields: Any) -> Any:
        given = {"decision": decision, "comment": "It was right", **fields}
        if self.show(grievance)["status"] == "received":
            self.step("move", grievance, status="open")
        return self.step("resolve", grievance, **given)

    def payroll(self) -> str:
        """An approved payroll of 10.00 for each person, who are paid by the post; its id."""
        do = self.app.do
        terms = {"scheme": "aid", "code": "S", "name": "S", "valid_from": "2020-01-01", "terms": {"amount": 1000}}
        do("benefit_packages.define", terms)
        do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
        for number in ("1", "2"):
            do("payments.enrol_recipient", {"number": number, "provider": "POST"})
        do("cycles.open", {"scheme": "aid", "code": "C1", "starts": "2020-12-01", "ends": "2020-12-31"})
        made = do("payroll.generate", {"scheme": "aid", "package": "S", "cycle": "C1"}, as_="anna")
        do("payroll.approve", {"payroll": made["id"]}, as_="ben")
        return str(made["id"])

    def orders(self, payroll: str) -> list[Any]:
        return list(self.app.do("payments.orders", {"payroll": payroll}))

    def states(self, payroll: str) -> list[tuple[str, str]]:
        """Of each order and of its entitlement, by recipient."""
        entitlements = self.app.do("payroll.entitlements", {"payroll": payroll})
        return [(o["status"], e["state"]) for o, e in zip(self.orders(payroll), entitlements, strict=True)]

    def ledger(self) -> dict[str, str]:
        """Balances of the scheme that are not 0."""
        answer = self.app.do("ledger.balances", {"scheme": "aid"})
        assert answer["balanced"]
        return {name: amount for name, amount in answer["accounts"].items() if amount != "0.00"}


@pytest.fixture
def desk(make_app: Any, stipends: ModuleType) -> Desk:
    return Desk(make_app(settings=SETTINGS, extra={"stipends": stipends}, plugins=[]))
