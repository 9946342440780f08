"""What the tests of cash transfers share: an application with one scheme, and households in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pytest

from imis_core.testing.app import TestApp

MakeApp = Callable[..., TestApp]


@pytest.fixture
def cash(make_app: MakeApp) -> TestApp:
    """An application with the scheme `safe`, on 1 January 2023."""
    return make_app(today=date(2023, 1, 1), settings=SETTINGS, plugins=["cash_transfer"])


SETTINGS: Mapping[str, Any] = {
    "schemes": {"safe": {"type": "cash_transfer"}},
    "roles": {
        "officer": {"permissions": ["targeting.*", "benefit_packages.*"], "scope": "place"},
        "paymaster": {"permissions": ["payroll.*"], "scope": "place"},
    },
}
PACKAGE: Mapping[str, str] = {"scheme": "safe", "package": "P"}


@pytest.fixture
def define() -> Callable[..., None]:
    """Define the package `P` with these terms."""

    def package(app: TestApp, **terms: Any) -> None:
        app.do("benefit_packages.define", {
            "scheme": "safe", "code": "P", "name": "P", "valid_from": "2022-01-01", "terms": terms,
        })  # fmt: skip

    return package


@pytest.fixture
def register() -> Callable[..., None]:
    """Register households of one woman each, with these codes."""

    def households(app: TestApp, *codes: str, **fields: Any) -> None:
        app.do_all("beneficiaries.register_group", [
            {"code": code, "members": [
                {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01", "relationship": "head"},
            ], **fields}
            for code in codes
        ], atomic=True)  # fmt: skip

    return households


@pytest.fixture
def approved() -> Callable[..., dict[str, Any]]:
    """Enrol these households (or everybody) and let another administrator approve it."""

    def enrolled(app: TestApp, *codes: str) -> dict[str, Any]:
        named = {"groups": list(codes)} if codes else {}
        enrolment = app.do("targeting.enrol", {**PACKAGE, **named})
        result: dict[str, Any] = app.do("targeting.approve", {"enrolment": enrolment["id"]}, as_="ben")
        return result

    return enrolled
