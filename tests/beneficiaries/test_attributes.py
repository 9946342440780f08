"""Rules of attributes that need no database."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from math import isfinite
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from imis_core.beneficiaries.attributes import DEPTH_MAX, AttributeRules
from imis_core.errors import Problem
from imis_core.values import INT64_MAX

FREE = AttributeRules(None, "person")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3))


def kept(value: Any, depth: int = 0) -> bool:
    """Whether a plain reading of the rule keeps a value: numbers in bounds, valid Unicode without NUL, not deep."""
    if isinstance(value, float):
        with localcontext(prec=500):
            return isfinite(value) and abs(value) <= INT64_MAX and Decimal(repr(value)) % Decimal("1e-60") == 0
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, int):
        return abs(value) <= INT64_MAX
    if isinstance(value, list):
        return depth < DEPTH_MAX and all(kept(v, depth + 1) for v in value)
    if isinstance(value, dict):
        return depth < DEPTH_MAX and all(kept(k) and kept(v, depth + 1) for k, v in value.items())
    return True


@given(VALUES)
def test_free_json_is_kept_or_refused(value: Any) -> None:
    """A free attribute comes back as it was given, or is refused with a path: nothing is changed silently."""
    problems: list[Problem] = []
    stored = FREE.check("attributes", {"a": value}, problems)
    assert (not problems) == kept(value)
    if not problems:
        assert json.loads(stored.json) == ({} if value is None else {"a": value})
    assert all(p.path.startswith("attributes.a") for p in problems)


def test_a_lone_surrogate_is_refused() -> None:
    """Text that is no valid Unicode cannot be kept and is refused with its path."""
    problems: list[Problem] = []
    FREE.check("attributes", {"a": {"b": "\ud800"}}, problems)
    assert [(p.path, p.reason) for p in problems] == [("attributes.a.b", "encoding")]


def test_attributes_have_a_size() -> None:
    """All attributes of one person take at most 64 KiB."""
    problems: list[Problem] = []
    FREE.check("attributes", {f"a{i}": "x" * 9_000 for i in range(8)}, problems)
    assert [(p.path, p.reason) for p in problems] == [("attributes", "too_long")]
