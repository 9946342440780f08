"""Rules of references: how a step speaks of an earlier step's result."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.scenarios.references import UnknownReference, resolve

SAVED: dict[str, Any] = {"policy": {"id": "p-1", "count": 2, "members": [{"id": "m-1"}], "reason": None}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$policy.id", "p-1"),
        ("$policy.members.0.id", "m-1"),
        ("$policy.members", [{"id": "m-1"}]),
        ("$policy.count", 2),
        ("$policy.reason", None),
        ("$policy", SAVED["policy"]),
        ("$$policy.id", "$policy.id"),
        ("$$", "$"),
        ("$5", "$5"),
        ("a $policy.id, $policy.count.", "a p-1, 2."),
        ("$policy.id-x", "p-1-x"),
        ("US$$ $$$policy.id", "US$ $p-1"),
    ],
)
def test_what_a_reference_stands_for(text: str, value: Any) -> None:
    """A whole reference keeps the type; inside a text it is written out; two dollar signs are one."""
    assert resolve(text, SAVED) == value


def test_references_are_found_anywhere_in_the_values() -> None:
    """Tables and lists are walked; their keys stay as they are."""
    assert resolve({"$policy": [{"group": "$policy.id"}], "n": 1}, SAVED) == {"$policy": [{"group": "p-1"}], "n": 1}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("$polcy.id", "did you mean 'policy'"),
        ("$policy.ids", "it has id"),
        ("$policy.members.1", "a list of 1"),
        ("$policy.id.x", "no parts"),
        ("of $policy.members", "inside a longer text"),
    ],
)
def test_an_unknown_reference_says_what_there_is(text: str, told: str) -> None:
    """An unknown name or part is an error that shows what could have been meant."""
    with pytest.raises(UnknownReference, match=told):
        resolve(text, SAVED)


@given(st.text())
def test_any_text_can_be_written_with_doubled_dollar_signs(text: str) -> None:
    """Doubling every dollar sign makes any text stand for itself."""
    assert resolve(text.replace("$", "$$"), {}) == text
