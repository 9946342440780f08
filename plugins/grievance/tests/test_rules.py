"""The clock of grievances: as the contract says it, and alike in Python and in SQL."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from imis_grievance.queries import clock_sql
from imis_grievance.rules import STATES, clock, due_day
from imis_grievance.tables import grievances

OPENED = date(2021, 1, 1)


@pytest.mark.parametrize(
    ("days", "passed", "shown"),
    [
        (20, 0, "on_time"),
        (20, 15, "on_time"),  # 5 left are 25 %, not less
        (20, 16, "at_risk"),
        (20, 20, "at_risk"),  # the due day itself is in time
        (20, 21, "breached"),
        (3, 2, "on_time"),
        (3, 3, "at_risk"),
        (0, 0, "on_time"),
        (0, 1, "breached"),
    ],
)
def test_the_clock(days: int, passed: int, shown: str) -> None:
    """left = due - today: breached below 0, at risk below 25 % of the days."""
    assert clock("open", due_day(OPENED, days), days, OPENED + timedelta(days=passed)) == shown


@given(
    days=st.integers(0, 400), passed=st.integers(0, 500), status=st.sampled_from(sorted(STATES.moves))
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_the_clock_is_as_the_contract_says(days: int, passed: int, status: str) -> None:
    """Done once resolved or closed; else by the share of the days that is left, computed exactly."""
    due = due_day(OPENED, days)
    left = days - passed
    expected = "on_time"
    if status in ("resolved", "closed"):
        expected = "done"
    elif left < 0:
        expected = "breached"
    elif days and Fraction(left, days) < Fraction(25, 100):
        expected = "at_risk"
    assert clock(status, due, days, OPENED + timedelta(days=passed)) == expected


def test_the_clock_is_the_same_in_sql(desk: Any) -> None:
    """What lists filter by is what is shown, for each status around every edge."""
    cases = [
        (status, OPENED + timedelta(days=days), days, OPENED + timedelta(days=passed))
        for status in STATES.moves
        for days in (0, 1, 3, 4, 20)
        for passed in (0, 1, 2, 3, 4, 5, 15, 16, 20, 21)
    ]
    with desk.app.database.query(desk.app.system) as connection:
        for today in sorted({case[3] for case in cases}):
            chosen = [case for case in cases if case[3] == today]
            rows = sa.values(
                sa.column("n", sa.Integer), sa.column("status", sa.Text), sa.column("due", sa.Date),
                sa.column("days", sa.Integer), name="grievances",
            ).data([(n, *case[:3]) for n, case in enumerate(chosen)])  # fmt: skip
            text = str(
                clock_sql(today).compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
            ).replace(f"{grievances.fullname}.", "grievances.")
            shown = connection.execute(
                sa.select(sa.literal_column(text)).select_from(rows).order_by(rows.c.n)
            ).scalars()
            assert list(shown) == [clock(status, due, days, today) for status, due, days, _ in chosen]
