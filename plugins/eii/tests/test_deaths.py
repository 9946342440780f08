"""Rules of deaths: the register knows of a death, or no survivor is awarded anything."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import Refusal

SPOUSE = [{"number": "S1", "relationship": "spouse"}]


def item(accident: str, died_on: str = "2024-06-03", survivors: list[dict[str, Any]] = SPOUSE) -> dict[str, Any]:
    return {"accident": accident, "died_on": died_on, "survivors": survivors}


def codes(outcomes: list[Any]) -> list[str]:
    return [o.code if isinstance(o, Refusal) else o["total"] for o in outcomes]


def death_of(world: Any, number: str = "W1") -> str | None:
    day: str | None = world.do("beneficiaries.show_person", {"number": number})["death_date"]
    return day


def written(world: Any) -> tuple[int, int, int]:
    """Awards, deaths of accidents, and deaths in the audit."""
    [row] = world.rows(
        "SELECT (SELECT count(*) FROM eii.awards) AS a, (SELECT count(died_on) FROM eii.accidents) AS b, "
        "(SELECT count(*) FROM core.audit_entries WHERE command = 'beneficiaries.record_death') AS c"
    )
    return row["a"], row["b"], row["c"]


@pytest.fixture
def two(world: Any) -> tuple[str, str]:
    """Two accidents of W1."""
    return world.accepted(), world.accepted(occurred_on="2024-06-02")


def test_a_refused_death_refuses_every_item_of_that_person(world: Any, two: tuple[str, str]) -> None:
    """An officer who does not see all of W1's household records no death, so nothing is awarded."""
    household = {"kind": "household", "location": "N", "members": [
        {"number": "W1", "relationship": "head"}, {"number": "M1", "relationship": "parent"},
    ]}  # fmt: skip
    world.do("beneficiaries.register_group", household)
    world.do("beneficiaries.change_person", {"number": "M1", "location": "S"})
    north = world.as_user("nora", "officer", places=["N"])
    outcomes = world.do_all("eii.award_survivors", [item(two[0]), item(two[0]), item(two[1])], as_=north)
    assert codes(outcomes) == ["beneficiaries.hidden_members"] * 3
    assert death_of(world) is None
    assert written(world) == (0, 0, 0)


def test_a_rate_that_is_refused_records_no_death(world: Any, terms: dict[str, Any]) -> None:
    """eii.no_factor: an age that the table lacks."""
    factors = {"method": "age_factor", "factors": {"20": "2", "60": "1"}}
    survivors = {"method": "age_factor", "spouse": {"share": 100}}
    world.define({**terms, "permanent": factors, "survivors": survivors}, "2024-05-01")
    assert world.refused("eii.award_survivors", item(world.accepted())) == "eii.no_factor"
    assert death_of(world) is None
    assert written(world) == (0, 0, 0)


def test_one_death_serves_all_accidents_of_the_person(world: Any, two: tuple[str, str]) -> None:
    """In one batch the death is recorded once; another day of death is refused as it would be afterwards."""
    later = world.accepted(occurred_on="2024-06-03")
    items = [item(two[0]), item(two[0], "2024-06-04"), item(later, "2024-06-04"), item(two[1])]
    outcomes = world.do_all("eii.award_survivors", items)
    assert codes(outcomes) == ["1080.00", "eii.already_awarded", "input.invalid", "1080.00"]
    assert [p.path for p in outcomes[2].problems] == ["died_on"]
    assert death_of(world) == "2024-06-03"
    assert written(world) == (2, 2, 1)


def test_who_died_earlier_in_the_batch_survives_nobody(world: Any) -> None:
    """W2's item names W1 as the spouse, whose death the item before it records: W2 stays alive in the register."""
    first, second = world.accepted(), world.accepted("W2")
    outcomes = world.do_all(
        "eii.award_survivors", [item(first), item(second, survivors=[{"number": "W1", "relationship": "spouse"}])]
    )
    assert codes(outcomes) == ["1080.00", "input.invalid"]
    assert [(p.path, p.reason) for p in outcomes[1].problems] == [("survivors.0", "dead")]
    assert (death_of(world), death_of(world, "W2")) == ("2024-06-03", None)


def test_statements_do_not_grow_with_the_number_of_deaths(world: Any, count_statements: Any) -> None:
    """One accident takes as many statements as two of two persons."""
    world.do("beneficiaries.register_person", {
        "number": "W3", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01", "location": "N",
    })  # fmt: skip
    world.do("employment.register", {"employer": "E1", "number": "W3", "from": "2023-01-01", "wage": "3000"})
    counts = []
    for workers in (("W1",), ("W2", "W3")):
        items = [item(world.accepted(worker)) for worker in workers]
        with count_statements() as seen:
            assert codes(world.do_all("eii.award_survivors", items)) == ["1080.00"] * len(workers)
        counts.append(len(seen))
    assert counts[0] == counts[1]
