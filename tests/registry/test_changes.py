"""Change requests: who sees them and who decides."""

from __future__ import annotations

import pytest

from imis_core.errors import ImisError
from imis_core.testing.plugin import AppMaker

ROLES = {
    "clerk": {"permissions": ["registry.*", "beneficiaries.*"], "scope": "place"},
    "supervisor": {"permissions": ["approvals.*", "registry.*", "beneficiaries.*"], "scope": "place"},
}


def test_a_request_is_decided_within_the_reach_of_its_maker(make_app: AppMaker) -> None:
    """Who reaches another place neither sees nor decides a request; who reaches the maker's places does both."""
    app = make_app(settings={"roles": ROLES})
    app.do("locations.add", {"code": "R", "name": "Region", "level": "region"})
    for code in ("D1", "D2"):
        app.do("locations.add", {"code": code, "name": code, "level": "district", "parent": "R"})
    app.do(
        "beneficiaries.register_person",
        {"number": "P1", "given_name": "Awa", "family_name": "Bah", "sex": "F", "birth_date": "1990-01-01",
         "location": "D1"},
    )  # fmt: skip
    change = {
        "do": "beneficiaries.change_person",
        "with": {"number": "P1", "family_name": "Sow", "attributes": {"debt": 5}},
        "reason": "married",
    }
    asked = app.do("registry.request_change", change, as_=app.as_user("anna", "clerk", ["D1"]))["id"]
    assert app.do("approvals.pending", {}, as_=app.as_user("ben", "supervisor", ["D2"])) == []
    with pytest.raises(ImisError) as caught:
        app.do("registry.approve_change", {"change": asked}, as_=app.as_user("ben", "supervisor", ["D2"]))
    assert caught.value.code == "not_found"
    (seen,) = app.do("approvals.pending", {}, as_=app.as_user("cora", "supervisor", ["R"]))
    assert seen["summary"] == "number=P1, family_name=Sow, attributes=(debt)"
    assert (
        app.do("registry.approve_change", {"change": asked}, as_=app.as_user("cora", "supervisor", ["R"]))["status"]
        == "applied"
    )
    assert app.do("beneficiaries.show_person", {"number": "P1"})["family_name"] == "Sow"


def test_what_everybody_reaches_is_decided_by_who_reaches_everything(make_app: AppMaker) -> None:
    """A request of somebody without a limit of places is nothing for a district."""
    app = make_app(settings={"roles": ROLES})
    app.do("locations.add", {"code": "D1", "name": "D1", "level": "district"})
    change = {"do": "locations.add", "with": {"code": "D9", "name": "D9", "level": "district"}, "reason": "new"}
    asked = app.do("registry.request_change", change)["id"]
    with pytest.raises(ImisError) as caught:
        app.do("registry.approve_change", {"change": asked}, as_=app.as_user("ben", "supervisor", ["D1"]))
    assert caught.value.code == "not_found"
    assert app.do("registry.approve_change", {"change": asked}, as_="eve")["status"] == "applied"
