"""A scheme with two insured families, in two places."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from imis_core.testing.app import TestApp
from imis_core.testing.plugin import AppMaker

MEMBERS = [
    {"given_name": "Anna", "family_name": "Bhattarai", "sex": "F", "birth_date": "1980-01-02", "relationship": "head"},
    {
        "given_name": "Björn",
        "family_name": "Bhattarai",
        "sex": "M",
        "birth_date": "2012-05-06",
        "relationship": "child",
    },
]


@pytest.fixture
def insured(make_app: AppMaker) -> TestApp:
    """Families F1 (place A, numbers 11 and 12) and F2 (place B, 21 and 22), covered for 2021."""
    app = make_app(today=date(2021, 1, 1))
    for place in ("A", "B"):
        app.do("locations.add", {"code": place, "name": place, "level": "region"})
    terms = {"insurance_months": 12, "premium_adult": "10"}
    app.do(
        "benefit_packages.define",
        {"scheme": "chf", "code": "BASIC", "name": "Basic", "valid_from": "2020-01-01", "terms": terms},
    )
    for family, place in (("1", "A"), ("2", "B")):
        members = [{**person, "number": f"{family}{n}"} for n, person in enumerate(MEMBERS, start=1)]
        app.do("beneficiaries.register_group", {"code": f"F{family}", "location": place, "members": members})
        policy = enrol(app, f"F{family}")
        app.do("contributions.record", {"coverage": policy["id"], "amount": policy["due"], "receipt": f"R{family}"})
    return app


def enrol(app: TestApp, group: str) -> Any:
    return app.do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": group})
