"""Rules of matching: what a scenario expects must be contained in a result (contract.md, 'Scenario files')."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.scenarios.matching import Mismatch, first_mismatch

plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.dates()
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(plain_values)
def test_a_value_matches_itself(value: Any) -> None:
    """Every value contains itself."""
    assert first_mismatch(value, value) is None


@given(st.dictionaries(st.text(min_size=1), plain_values, min_size=1), st.data())
def test_expecting_less_still_matches(value: dict[str, Any], data: st.DataObject) -> None:
    """A key that is not expected may have any value."""
    key = data.draw(st.sampled_from(sorted(value)))
    assert first_mismatch({k: v for k, v in value.items() if k != key}, value) is None


@given(st.lists(plain_values, min_size=1))
def test_a_list_has_the_same_length(value: list[Any]) -> None:
    """A list with one element less does not match."""
    assert first_mismatch(value[:-1], value) is not None
    assert first_mismatch(value, value[:-1]) is not None


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("445", "445.00"),
        ("445.00", 445),
        (445, "445.00"),
        (0, "0.00"),
        ("-1200", "-1200.00"),
        (33.33, "33.33"),
        (date(2021, 1, 1), "2021-01-01"),
        ("2021-01-01", "2021-01-01"),
        (True, True),
        ("text", "text"),
    ],
)
def test_equal_in_the_terms_of_the_field(expected: Any, found: Any) -> None:
    """Amounts compare as decimals, dates as dates."""
    assert first_mismatch(expected, found) is None


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (True, 1),
        (1, True),
        (False, 0),
        (True, "true"),
        ("445", "445.01"),
        ("007", "7"),
        (7, "007"),
        ("1e2", "100"),
        (date(2021, 1, 1), "2021-01-02"),
        ("a", "A"),
        ("1", None),
        ({}, []),
        ([], {}),
        ([], None),
        ({}, None),
        ("", None),
    ],
)
def test_different(expected: Any, found: Any) -> None:
    """True is not 1, a code with leading zeros is no amount, nothing is not an empty list."""
    assert first_mismatch(expected, found) is not None


def test_the_first_mismatch_is_told_with_its_path() -> None:
    """A mismatch says where, what was expected and what was found."""
    expected = {"lines": [{"item": "A", "payable": "50"}, {"item": "B", "payable": "60"}]}
    found = {"id": "x", "lines": [{"item": "A", "payable": "50.00"}, {"item": "B", "payable": "61.00"}]}
    assert first_mismatch(expected, found) == Mismatch("lines.1.payable", '"60"', '"61.00"')


def test_a_missing_key_is_told_as_nothing() -> None:
    """What is not there is found as nothing."""
    assert str(first_mismatch({"due": "445"}, {})) == 'due: expected "445", found nothing'


@pytest.mark.parametrize("result", [{}, {"reason": None}, {"lines": []}])
def test_absent_is_not_there_or_null(result: dict[str, Any]) -> None:
    """`absent` accepts a missing field and a null alike."""
    assert first_mismatch(None, result, ["reason", "lines.0.reason"]) is None


def test_absent_refuses_a_value() -> None:
    """`absent` names the field that has a value after all."""
    assert first_mismatch({}, {"lines": [{"reason": "late"}]}, ["lines.0.reason"]) == Mismatch(
        "lines.0.reason", "nothing", '"late"'
    )
