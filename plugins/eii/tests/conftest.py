"""A small scheme of employment injury: one package, one employer, workers W1 and W2 and persons beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.errors import ImisError

TERMS: dict[str, Any] = {
    "wage": {"divisor": 30},
    "temporary": {"rate": 90, "waiting_days": 3},
    "permanent": {"method": "degree_x_rate", "rate": 60, "months": 12, "pension_from_degree": 20},
    "survivors": {"spouse": {"share": 60}, "child": {"share": 40}, "parent": {"share": 20}},
    "funeral": {"months": 2, "at_most": "5000"},
    "deadlines": {"report_days": 7, "claim_months": 12},
}


class World:
    """An application with the scheme `wcf`, and short ways to do what most rules need."""

    def __init__(self, app: Any) -> None:
        self.do, self.do_all, self.rows, self.as_user, self.clock = (
            app.do, app.do_all, app.rows, app.as_user, app.clock,
        )  # fmt: skip

    def refused(self, name: str, data: dict[str, Any], **how: Any) -> str:
        """The code with which a command is refused."""
        with pytest.raises(ImisError) as caught:
            self.do(name, data, **how)
        return caught.value.code

    def define(self, terms: dict[str, Any], valid_from: str = "2020-01-01", code: str = "BASIC") -> Any:
        """Define (a version of) a package."""
        return self.do(
            "benefit_packages.define",
            {"scheme": "wcf", "code": code, "name": code, "valid_from": valid_from, "terms": terms},
        )

    def report(self, number: str = "W1", occurred_on: str = "2024-06-01", **more: Any) -> Any:
        """Report an accident at E1, in time if nothing else is said."""
        item = {"scheme": "wcf", "package": "BASIC", "number": number, "employer": "E1", "occurred_on": occurred_on}
        return self.do("eii.report_accident", {**item, "reported_by": "worker", **more})

    def accepted(self, number: str = "W1", occurred_on: str = "2024-06-01", kind: str = "work", **more: Any) -> str:
        """The id of an accepted accident."""
        one: str = self.report(number, occurred_on, **more)["id"]
        self.do("eii.accept", {"accident": one, "kind": kind})
        return one


@pytest.fixture
def world(make_app: Callable[..., Any]) -> World:
    """The 30th of June 2024; places N and S; W1 and the family live in N, W2 in S; both earn 3000 a month at E1."""
    app = make_app(
        today=date(2024, 6, 30),
        plugins=["eii"],
        settings={
            "schemes": {"wcf": {"type": "eii"}},
            "roles": {
                "officer": {"permissions": ["eii.*", "employment.*", "beneficiaries.*"], "scope": "place"},
                "reporter": {"permissions": ["eii.report_accident"]},
            },
        },
    )
    for code in ("N", "S"):
        app.do("locations.add", {"code": code, "name": code, "level": "region"})
    app.do("employment.register_employer", {"scheme": "wcf", "code": "E1", "name": "Mill"})
    for number, place, born in (
        ("W1", "N", "1980-01-01"), ("W2", "S", "1985-01-01"), ("S1", "N", "1982-01-01"), ("C1", "N", "2015-03-01"),
        ("C2", "N", "2017-03-01"), ("M1", "N", "1950-01-01"),
    ):  # fmt: skip
        app.do(
            "beneficiaries.register_person",
            {"number": number, "given_name": "A", "family_name": "B", "sex": "F", "birth_date": born,
             "location": place},
        )  # fmt: skip
    for number in ("W1", "W2"):
        app.do("employment.register", {"employer": "E1", "number": number, "from": "2023-01-01", "wage": "3000"})
    world = World(app)
    world.define(TERMS)
    return world


@pytest.fixture
def terms() -> dict[str, Any]:
    """The terms of the package BASIC."""
    return TERMS


@pytest.fixture
def count_statements() -> Any:
    """A context manager that lists the statements which run meanwhile."""

    @contextmanager
    def counting() -> Iterator[list[str]]:
        seen: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)

    return counting
