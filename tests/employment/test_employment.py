"""Rules of employers and of spells of employment."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError, Refusal


def refused(app: Any, name: str, data: dict[str, Any], **how: Any) -> str:
    with pytest.raises(ImisError) as caught:
        app.do(name, data, **how)
    return caught.value.code


def test_an_employers_code_is_unique_in_the_deployment(firm: Any) -> None:
    """A code is taken once, in one batch as well."""
    new = {"scheme": "s", "code": "E2", "name": "Farm"}
    first, second = firm.do_all("employment.register_employer", [new, new])
    assert first["code"] == "E2"
    assert isinstance(second, Refusal)
    assert second.code == "employment.duplicate_code"
    assert refused(firm, "employment.register_employer", {**new, "code": "E1"}) == "employment.duplicate_code"


def test_two_spells_with_one_employer_never_share_a_day(firm: Any) -> None:
    """Overlaps are refused, in one batch as well; the day after the last one is free, and so is another employer."""
    firm.do("employment.register_employer", {"scheme": "s", "code": "E2", "name": "Farm"})
    spell = {"employer": "E1", "number": "P1", "from": "2023-01-01", "to": "2023-06-30"}
    outcomes = firm.do_all(
        "employment.register",
        [spell, {**spell, "from": "2023-06-30", "to": None}, {**spell, "from": "2023-07-01", "to": None},
         {**spell, "employer": "E2"}],
    )  # fmt: skip
    assert [o.code if isinstance(o, Refusal) else "ok" for o in outcomes] == ["ok", "employment.overlap", "ok", "ok"]
    shown = firm.do("employment.list", {"number": "P1", "on": "2023-06-30"})
    assert [(s["employer"], s["from"], s["to"]) for s in shown] == [
        ("E1", "2023-01-01", "2023-06-30"),
        ("E2", "2023-01-01", "2023-06-30"),
    ]


def test_an_employment_ends_on_its_last_day(firm: Any) -> None:
    """`on` is the last day; not in the future, not before the first day, and an ended spell does not end later."""
    one = firm.do("employment.register", {"employer": "E1", "number": "P1", "from": "2024-01-01", "wage": "100"})["id"]
    assert refused(firm, "employment.end", {"employment": one, "on": "2024-07-01"}) == "input.invalid"
    assert refused(firm, "employment.end", {"employment": one, "on": "2023-12-31"}) == "input.invalid"
    ended = firm.do("employment.end", {"employment": one, "on": "2024-03-31"})
    assert (ended["from"], ended["to"]) == ("2024-01-01", "2024-03-31")
    assert refused(firm, "employment.end", {"employment": one, "on": "2024-04-30"}) == "employment.wrong_state"
    assert firm.do("employment.list", {"on": "2024-04-01"}) == []


def test_a_clerk_sees_employments_of_own_employers_and_persons(firm: Any) -> None:
    """Scope is the employer's place or the person's; another place sees neither."""
    firm.do("employment.register", {"employer": "E1", "number": "P1", "from": "2024-01-01"})
    north = firm.as_user("nora", "clerk", places=["N"])
    south = firm.as_user("sam", "clerk", places=["S"])
    assert len(firm.do("employment.list", as_=north)) == 1
    assert firm.do("employment.list", as_=south) == []
    assert refused(firm, "employment.declare_wages", {"employer": "E1", "month": "2024-05", "rows": []}, as_=south) == (
        "not_found"
    )


def test_an_end_waits_for_what_else_is_done_to_the_employer(firm: Any, count_statements: Any) -> None:
    """Employers are locked before their spells, as registering and declaring do, so that none overtakes another."""
    one = firm.do("employment.register", {"employer": "E1", "number": "P1", "from": "2024-01-01"})["id"]
    with count_statements(firm) as seen:
        firm.do("employment.end", {"employment": one, "on": "2024-03-31"})
    locks = [s.split("FROM core.")[1].split()[0] for s in seen if s.endswith("FOR UPDATE") and "FROM core." in s]
    assert locks == ["employers", "employments"]
