"""Rules of cycles: planned by a recurrence, opened without overlaps, followed by the next one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imis_core.errors import ImisError
from imis_core.recurrence import WEEKDAYS, Recurrence
from tests.payroll.conftest import Office


def plan(office: Office, **asked: Any) -> list[tuple[str, str]]:
    return [(p["starts"], p["ends"]) for p in office.app.do("cycles.plan", {"count": 2} | asked)]


def test_days_weeks_and_months(bare: Office) -> None:
    """Every 20 days; monthly on the 10th; fortnightly on Fridays; quarterly; yearly (cash_transfer.md 7)."""
    start = "2022-12-15"
    assert plan(bare, every="day", interval=20, **{"from": start}) == [
        ("2022-12-15", "2023-01-03"), ("2023-01-04", "2023-01-23"),
    ]  # fmt: skip
    assert plan(bare, every="month", day=10, **{"from": start}) == [
        ("2023-01-10", "2023-02-09"), ("2023-02-10", "2023-03-09"),
    ]  # fmt: skip
    assert plan(bare, every="week", interval=2, weekday="friday", **{"from": start}) == [
        ("2022-12-16", "2022-12-29"), ("2022-12-30", "2023-01-12"),
    ]  # fmt: skip
    assert plan(bare, every="month", interval=3, **{"from": start}) == [
        ("2022-12-15", "2023-03-14"), ("2023-03-15", "2023-06-14"),
    ]  # fmt: skip
    assert plan(bare, every="year", **{"from": "2024-02-29"}) == [
        ("2024-02-29", "2025-02-27"), ("2025-02-28", "2026-02-27"),
    ]  # fmt: skip


def test_a_short_month_keeps_the_day(bare: Office) -> None:
    """The 31st is a short month's last day, and comes back."""
    months = [("2023-01-31", "2023-02-27"), ("2023-02-28", "2023-03-30"), ("2023-03-31", "2023-04-29")]
    assert plan(bare, every="month", count=3, **{"from": "2023-01-31"}) == months
    assert plan(bare, every="month", day=31, count=3, **{"from": "2023-01-01"}) == months


def test_the_nth_weekday_of_a_month(bare: Office) -> None:
    """The second Tuesday, and the last Sunday, which may be the fourth or the fifth."""
    assert plan(bare, every="month", nth=2, weekday="tuesday", **{"from": "2023-01-11"}) == [
        ("2023-02-14", "2023-03-13"), ("2023-03-14", "2023-04-10"),
    ]  # fmt: skip
    assert plan(bare, every="month", nth=-1, weekday="sunday", **{"from": "2023-01-01"}) == [
        ("2023-01-29", "2023-02-25"), ("2023-02-26", "2023-03-25"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"every": "day", "day": 3}, "day"),
        ({"every": "week", "day": 3}, "day"),
        ({"every": "year", "day": 3}, "day"),
        ({"every": "week", "nth": 1, "weekday": "monday"}, "nth"),
        ({"every": "day", "weekday": "monday"}, "weekday"),
        ({"every": "month", "weekday": "monday"}, "nth"),
        ({"every": "month", "nth": 1}, "weekday"),
        ({"every": "month", "nth": 5, "weekday": "monday"}, "nth"),
        ({"every": "month", "nth": 0, "weekday": "monday"}, "nth"),
        ({"every": "month", "nth": 1, "weekday": "monday", "day": 3}, "nth"),
        ({"every": "month", "day": 32}, "day"),
        ({"every": "month", "day": 0}, "day"),
        ({"every": "month", "interval": 0}, "interval"),
        ({"every": "fortnight"}, "every"),
        ({"every": "month", "weekday": "Monday", "nth": 1}, "weekday"),
        ({"every": "month", "count": 0}, "count"),
        ({"every": "year", "interval": 1000, "count": 100}, "count"),
    ],
)
def test_what_does_not_go_together_is_invalid(bare: Office, asked: dict[str, Any], path: str) -> None:
    """Impossible combinations and ranges are invalid, with the path of the field."""
    with pytest.raises(ImisError) as refused:
        bare.app.do("cycles.plan", {"from": "2023-01-01", "count": 1} | asked)
    assert (refused.value.code, [p.path for p in refused.value.refusal.problems]) == ("input.invalid", [path])


