"""Rules of providers."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError, Refusal
from imis_core.testing.app import TestApp


@pytest.fixture
def places(app: TestApp) -> TestApp:
    """Places R > D, an item and the price lists L1 and L2."""
    app.do("locations.add", {"code": "R", "name": "R", "level": "region"})
    app.do("locations.add", {"code": "D", "name": "D", "level": "district", "parent": "R"})
    app.do("catalogue.define_item", {"code": "A", "name": "A", "kind": "service", "price": "1"})
    for code in ("L1", "L2"):
        app.do("catalogue.define_price_list", {"code": code, "valid_from": "2021-01-01", "prices": {"A": "2"}})
    return app


def refusal_of(app: TestApp, name: str, data: dict[str, Any]) -> Refusal:
    with pytest.raises(ImisError) as error:
        app.do(name, data)
    return error.value.refusal


def provider(**fields: Any) -> dict[str, Any]:
    return {"code": "HC1", "name": "Health centre 1", **fields}


def test_a_provider_has_place_lists_and_contract(places: TestApp) -> None:
    """A provider is registered with its place, its price lists in the order named, and its contract."""
    result = places.do(
        "providers.register",
        provider(level="hospital", location="D", price_lists=["L2", "L1"], contract={"from": "2021-01-01"}),
    )
    shown = places.do("providers.show", {"provider": result["id"]})
    assert shown == {
        "id": result["id"], "code": "HC1", "name": "Health centre 1", "kind": "health_facility", "level": "hospital",
        "care_type": "both", "location": "D", "price_lists": ["L2", "L1"],
        "contract": {"from": "2021-01-01", "to": None}, "closed_on": None,
        "location_id": places.do("locations.list", {"code": "D"})[0]["id"], "version": 1,
        "sub_level": None, "legal_form": None, "status": "active", "catchment": [],
    }  # fmt: skip
    assert places.do("providers.list", {"location": "R"}) == [shown]
    assert places.do("providers.list", {"name": "hEALTH", "kind": "health_facility"}) == [shown]
    assert places.do("providers.list", {"level": "dispensary"}) == []
    assert places.do("providers.list", {"code": "HC1"}) == places.do("providers.list", {"id": shown["id"]}) == [shown]
    assert places.do("providers.list", {"code": "HC"}) == places.do("providers.list", {"id": "HC1"}) == []


def test_a_code_is_taken_once(places: TestApp) -> None:
    """A provider's code is unique in the deployment and within a batch."""
    outcomes = places.do_all("providers.register", [provider(), provider()])
    assert outcomes[0]["code"] == "HC1"
    assert outcomes[1].code == "providers.duplicate_code"
    assert places.do_all("providers.register", [provider()])[0].code == "providers.duplicate_code"


