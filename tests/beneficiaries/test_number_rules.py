"""Rules of plugins for the numbers of persons, beside the deployment's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import pytest

from imis_core.api import Context, Manifest, Problem, Refusal, hookimpl
from imis_core.errors import ImisError

PERSON = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01"}
ASKED: list[list[str]] = []


def _plugin() -> ModuleType:
    """Numbers begin with 9."""
    module = ModuleType("nines")

    @hookimpl
    def imis_plugin() -> Manifest:
        return Manifest(name="nines", version="1", kernel=">=0.1")

    @hookimpl
    def imis_person_number_batch(context: Context, numbers: Sequence[str]) -> Mapping[int, Refusal]:
        ASKED.append(list(numbers))
        refusal = Refusal("nines.number", "numbers begin with 9", (Problem("number", "prefix", "begin with 9"),))
        return {position: refusal for position, number in enumerate(numbers) if not number.startswith("9")}

    module.imis_plugin = imis_plugin  # type: ignore[attr-defined]
    module.imis_person_number_batch = imis_person_number_batch  # type: ignore[attr-defined]
    return module


@pytest.fixture
def app(make_app: Any) -> Any:
    ASKED.clear()
    settings = {"plugins": {"enabled": ["nines"]}, "deployment": {"person_number": {"length": 4}}}
    return make_app(settings=settings, extra={"nines": _plugin()}, plugins=[])


def test_a_plugin_s_rule_is_asked_once_for_a_batch(app: Any) -> None:
    """The deployment's rule first, then the plugin's; each refused number has its own path."""
    outcomes = app.do_all("beneficiaries.register_person", [{**PERSON, "number": n} for n in ("9001", "8001", "80")])
    assert outcomes[0]["number"] == "9001"
    assert [o.code for o in outcomes[1:]] == ["nines.number", "beneficiaries.number_length"]
    assert ASKED == [["80", "8001", "9001"]]
    members = [{**PERSON, "number": n, "relationship": r} for n, r in (("9002", "head"), ("1002", "child"))]
    with pytest.raises(ImisError) as error:
        app.do("beneficiaries.register_group", {"members": members})
    assert [(p.path, p.reason) for p in error.value.refusal.problems] == [("members.1.number", "prefix")]


def test_a_new_number_and_a_new_member_follow_the_rule_too(app: Any) -> None:
    """Renumbering and joining go by the same rule."""
    app.do(
        "beneficiaries.register_group", {"code": "F", "members": [{**PERSON, "number": "9001", "relationship": "head"}]}
    )
    for name, data in (
        ("beneficiaries.change_person", {"person": "9001", "number": "1001"}),
        ("beneficiaries.add_member", {"group": "F", **PERSON, "number": "1001", "relationship": "child"}),
    ):
        with pytest.raises(ImisError) as error:
            app.do(name, data)
        assert error.value.code == "nines.number"
