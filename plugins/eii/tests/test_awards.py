"""Rules of awards: of survivors, of degrees, how they end, how they are raised and taken back."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from imis_eii import indexing
from imis_eii.cases import cases_by_number

from imis_core.errors import ImisError

FAMILY = [
    {"number": "S1", "relationship": "spouse"},
    {"number": "C1", "relationship": "child"},
    {"number": "C2", "relationship": "child"},
]


def award(world: Any, accident: str, survivors: list[dict[str, Any]] = FAMILY, died_on: str = "2024-06-01") -> Any:
    return world.do("eii.award_survivors", {"accident": accident, "died_on": died_on, "survivors": survivors})


def running(world: Any, accident: str, on: str) -> list[tuple[str, str]]:
    return [(a["person"], a["amount"]) for a in world.do("eii.awards", {"accident": accident, "on": on})]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"died_on": "2024-07-01"}, "died_on"),
        ({"died_on": "2024-05-31"}, "died_on"),
        ({"survivors": [FAMILY[0], FAMILY[0]]}, "survivors.1.number"),
        ({"survivors": [{"number": "W1", "relationship": "spouse"}]}, "survivors.0.number"),
        ({"survivors": [{"relationship": "spouse"}]}, "survivors.0.person"),
        ({"survivors": [{"number": "X", "relationship": "spouse"}]}, "survivors.0.number"),
    ],
)
def test_a_death_is_recorded_right_or_not_at_all(world: Any, change: dict[str, Any], path: str) -> None:
    """Dates, persons and relationships are right, or nothing is written, neither here nor in the register."""
    one = world.accepted()
    with pytest.raises(ImisError) as caught:
        world.do("eii.award_survivors", {"accident": one, "died_on": "2024-06-01", "survivors": FAMILY, **change})
    assert [p.path for p in caught.value.refusal.problems] == [path]
    assert world.do("beneficiaries.show_person", {"number": "W1"})["death_date"] is None
    assert world.do("eii.awards", {"accident": one}) == []


def test_a_death_that_the_register_tells_otherwise_is_refused(world: Any) -> None:
    """One day of death: the register's, if it knows one."""
    one = world.accepted()
    world.do("beneficiaries.record_death", {"number": "W1", "on": "2024-06-03"})
    with pytest.raises(ImisError) as caught:
        award(world, one)
    assert caught.value.refusal.problems[0].path == "died_on"
    assert award(world, one, died_on="2024-06-03")["total"] == "1800.00"


def test_nobody_is_awarded_twice(world: Any) -> None:
    """The same accident again, in one batch as well: eii.already_awarded."""
    one = world.accepted()
    item = {"accident": one, "died_on": "2024-06-01", "survivors": FAMILY}
    first, second = world.do_all("eii.award_survivors", [item, item])
    assert first["total"] == "1800.00"
    assert second.code == "eii.already_awarded"
    assert len(world.do("eii.awards", {"accident": one})) == 3


def test_the_funeral_grant_is_months_of_the_wage_at_most_the_limit(world: Any) -> None:
    """Two months of 3000, at most 5000, once; the cost does not matter where the terms do not pay it."""
    one = world.accepted()
    award(world, one)
    item = {"accident": one, "payee": "M1"}
    assert world.refused("eii.award_funeral", {**item, "payee": "X"}) == "not_found"
    assert world.refused("eii.award_funeral", {**item, "cost": "1"}) == "input.invalid"
    assert world.do("eii.award_funeral", item) == {"amount": "5000.00"}
    assert world.refused("eii.award_funeral", item) == "eii.already_awarded"


def test_the_last_day_of_one_is_the_last_of_the_old_parts(world: Any) -> None:
    """60 + 40 + 40 of 1800 are cut to 100; without the spouse 80 percent stay as they are."""
    one = world.accepted()
    made = award(world, one)
    assert made["full_rate"] == "1800.00"
    ended = world.do("eii.end_award", {"award": made["awards"][0]["id"], "on": "2024-06-20", "reason": "death"})
    assert ended["ended"] == "2024-06-19"
    assert ended["lump"] is None
    assert running(world, one, "2024-06-19") == [("S1", "771.43"), ("C1", "514.29"), ("C2", "514.28")]
    assert running(world, one, "2024-06-20") == [("C1", "720.00"), ("C2", "720.00")]
    assert running(world, one, "2033-03-01") == [("C2", "720.00")]
    assert running(world, one, "2024-05-31") == []


def test_an_award_ends_once_and_not_before_it_began(world: Any) -> None:
    """Wrong days and ended awards are refused; remarriage is not for the injured person."""
    one = world.accepted()
    made = award(world, one)["awards"]
    item = {"award": made[1]["id"], "reason": "studies"}
    assert world.refused("eii.end_award", {**item, "on": "2024-05-31"}) == "input.invalid"
    assert world.refused("eii.end_award", {**item, "on": "2024-07-01"}) == "input.invalid"
    assert world.refused("eii.end_award", {**item, "award": "x", "on": "2024-06-02"}) == "not_found"
    world.do("eii.end_award", {**item, "on": "2024-06-02"})
    assert world.refused("eii.end_award", {**item, "on": "2024-06-03"}) == "eii.wrong_state"


