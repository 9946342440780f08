"""Use of care is counted from the events of valuation, each claim once."""

from __future__ import annotations

from datetime import date
from types import ModuleType
from typing import Any

import pytest

from imis_core.api import ClaimsValuated, Manifest, hookimpl
from imis_core.events import deliver_due


def _world(app: Any) -> None:
    app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    app.do("catalogue.define_item", {"code": "SVC", "name": "Service", "kind": "service", "price": "100"})
    app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": {"SVC": "100"}})
    app.do("providers.register", {"code": "HC", "name": "Health centre", "price_lists": ["PL"]})
    terms = {"insurance_months": 12, "items": {"SVC": {"percent": 80}}}
    app.do(
        "benefit_packages.define",
        {"scheme": "chf", "code": "B", "name": "B", "valid_from": "2019-01-01", "terms": terms},
    )
    person = {"number": "1", "given_name": "A", "family_name": "B", "sex": "M", "birth_date": "1980-01-01"}
    app.do("beneficiaries.register_group", {"code": "G", "members": [{**person, "relationship": "head"}]})
    app.do("coverage.enrol", {"scheme": "chf", "package": "B", "group": "G"})
    app.clock.set(date(2021, 3, 1))
    lines = [{"item": "SVC", "quantity": 1, "price": "100"}]
    for code, day in (("C1", "2021-01-10"), ("C2", "2021-01-20"), ("C3", "2021-02-20")):
        app.do(
            "claims.submit",
            {"code": code, "provider": "HC", "number": "1", "from": day, "diagnosis": "A09", "lines": lines},
        )


def _deliver(app: Any) -> None:
    while deliver_due(app):
        pass


def test_valuated_claims_are_counted_by_month_facility_and_category(app: Any) -> None:
    """Each valuated claim counts once in the month of its target date, with what was approved and is payable."""
    _world(app)
    app.do("claims.process", {"scheme": "chf"})
    assert app.do("health_insurance.utilisation", {"scheme": "chf"}) == []
    _deliver(app)
    shown = app.do("health_insurance.utilisation", {"scheme": "chf"})
    assert [(r["month"], r["provider"], r["category"], r["claims"], r["approved"], r["payable"]) for r in shown] == [
        ("2021-01-01", "HC", "visit", 2, "200.00", "160.00"),
        ("2021-02-01", "HC", "visit", 1, "100.00", "80.00"),
    ]


def test_a_claim_computed_again_is_not_counted_again(app: Any) -> None:
    """A second valuation of a claim adds only the difference of its amounts, here nothing."""
    _world(app)
    app.do("claims.process", {"scheme": "chf"})
    _deliver(app)
    before = app.do("health_insurance.utilisation", {"scheme": "chf"})
    app.do("claims.process", {"scheme": "chf", "claims": ["C1"]})
    _deliver(app)
    assert app.do("health_insurance.utilisation", {"scheme": "chf"}) == before


@pytest.mark.parametrize("told_before", [True, False])
def test_a_claim_that_is_taken_back_is_counted_no_more(app: Any, told_before: bool) -> None:
    """Neither the claim nor its amounts, whether its valuation was told of before it was withdrawn or after."""
    _world(app)
    app.do("claims.process", {"scheme": "chf"})
    if told_before:
        _deliver(app)
    app.do("claims.withdraw", {"claim": "C1", "reason": "double"})
    _deliver(app)
    shown = app.do("health_insurance.utilisation", {"scheme": "chf"})
    assert [(r["month"], r["claims"], r["approved"], r["payable"]) for r in shown] == [
        ("2021-01-01", 1, "100.00", "80.00"),
        ("2021-02-01", 1, "100.00", "80.00"),
    ]


class Listener:
    """A cross-cutting plugin that counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def as_module(self) -> ModuleType:
        module = ModuleType("listener")
        listener = self

        @hookimpl
        def imis_plugin() -> Manifest:
            return Manifest(name="listener", version="1", kernel=">=0.1")

        @hookimpl
        def imis_on_claims_valuated(event: ClaimsValuated) -> None:
            listener.told.append(event.scheme)

        module.imis_plugin = imis_plugin  # type: ignore[attr-defined]
        module.imis_on_claims_valuated = imis_on_claims_valuated  # type: ignore[attr-defined]
        return module


@pytest.mark.parametrize(("speaks", "told"), [(None, ["chf"]), ([], []), (["listener"], ["chf"])])
def test_only_plugins_that_speak_for_a_scheme_are_told(
    make_app: Any, speaks: list[str] | None, told: list[str]
) -> None:
    """`plugins` of a scheme: absent means every cross-cutting plugin, an empty list none."""
    listener = Listener()
    scheme: dict[str, Any] = {"type": "health_insurance"}
    if speaks is not None:
        scheme["plugins"] = speaks
    settings = {"plugins": {"enabled": ["health_insurance", "listener"]}, "schemes": {"chf": scheme}}
    app = make_app(settings=settings, extra={"listener": listener.as_module()})
    _world(app)
    app.do("claims.process", {"scheme": "chf"})
    _deliver(app)
    assert listener.told == told
    assert len(app.do("health_insurance.utilisation", {"scheme": "chf"})) == 2
