"""Base45 as RFC 9285 writes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.cards import base45


@pytest.mark.parametrize(
    ("content", "text"), [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581")]
)
def test_examples_of_the_rfc(content: bytes, text: str) -> None:
    """RFC 9285, section 4.3."""
    assert base45.encode(content) == text
    assert base45.decode(text) == content


@given(st.binary(max_size=300))
def test_what_was_encoded_comes_back(content: bytes) -> None:
    assert base45.decode(base45.encode(content)) == content


@pytest.mark.parametrize("text", ["GGW", "::", "A", "ab3"])
def test_anything_else_is_refused(text: str) -> None:
    """A triple beyond two bytes, a pair beyond one, a lone character, a strange one."""
    with pytest.raises(ValueError, match="Base45"):
        base45.decode(text)