def test_two_ends_of_one_batch_follow_each_other(world: Any) -> None:
    """The second end sees what the first left."""
    one = world.accepted()
    made = award(world, one)["awards"]
    first, second = world.do_all(
        "eii.end_award",
        [{"award": a["id"], "on": "2024-06-10", "reason": "other"} for a in made[:2]],
    )
    assert [a["amount"] for a in first["awards"]] == ["720.00", "720.00"]
    assert [(a["person"], a["amount"]) for a in second["awards"]] == [("C2", "720.00")]


def test_who_keeps_the_pension_does_not_lose_it_by_a_marriage(world: Any, terms: dict[str, Any]) -> None:
    """`remarriage = "keep"`: eii.wrong_state."""
    world.define({**terms, "survivors": {"spouse": {"share": 60}, "remarriage": "keep"}}, "2024-05-01")
    one = world.accepted()
    made = award(world, one)["awards"][0]["id"]
    assert world.refused("eii.end_award", {"award": made, "on": "2024-06-02", "reason": "remarriage"}) == (
        "eii.wrong_state"
    )


def test_a_second_accident_adds_up_to_the_whole(world: Any) -> None:
    """combine = add: counted = min(degree, 100 - earlier); in one batch as well."""
    first, second = world.accepted(), world.accepted(occurred_on="2024-06-02")
    found = world.do_all("eii.assess", [{"accident": first, "degree": 70}, {"accident": second, "degree": "50.5"}])
    assert [(a["counted_degree"], a["combined_degree"], a["amount"]) for a in found] == [
        ("70", "70", "1260.00"),
        ("30", "100", "540.00"),
    ]


def test_a_new_assessment_replaces_from_its_day(world: Any) -> None:
    """The first pension runs to the day before; a lump sum that was awarded before is not paid again."""
    one = world.accepted()
    world.do("eii.assess", {"accident": one, "degree": 20, "on": "2024-06-02"})
    world.do("eii.assess", {"accident": one, "degree": 50, "on": "2024-06-10", "from": "2024-06-15"})
    shown = world.do("eii.awards", {"accident": one, "on": "2024-06-14"})
    assert [(a["amount"], a["ends"]) for a in shown] == [("360.00", "2024-06-14")]
    assert running(world, one, "2024-06-15") == [("W1", "900.00")]
    assert world.do("eii.show", {"accident": one})["degree"] == "50"
    other = world.accepted("W2")
    for degree in (5, 10):
        world.do("eii.assess", {"accident": other, "degree": degree})
    due = world.rows("SELECT amount_minor AS m FROM eii.lumps WHERE kind = 'lump_sum' ORDER BY id")
    assert [row["m"] for row in due] == [180000, 180000]


def test_an_assessment_is_appealed_once(world: Any) -> None:
    """The award goes on; the appeal stands beside it."""
    one = world.accepted()
    made = world.do("eii.assess", {"accident": one, "degree": 20})["id"]
    assert world.do("eii.appeal", {"assessment": made, "reason": "It is worse"}) == {"status": "appealed"}
    assert world.refused("eii.appeal", {"assessment": made, "reason": "Again"}) == "eii.wrong_state"
    assert running(world, one, "2024-06-30") == [("W1", "360.00")]


def test_survivors_are_raised_through_their_full_rate(world: Any, terms: dict[str, Any]) -> None:
    """The full rate is raised and rounded, then shared again; a new award waits for the next year."""
    world.define({**terms, "indexation": {"table": {"2025": "3.33"}}}, "2024-05-01")
    one = world.accepted()
    award(world, one)
    assert world.do("eii.index_awards", {"scheme": "wcf"})["awards"] == 0
    world.clock.set(date(2025, 2, 1))
    found = world.do("eii.index_awards", {"scheme": "wcf", "on": "2025-01-15"})
    assert found == {"awards": 3, "before": "1800.00", "after": "1859.94"}
    assert running(world, one, "2025-01-14")[0] == ("S1", "771.43")
    assert running(world, one, "2025-01-15") == [("S1", "797.12"), ("C1", "531.41"), ("C2", "531.41")]
    assert world.do("eii.index_awards", {"scheme": "wcf"})["awards"] == 0


