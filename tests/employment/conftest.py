"""A deployment with a scheme of contributions from wages, an employer and three persons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from attrs import frozen

from imis_core.api import Manifest, Percent, SchemeType, WageCase, WageContribution, hookimpl, share_half_up

NOTHING = Percent(Decimal(0))


@frozen(kw_only=True)
class Terms:
    """Contributions as a percentage for each party; an empty package has none."""

    employee: Percent | None = None
    employer: Percent = NOTHING


def rates(cases: Sequence[WageCase]) -> list[WageContribution]:
    """Class HIGH doubles the employer's part."""
    return [
        WageContribution(
            share_half_up(case.wage_minor, case.terms.employee),
            share_half_up(case.wage_minor, case.terms.employer * (2 if case.class_ == "HIGH" else 1)),
            0,
        )
        for case in cases
    ]


def plugin() -> ModuleType:
    module = ModuleType("paying")

    @hookimpl
    def imis_plugin() -> Manifest:
        return Manifest(name="paying", version="1", kernel=">=0.1")

    @hookimpl
    def imis_register_scheme_types() -> list[SchemeType]:
        return [
            SchemeType(
                name="paying",
                terms=Terms,
                check_terms=lambda terms, check: [],
                has_wage_rates=lambda terms: terms.employee is not None,
                wage_rates=rates,
            )
        ]

    module.imis_plugin = imis_plugin  # type: ignore[attr-defined]
    module.imis_register_scheme_types = imis_register_scheme_types  # type: ignore[attr-defined]
    return module


@pytest.fixture
def firm(make_app: Any) -> Any:
    """An application with a scheme of contributions, an employer E1 and persons P1 to P3."""
    app = make_app(
        today=date(2024, 6, 30),
        settings={
            "plugins": {"enabled": ["paying"]},
            "schemes": {"s": {"type": "paying"}},
            "roles": {"clerk": {"permissions": ["*"], "scope": "place"}},
        },
        extra={"paying": plugin()},
        plugins=["paying"],
    )
    app.do("locations.add", {"code": "N", "name": "North", "level": "region"})
    app.do("locations.add", {"code": "S", "name": "South", "level": "region"})
    app.do("employment.register_employer", {"scheme": "s", "code": "E1", "name": "Mill", "location": "N"})
    for number, place in (("P1", "N"), ("P2", "S"), ("P3", "N")):
        app.do(
            "beneficiaries.register_person",
            {"number": number, "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01",
             "location": place},
        )  # fmt: skip
    return app


@pytest.fixture
def count_statements() -> Any:
    """A context manager that lists the statements which an application runs meanwhile."""

    @contextmanager
    def counting(app: Any) -> Iterator[list[str]]:
        seen: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)

    return counting
