"""A small deployment with a facility, a package and insured families, and short ways to claim."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp

TODAY = date(2021, 6, 30)
ITEMS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("DRUG", {"kind": "product"}),
    ("LAB", {}),
    ("BED", {"care_type": "inpatient", "category": "hospitalisation"}),
    ("WALKIN", {"care_type": "outpatient"}),
    ("KIDS", {"ages": ["child"]}),
    ("WOMEN", {"sexes": ["F"]}),
    ("TEN", {"max_quantity": 10}),
    ("EXTRA", {}),  # listed, but in no package
    ("UNLISTED", {}),
    ("CUT", {"category": "surgery"}),
    ("BIRTH", {"category": "delivery"}),
    ("CHECKUP", {"category": "antenatal"}),
    ("ADVICE", {"category": "consultation"}),
)
COVERED = ("DRUG", "LAB", "BED", "WALKIN", "KIDS", "WOMEN", "TEN", "UNLISTED", "CUT", "BIRTH", "CHECKUP", "ADVICE")
TERMS = {"insurance_months": 12, "premium_adult": "50", "items": {code: {} for code in COVERED}}


class Clinic:
    """An application with something to claim for. N1 is a man, N2 a woman, N3 a boy; each is insured alone."""

    def __init__(self, app: TestApp) -> None:
        self.app = app
        app.clock.set(TODAY)
        app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
        for code, more in ITEMS:
            app.do("catalogue.define_item", {"code": code, "name": code, "kind": "service", "price": "200", **more})
        prices = {code: "100" for code, _ in ITEMS if code != "UNLISTED"}
        app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": prices})
        for code, care_type, level in (
            ("HC", "both", "health_centre"),
            ("OUT", "outpatient", "dispensary"),
            ("IN", "inpatient", "hospital"),
        ):
            app.do(
                "providers.register",
                {"code": code, "name": code, "level": level, "care_type": care_type, "price_lists": ["PL"]},
            )
        self.package("BASIC", TERMS)
        for number, sex, born in (("N1", "M", "1980-01-01"), ("N2", "F", "1985-01-01"), ("N3", "M", "2015-01-01")):
            self.person(number, sex, born)
            self.insure(number, "BASIC")

    def package(self, code: str, terms: Mapping[str, Any], scheme: str = "chf") -> None:
        data = {"scheme": scheme, "code": code, "name": code, "valid_from": "2019-01-01", "terms": dict(terms)}
        self.app.do("benefit_packages.define", data)

    def person(self, number: str, sex: str = "M", born: str = "1980-01-01") -> Any:
        member = {"number": number, "given_name": "A", "family_name": "B", "sex": sex, "birth_date": born}
        group = {"code": f"F-{number}", "members": [{**member, "relationship": "head"}]}
        return self.app.do("beneficiaries.register_group", group)

    def insure(self, number: str, package: str, on: str = "2021-01-01", scheme: str = "chf") -> str:
        asked = {"scheme": scheme, "package": package, "group": f"F-{number}", "on": on}
        policy = self.app.do("coverage.enrol", asked)
        if Decimal(policy["due"]):
            paid = {"coverage": policy["id"], "amount": policy["due"], "receipt": policy["id"], "on": on}
            self.app.do("contributions.record", paid)
        return str(policy["id"])

    def claim(self, code: str, *lines: str | tuple[Any, ...], **more: Any) -> dict[str, Any]:
        """The input of a claim: lines are codes, or (code, quantity, price)."""
        written = [line if isinstance(line, tuple) else (line, 1, "100") for line in lines]
        return {
            "code": code, "provider": "HC", "number": "N1", "from": "2021-02-01", "diagnosis": "A09",
            "lines": [{"item": item, "quantity": quantity, "price": price} for item, quantity, price in written],
        } | more  # fmt: skip

    def submit(self, code: str, *lines: str | tuple[Any, ...], as_: str | Caller = "administrator", **more: Any) -> Any:
        return self.app.do("claims.submit", self.claim(code, *lines, **more), as_=as_)

    def refusal(self, *lines: str | tuple[Any, ...], as_: str | Caller = "administrator", **more: Any) -> Any:
        """(code, paths) of a claim that is refused at entry."""
        with pytest.raises(ImisError) as caught:
            self.app.do("claims.submit", self.claim("C1", *lines) | more, as_=as_)
        return caught.value.code, [problem.path for problem in caught.value.refusal.problems]

    def process(self, *names: str) -> Any:
        return self.app.do("claims.process", {"scheme": "chf"} | ({"claims": list(names)} if names else {}))

    def show(self, code: str) -> Any:
        return self.app.do("claims.show", {"claim": code})

    def paid(self, code: str) -> list[str]:
        """What each line of a claim pays, after processing everything."""
        self.process()
        return [line["payable"] for line in self.show(code)["lines"]]


def rejections(answer: Any) -> tuple[str | None, list[str | None]]:
    return answer["rejection"], [line["rejection"] for line in answer["lines"]]


@pytest.fixture
def clinic(app: TestApp) -> Clinic:
    return Clinic(app)