@pytest.mark.parametrize(
    ("fields", "code", "path"),
    [
        ({"location": "X"}, "not_found", "location"),
        ({"price_lists": ["L1", "X"]}, "not_found", "price_lists.1"),
        ({"price_lists": ["L1", "L1"]}, "input.invalid", "price_lists.1"),
        ({"contract": {"from": "2021-02-01", "to": "2021-01-31"}}, "input.invalid", "contract.to"),
        ({"care_type": "day"}, "input.invalid", "care_type"),
        ({"name": ""}, "input.invalid", "name"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(places: TestApp, fields: dict[str, Any], code: str, path: str) -> None:
    """Unknown places and lists, a contract that ends before it begins, unknown care types: nothing is written."""
    with pytest.raises(ImisError) as error:
        places.do("providers.register", provider(**fields))
    assert (error.value.code, error.value.refusal.problems[0].path) == (code, path)
    assert places.do("providers.list") == []


def test_a_change_leaves_the_rest(places: TestApp) -> None:
    """Fields that a change does not name stay; the history has a row for each version."""
    places.do("providers.register", provider(location="D", price_lists=["L1"], contract={"from": "2021-01-01"}))
    outcomes = places.do_all(
        "providers.change",
        [
            {"provider": "HC1", "name": "New", "price_lists": ["L2"]},
            {"provider": "HC1", "level": "hospital", "contract": {"from": "2021-01-01", "to": "2021-12-31"}},
            {"provider": "X", "name": "Y"},
        ],
    )
    assert isinstance(outcomes[2], Refusal)
    shown = places.do("providers.show", {"provider": "HC1"})
    assert (shown["name"], shown["level"], shown["location"], shown["price_lists"]) == ("New", "hospital", "D", ["L2"])
    assert shown["contract"] == {"from": "2021-01-01", "to": "2021-12-31"}
    versions = places.rows("SELECT name, version FROM core.providers_history ORDER BY version")
    assert [(v["name"], v["version"]) for v in versions] == [("Health centre 1", 1), ("New", 2)]


def test_an_unchanged_provider_gets_no_version(places: TestApp) -> None:
    """A change to what is there already writes nothing."""
    places.do("providers.register", provider())
    places.do("providers.change", {"provider": "HC1", "name": "Health centre 1"})
    assert places.rows("SELECT version FROM core.providers")[0]["version"] == 1


def test_a_provider_is_closed_once(places: TestApp) -> None:
    """A provider is closed from a day that is not in the future, and only once."""
    places.do("providers.register", provider())
    with pytest.raises(ImisError) as error:
        places.do("providers.close", {"provider": "HC1", "on": "2021-01-02"})
    assert error.value.refusal.problems[0].path == "on"
    places.do("providers.close", {"provider": "HC1", "on": "2021-01-01"})
    assert places.do("providers.show", {"provider": "HC1"})["closed_on"] == "2021-01-01"
    with pytest.raises(ImisError) as error:
        places.do("providers.close", {"provider": "HC1", "on": "2021-01-01"})
    assert error.value.code == "providers.wrong_state"


def test_a_provider_has_a_legal_form_and_serves_places(places: TestApp) -> None:
    """Sub-level, legal form and the catchment (places with the share of their people) are kept and may be changed."""
    served = [{"location": "R", "share": "12.5"}, {"location": "D"}]
    places.do("providers.register", provider(sub_level="B", legal_form="charity", catchment=served))
    shown = places.do("providers.show", {"provider": "HC1"})
    assert (shown["sub_level"], shown["legal_form"], shown["status"]) == ("B", "charity", "active")
    assert shown["catchment"] == [{"location": "D", "share": "100"}, {"location": "R", "share": "12.5"}]
    places.do("providers.change", {"provider": "HC1", "legal_form": "district", "catchment": [{"location": "D"}]})
    shown = places.do("providers.show", {"provider": "HC1"})
    assert (shown["sub_level"], shown["legal_form"]) == ("B", "district")
    assert shown["catchment"] == [{"location": "D", "share": "100"}]
    places.do("providers.close", {"provider": "HC1", "on": str(places.clock.today())})
    assert places.do("providers.show", {"provider": "HC1"})["status"] == "closed"


@pytest.mark.parametrize(
    ("catchment", "path", "reason"),
    [
        ([{"location": "X"}], "catchment.0.location", "not_found"),
        ([{"location": "D"}, {"location": "D"}], "catchment.1.location", "duplicate"),
        ([{"location": "D", "share": 0}], "catchment.0.share", "range"),
        ([{"location": "D", "share": "0.0000001"}], "catchment.0.share", "range"),
    ],
)
def test_a_wrong_catchment_is_refused(places: TestApp, catchment: Any, path: str, reason: str) -> None:
    """A catchment names known places once, each with a share above 0 and up to 100."""
    refusal = refusal_of(places, "providers.register", provider(catchment=catchment))
    assert [(p.path, p.reason) for p in refusal.problems] == [(path, reason)]


def test_levels_are_those_of_the_deployment(make_app: Any) -> None:
    """A deployment may rename the levels and add some; then no other level is taken."""
    app = make_app(settings={"deployment": {"facility_levels": {"hopital": "hospital", "case": "dispensary"}}})
    app.do("providers.register", provider(level="hopital"))
    refusal = refusal_of(app, "providers.register", provider(code="HC2", level="hospital"))
    assert [(p.path, p.reason) for p in refusal.problems] == [("level", "unknown")]
