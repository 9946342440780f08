"""Outside data into inputs: strict, all problems with their paths, and nothing but `InvalidInput` whatever comes."""

from __future__ import annotations

import time
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import attrs
import pytest
from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from imis_core.errors import Problem
from imis_core.parsing import InvalidInput, parse, plain
from imis_core.testing.app import TestApp
from imis_core.values import Amount, MonthDay, Percent, Quantity


@frozen(kw_only=True)
class Part:
    sex: Literal["F", "M", "O"]
    born: date


@frozen(kw_only=True)
class Whole:
    text: str = ""
    number: int = 0
    flag: bool = False
    amount: Amount | None = None
    percent: Percent | None = None
    quantity: Quantity | None = None
    day: date | None = None
    yearly: MonthDay | None = None
    parts: tuple[Part, ...] = ()
    by_name: dict[str, int] = field(factory=dict)
    free: object = None
    from_: str | None = None


def problems(value: object, kind: type = Whole) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        parse(value, kind)
    return [(p.path, p.reason) for p in caught.value.problems]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ({"text": 1}, "text", "type"),
        ({"text": "x" * 1_000_000}, "text", "too_long"),
        ({"text": "a\x00b"}, "text", "nul"),
        ({"text": "\ud800"}, "text", "encoding"),
        ({"text": 10**5000}, "text", "type"),
        ({"text": deep(2000)}, "text", "type"),
        ({"number": "1"}, "number", "type"),
        ({"number": True}, "number", "type"),
        ({"number": 1.0}, "number", "type"),
        ({"number": 10**5000}, "number", "range"),
        ({"flag": 1}, "flag", "type"),
        ({"amount": 4.45}, "amount", "float"),
        ({"amount": "4,45"}, "amount", "format"),
        ({"amount": "-1"}, "amount", "negative"),
        ({"amount": "٤"}, "amount", "format"),
        ({"amount": 10**5000}, "amount", "range"),
        ({"amount": "NaN"}, "amount", "format"),
        ({"amount": Decimal("Infinity")}, "amount", "format"),
        ({"amount": Decimal("1E+999999")}, "amount", "range"),
        ({"percent": "100.01"}, "percent", "range"),
        ({"percent": "1.1234567"}, "percent", "range"),
        ({"quantity": 0.5}, "quantity", "float"),
        ({"day": "2021-02-30"}, "day", "date"),
        ({"day": "2021-1-1"}, "day", "date"),
        ({"day": datetime(2021, 1, 1)}, "day", "type"),  # noqa: DTZ001
        ({"day": "2021-01-01T00:00:00"}, "day", "date"),
        ({"yearly": "02-29"}, "yearly", "date"),
        ({"parts": {}}, "parts", "type"),
        ({"parts": [{"sex": "F", "born": "2021-01-01"}, {"sex": "X"}]}, "parts.1.sex", "choice"),
        ({"parts": [{"sex": "X" * 1_000_000, "born": "2021-01-01"}]}, "parts.0.sex", "choice"),
        ({"parts": [{"sex": deep(2000), "born": "2021-01-01"}]}, "parts.0.sex", "choice"),
        ({"by_name": {"a": "b"}}, "by_name.a", "type"),
        ({"by_name": {"\ud800": 1}}, "by_name.\\ud800", "encoding"),
        ({"free": {"a": [1, "\x00"]}}, "free.a.1", "nul"),
        ({"free": float("nan")}, "free", "format"),
        ({"free": 10**5000}, "free", "range"),
        ({"free": {1}}, "free", "type"),
        ([], "", "type"),
        (None, "", "type"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_path_and_reason(value: object, path: str, reason: str) -> None:
    """Every value of a wrong type or form gives a problem with its path and a stable reason."""
    assert (path, reason) in problems(value)


def test_all_problems_are_told_at_once() -> None:
    """One input tells all its problems, those of lists with the position."""
    value = {"text": 1, "parts": [{}, {"sex": "F", "born": 3}], "txet": "a", "from": 1}
    assert sorted(problems(value)) == [
        ("from", "type"), ("parts.0.born", "required"), ("parts.0.sex", "required"), ("parts.1.born", "date"),
        ("text", "type"), ("txet", "unknown"),
    ]  # fmt: skip


def test_a_near_miss_is_suggested() -> None:
    """An unknown field tells the one that was probably meant, by its outside name."""
    with pytest.raises(InvalidInput) as caught:
        parse({"quantty": "1"}, Whole)
    assert "did you mean 'quantity'?" in caught.value.problems[0].message


@pytest.mark.parametrize("levels", [65, 900, 1000, 100_000])
def test_a_value_of_great_depth_is_a_problem(levels: int) -> None:
    """Lists within lists beyond the bound are refused, not walked until the interpreter gives up."""
    assert problems({"free": deep(levels)})[0][1] == "too_deep"
    assert problems(deep(levels), Whole) == [("", "type")]


def test_many_unknown_fields_are_told_quickly() -> None:
    """A hundred thousand unknown fields cost no search for a suggestion each."""
    began = time.monotonic()
    found = problems({f"quantit{n}": 1 for n in range(100_000)})
    assert time.monotonic() - began < 2
    assert len(found) < 30


def test_a_long_unknown_field_is_told_shortly() -> None:
    """A key of a megabyte is neither repeated whole nor compared with what is known."""
    with pytest.raises(InvalidInput) as caught:
        parse({"x" * 1_000_000: 1, "\ud800": 1}, Whole)
    assert all(len(p.path) < 100 and len(p.message) < 300 for p in caught.value.problems)
    assert str(caught.value).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.decimals() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([a.name for a in attrs.fields(Whole)]) | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.dictionaries(st.sampled_from([a.name.rstrip("_") for a in attrs.fields(Whole)]), JSON, max_size=5)


@settings(max_examples=300, deadline=None)
@given(JSON | FIELDS)
def test_nothing_but_invalid_input_is_raised(value: object) -> None:
    """Any JSON-like value is read or refused as `InvalidInput`; what is read can be shown again."""
    told: tuple[Problem, ...] | None = None
    try:
        plain(parse(value, Whole))
    except InvalidInput as error:
        told = error.problems
    assert told is None or all(p.reason and (p.path + p.message).encode() for p in told)
    assert told != ()


@pytest.mark.parametrize("attributes", [deep(1000), {"a": deep(1000)}, {"a": "\ud800"}, {"\ud800": 1}, {"a": "\x00"}])
def test_odd_attributes_are_refused_at_the_door(app: TestApp, attributes: object) -> None:
    """Attributes of great depth, or that the database cannot hold, are `input.invalid` with the path."""
    person = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "2000-01-01", "attributes": attributes}
    (refusal,) = app.do_all("beneficiaries.register_person", [person])
    assert refusal.code == "input.invalid"
    assert refusal.problems[0].path.startswith("attributes")
