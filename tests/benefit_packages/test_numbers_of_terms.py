"""The rules of numbers in terms: ranges, exact amounts, the largest amount, and classes that read themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Generic, TypeVar, get_args

import pytest
from attrs import field, frozen

from imis_core.api import LARGEST_MINOR, Amount, Percent, Rate, number_problems, parse

T = TypeVar("T")


@frozen
class Pair(Generic[T]):
    """Two numbers written as one list: it reads itself, and says where its numbers stand."""

    low: T
    high: T

    @staticmethod
    def __structure__(kind: Any, value: Any, read: Callable[[Any, Any], Any]) -> Pair[Any]:
        inner = get_args(kind)[0]
        return Pair(*(read(part, inner) for part in value))

    def __numbers__(self) -> Iterator[tuple[str, Any]]:
        yield "low", self.low
        yield "high", self.high


@frozen
class Sealed:
    """It reads itself and tells nothing: its number is its own affair."""

    number: int

    @staticmethod
    def __structure__(kind: Any, value: object, read: Callable[[Any, Any], Any]) -> Sealed:
        return Sealed(read(value, int))


@frozen(kw_only=True)
class Part:
    from_: Amount | None = None
    count: int = 0


@frozen(kw_only=True)
class Terms:
    months: int = field(default=1, metadata={"min": 1, "max": 12})
    free: int | None = None
    rate: Rate | None = field(default=None, metadata={"max": 1000})
    weight: Rate | None = None
    percent: Percent | None = None
    flag: bool = False
    parts: tuple[Part, ...] = ()
    by_code: dict[str, Amount] = field(factory=dict)
    pair: Pair[Amount] | None = None
    ages: Pair[int] | None = field(default=None, metadata={"max": 150})
    sealed: Sealed | None = None


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({"months": 0}, {("months", "range")}),
        ({"months": 13}, {("months", "range")}),
        ({"free": -1}, {("free", "range")}),
        ({"free": 10**15, "flag": True, "percent": 100, "weight": "-2.5"}, set()),
        ({"rate": "-0.1"}, {("rate", "range")}),
        ({"rate": "1000.1"}, {("rate", "range")}),
        ({"parts": [{}, {"from": "0.001", "count": -1}]}, {("parts.1.from", "not_exact"), ("parts.1.count", "range")}),
        ({"by_code": {"A": "1.00", "B": "1.001"}}, {("by_code.B", "not_exact")}),
        ({"by_code": {"A": "100000000000.00", "B": "100000000000.01"}}, {("by_code.B", "range")}),
        ({"pair": ["0.01", "0.005"]}, {("pair.high", "not_exact")}),
        ({"ages": [0, 151]}, {("ages.high", "range")}),
        ({"sealed": -1}, set()),
    ],
)
def test_every_number_is_judged_where_it_stands(terms: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    """Path and reason of each number that is out of range or not exact; nothing else is judged."""
    assert {(p.path, p.reason) for p in number_problems(parse(terms, Terms), "USD", LARGEST_MINOR)} == expected


def test_amounts_are_judged_by_the_currency() -> None:
    """The largest amount is one of minor units, and decimals are those of the currency."""
    terms = Terms(by_code={"A": Amount(Decimal("0.5")), "B": Amount(Decimal(10**13)), "C": Amount(Decimal(10**13 + 1))})
    assert {(p.path, p.reason) for p in number_problems(terms, "JPY", LARGEST_MINOR)} == {
        ("by_code.A", "not_exact"),
        ("by_code.C", "range"),
    }