def test_who_is_awarded_late_has_the_years_raise_too(world: Any, terms: dict[str, Any]) -> None:
    """The second call of a year raises pensions from before the first one, and none that began after it."""
    world.define({**terms, "indexation": {"month": 1, "rate": 10}}, "2024-05-01")
    world.clock.set(date(2025, 3, 31))
    first, late, after = (world.accepted(occurred_on=f"2024-06-0{day}") for day in (1, 2, 3))
    world.do("eii.assess", {"accident": first, "degree": 20, "on": "2024-06-10"})
    assert world.do("eii.index_awards", {"scheme": "wcf", "on": "2025-01-01"})["awards"] == 1
    world.do("eii.assess", {"accident": late, "degree": 20, "on": "2024-06-10"})
    world.do("eii.assess", {"accident": after, "degree": 20, "on": "2025-02-01"})
    found = world.do("eii.index_awards", {"scheme": "wcf"})
    assert found == {"awards": 1, "before": "360.00", "after": "396.00"}


def test_a_raise_loads_only_accidents_with_a_pension_that_runs(
    world: Any, terms: dict[str, Any], monkeypatch: pytest.MonkeyPatch, count_statements: Any
) -> None:
    """Ended pensions are neither loaded nor locked, and more accidents do not take more statements."""
    loaded: list[int] = []

    def spy(context: Any, numbers: Any) -> Any:
        cases = cases_by_number(context, numbers)
        loaded.append(len(cases))
        return cases

    monkeypatch.setattr(indexing, "cases_by_number", spy)
    world.define({**terms, "indexation": {"table": {"2024": 10, "2025": 10, "2026": 10}}}, "2024-05-01")
    counts = []
    for year in (2024, 2025):
        for person in ("W1", "W2"):
            made = world.do("eii.assess", {"accident": world.accepted(person), "degree": 20, "on": "2024-06-01"})["id"]
        world.do("eii.end_award", {"award": made, "on": "2024-06-03", "reason": "recovery"})
        world.clock.set(date(year + 1, 1, 31))
        with count_statements() as seen:
            found = world.do("eii.index_awards", {"scheme": "wcf"})
        counts.append((found["awards"], loaded[-1], len(seen)))
    assert [(awards, cases) for awards, cases, _ in counts] == [(1, 1), (2, 2)]
    assert counts[0][2] == counts[1][2]


def test_a_pension_that_ended_after_the_day_is_raised_until_then(world: Any, terms: dict[str, Any]) -> None:
    """What is heard late: it ran on the day of the raise, so its days from there on are worth more."""
    world.define({**terms, "indexation": {"table": {"2024": 10}}}, "2024-05-01")
    one = world.accepted()
    made = world.do("eii.assess", {"accident": one, "degree": 20, "on": "2024-06-02"})["id"]
    world.do("eii.end_award", {"award": made, "on": "2024-06-21", "reason": "recovery"})
    assert world.do("eii.index_awards", {"scheme": "wcf", "on": "2024-06-21"})["awards"] == 0
    assert world.do("eii.index_awards", {"scheme": "wcf", "on": "2024-06-20"}) == {
        "awards": 1, "before": "360.00", "after": "396.00",
    }  # fmt: skip
    assert running(world, one, "2024-06-20") == [("W1", "396.00")]


def test_a_years_raise_is_known_though_its_pensions_have_ended(world: Any, terms: dict[str, Any]) -> None:
    """A pension that began after the year's first raise waits for the next year, whoever had that raise."""
    world.define({**terms, "indexation": {"table": {"2024": 10}}}, "2024-05-01")
    made = world.do("eii.assess", {"accident": world.accepted(), "degree": 20, "on": "2024-06-02"})["id"]
    assert world.do("eii.index_awards", {"scheme": "wcf", "on": "2024-06-05"})["awards"] == 1
    world.do("eii.end_award", {"award": made, "on": "2024-06-06", "reason": "recovery"})
    world.do("eii.assess", {"accident": world.accepted("W2"), "degree": 20, "on": "2024-06-10"})
    assert world.do("eii.index_awards", {"scheme": "wcf"})["awards"] == 0


def test_an_award_of_a_merged_person_is_paid_to_the_one_who_stays(world: Any) -> None:
    """Awards, accidents and what is paid once follow a merge of persons."""
    one = world.accepted()
    award(world, one, [{"number": "M1", "relationship": "spouse"}])
    world.do("beneficiaries.merge", {"keep": "S1", "drop": "M1"})
    assert [a["person"] for a in world.do("eii.awards", {"accident": one})] == ["S1"]


def test_survivors_elsewhere_count_though_they_are_not_seen(world: Any) -> None:
    """An officer who does not see one survivor does not make the others richer; the unseen one has no number."""
    one = world.accepted()
    made = award(world, one, [*FAMILY, {"number": "W2", "relationship": "parent"}])["awards"]
    north = world.as_user("nora", "officer", places=["N"])
    item = {"award": made[0]["id"], "on": "2024-06-20", "reason": "other"}
    ended = world.do("eii.end_award", item, as_=north)["awards"]
    assert [a["amount"] for a in ended] == ["720.00", "720.00", "360.00"]
    assert [a["person"] for a in ended[:2]] == ["C1", "C2"]
    assert ended[2]["person"] not in ("W2", None)