def _matches(rule: Recurrence, day: date, first: date) -> bool:
    """Whether a period begins on a day, told day by day, months and weeks apart from `first` left aside."""
    if rule.weekday is not None and day.weekday() != WEEKDAYS.index(rule.weekday):
        return False
    tomorrow = day + timedelta(days=1)
    if rule.nth is not None:
        last = (day + timedelta(days=7)).month != day.month
        return last if rule.nth == -1 else (day.day - 1) // 7 + 1 == rule.nth
    if rule.every in ("month", "year"):
        wanted = rule.day or first.day
        return day.day == wanted or (day.day < wanted and tomorrow.month != day.month)
    return True


def _oracle(rule: Recurrence, earliest: date, count: int) -> list[date]:
    """The first days of periods, found by walking over every day."""
    found: list[date] = []
    day = earliest
    while len(found) < count:
        if _matches(rule, day, earliest):
            first = found[0] if found else day
            months = (day.year - first.year) * 12 + day.month - first.month
            apart = {
                "day": (day - first).days % rule.interval,
                "week": (day - first).days % (7 * rule.interval),
                "month": months % rule.interval,
                "year": months % (12 * rule.interval),
            }[rule.every]
            if apart == 0:
                found.append(day)
        day += timedelta(days=1)
    return found


