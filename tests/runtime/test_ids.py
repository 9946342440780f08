"""Outside ids: they come back, say nothing, and their key is made once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.errors import ImisError
from imis_core.ids import KERNEL_NOUNS, Ids, load_key
from imis_core.values import INT64_MAX

IDS = Ids(b"k" * 16, {"visits": 1001})
NOUNS = st.sampled_from([*KERNEL_NOUNS, "visits"])


@given(NOUNS, st.lists(st.integers(0, INT64_MAX), max_size=20))
def test_an_id_comes_back(noun: str, numbers: list[int]) -> None:
    """What is encoded is decoded, one by one and in a list, in order; capitals do not matter."""
    outside = IDS.encode_all(noun, numbers)
    assert [IDS.decode(noun, name) for name in outside] == numbers
    assert [IDS.decode_any(name.upper()) for name in outside] == [(noun, n) for n in numbers]
    others = [IDS.encode("claims" if noun != "claims" else "persons", 1), "", "x" * 36]
    assert IDS.decode_all(noun, [*others, *(name.upper() for name in outside)]) == [None] * 3 + numbers
    assert [IDS.encode(noun, n) for n in numbers] == outside


def test_no_two_ids_are_equal_or_alike() -> None:
    """Neighbours, other nouns and other keys have ids without anything in common."""
    names = [name for noun in ("persons", "claims") for name in IDS.encode_all(noun, range(500))]
    names += Ids(b"j" * 16, {}).encode_all("persons", range(500))
    assert len({name[:18] for name in names}) == len({name[19:] for name in names}) == 1500


def test_an_id_of_another_noun_is_none_of_this() -> None:
    """The noun is part of the id."""
    assert IDS.decode("claims", IDS.encode("persons", 1)) is None


@given(st.text(max_size=40) | st.uuids().map(str))
def test_garbage_is_no_id(text: str) -> None:
    """Whatever was not encoded here is no id, and no error."""
    assert IDS.decode_any(text) is None


@pytest.mark.parametrize("change", [lambda s: s.replace("-", ""), lambda s: s[1:] + s[0], lambda s: f" {s[:-1]}"])
def test_an_id_has_one_spelling(change: Callable[[str], str]) -> None:
    """Dashes elsewhere, missing or with blanks: no id."""
    assert IDS.decode_any(change(IDS.encode("persons", 1))) is None


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """Many who start at once agree on one key, which only its owner reads; nothing else is left behind."""
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(load_key(tmp_path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 16
    assert len(set(keys)) == 1
    assert [p.name for p in (tmp_path / "keys").iterdir()] == ["ids.key"]
    assert os.stat(tmp_path / "keys" / "ids.key").st_mode & 0o777 == 0o600
    assert load_key(tmp_path) == keys[0]


@pytest.mark.parametrize("content", [b"", b"abc", b"zz" * 16, b"00" * 15, b"\xff" * 32])
def test_a_damaged_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """A key that is not whole is never replaced: all ids would change."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ids.key").write_bytes(content)
    with pytest.raises(ImisError) as caught:
        load_key(tmp_path)
    assert caught.value.code == "keys.invalid"
    assert (tmp_path / "keys" / "ids.key").read_bytes() == content