RULES = st.one_of(
    st.builds(lambda i: Recurrence(every="day", interval=i), st.integers(1, 40)),
    st.builds(
        lambda i, w: Recurrence(every="week", interval=i, weekday=w),
        st.integers(1, 6), st.sampled_from([None, *WEEKDAYS]),
    ),
    st.builds(
        lambda i, d: Recurrence(every="month", interval=i, day=d),
        st.integers(1, 6), st.none() | st.integers(1, 31),
    ),
    st.builds(
        lambda i, n, w: Recurrence(every="month", interval=i, nth=n, weekday=w),
        st.integers(1, 6), st.sampled_from([1, 2, 3, 4, -1]), st.sampled_from(WEEKDAYS),
    ),
    st.builds(lambda i: Recurrence(every="year", interval=i), st.integers(1, 3)),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(RULES, st.dates(date(1999, 1, 1), date(2030, 12, 31)))
def test_a_plan_agrees_with_a_walk_over_every_day(rule: Recurrence, earliest: date) -> None:
    """First days are those found day by day; a period ends the day before the next one begins."""
    starts = _oracle(rule, earliest, 5)
    periods = list(islice(rule.periods(earliest), 4))
    assert rule.problems() == []
    assert periods == [(s, e - timedelta(days=1)) for s, e in pairwise(starts)]


def test_a_cycle_has_its_own_code_and_days(bare: Office) -> None:
    """Opening answers the cycle; the same code, and days that overlap another one of the scheme, are refused."""
    bare.package("P")
    bare.package("Q")
    cycle = {"scheme": "g", "code": "C1", "starts": "2021-01-01", "ends": "2021-01-31"}
    opened = bare.app.do("cycles.open", cycle)
    assert opened == {
        "id": opened["id"], "code": "C1", "starts": "2021-01-01", "ends": "2021-01-31", "package": None,
    }  # fmt: skip
    later = cycle | {"starts": "2022-01-01", "ends": "2022-01-31"}
    assert bare.code("cycles.open", later) == "cycles.duplicate_code"
    overlapping = cycle | {"code": "C2", "starts": "2021-01-31", "ends": "2021-02-27"}
    assert bare.code("cycles.open", overlapping) == "cycles.overlap"
    assert bare.code("cycles.open", overlapping | {"package": "P"}) == "cycles.overlap"
    bare.app.do("cycles.open", later | {"code": "C3", "package": "P"})
    assert bare.code("cycles.open", later | {"code": "C4", "package": "P"}) == "cycles.overlap"
    bare.app.do("cycles.open", later | {"code": "C4", "package": "Q"})
    listed = bare.app.do("cycles.list", {"scheme": "g"})
    assert [(c["code"], c["package"]) for c in listed] == [("C1", None), ("C3", "P"), ("C4", "Q")]


def test_what_is_no_cycle_is_refused(bare: Office) -> None:
    """Ends before it begins, an empty code, an unknown scheme: invalid; an unknown package is not found."""
    cycle = {"scheme": "g", "code": "C1", "starts": "2021-01-02", "ends": "2021-01-01"}
    good = cycle | {"ends": "2021-01-02"}
    answers = bare.app.do_all(
        "cycles.open",
        [cycle, good | {"code": ""}, good | {"scheme": "x"}, good | {"package": "X"}, good, good],
    )
    codes = ["input.invalid"] * 3 + ["not_found", "C1", "cycles.duplicate_code"]
    assert [a["code"] if isinstance(a, dict) else a.code for a in answers] == codes


def test_one_of_two_openings_at_once_is_refused(bare: Office) -> None:
    """Two cycles of the same days, opened at the same moment: one overlaps."""
    anna = bare.app.as_user("anna")

    def open_cycle(code: str) -> str:
        try:
            cycle = {"scheme": "g", "code": code, "starts": "2021-01-01", "ends": "2021-01-31"}
            return str(bare.app.do("cycles.open", cycle, as_=anna)["code"])
        except ImisError as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        found = sorted(pool.map(open_cycle, ("A", "B")))
    assert found in (["A", "cycles.overlap"], ["B", "cycles.overlap"])


def test_the_next_cycle_follows_the_last(bare: Office) -> None:
    """By the terms' frequency: from today if there is none, else from the day after the last one's end."""
    bare.package(frequency={"every": "month", "day": 10})
    following = {"scheme": "g", "package": "P"}
    first = bare.app.do("cycles.open_next", following | {"code": "C1"})
    assert (first["starts"], first["ends"], first["package"]) == ("2021-07-10", "2021-08-09", "P")
    answers = bare.app.do_all("cycles.open_next", [following | {"code": c} for c in ("C2", "C2", "C3")])
    assert (answers[0]["starts"], answers[0]["ends"]) == ("2021-08-10", "2021-09-09")
    assert answers[1].code == "cycles.duplicate_code"
    assert (answers[2]["starts"], answers[2]["ends"]) == ("2021-09-10", "2021-10-09")


def test_the_31st_comes_back_in_the_next_cycles(bare: Office) -> None:
    """Cycles that follow each other have the same days as their plan."""
    bare.package(frequency={"every": "month"})
    bare.app.clock.set(date(2021, 1, 31))
    opened = [
        bare.app.do("cycles.open_next", {"scheme": "g", "package": "P", "code": f"C{n}"}) for n in range(3)
    ]  # fmt: skip
    planned = plan(bare, every="month", count=3, **{"from": "2021-01-31"})
    assert [(c["starts"], c["ends"]) for c in opened] == planned


def test_without_a_frequency_there_is_no_next_cycle(bare: Office) -> None:
    """A package without a frequency, and a kind of scheme that knows none: invalid, with the path."""
    bare.package()
    asked = {"scheme": "g", "package": "P", "code": "C1"}
    assert bare.code("cycles.open_next", asked) == "input.invalid"
    assert bare.code("cycles.open_next", asked | {"scheme": "quiet"}) == "input.invalid"
    assert bare.code("cycles.open_next", asked | {"package": "X"}) == "not_found"
    with pytest.raises(ImisError) as refused:
        bare.package("Q", frequency={"every": "week", "day": 3})
    assert refused.value.refusal.problems[0].path == "terms.frequency.day"
