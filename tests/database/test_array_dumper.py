"""Lists arrive in the database as they are, whatever is in them."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.array import ListDumper

from imis_core.database import array_dumper
from imis_core.testing.app import TestApp

SIGNS = ["NULL", "null", "", " ", "{}", '"', "\\", ",", '\\"', "a\nb", "\u00a0"]  # that mean something in an array
ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TEXTS = st.lists(st.none() | ANY_TEXT | st.sampled_from(SIGNS), min_size=1)
NUMBERS = st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1)
OTHERS = st.lists(st.none() | st.booleans()) | st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(texts=TEXTS, numbers=NUMBERS, others=OTHERS)
def test_what_comes_back_is_what_was_sent(
    app: TestApp, texts: list[str | None], numbers: list[int | None], others: list[Any]
) -> None:
    """Texts with every sign that means something in an array, numbers up to 64 bits, and what psycopg writes itself."""
    kind = "int[]" if others and isinstance(others[0], list) else "boolean[]"
    (row,) = app.rows(
        f"SELECT CAST(:texts AS text[]) AS texts, CAST(:numbers AS bigint[]) AS numbers, "
        f"CAST(:others AS {kind}) AS others",
        texts=texts, numbers=numbers, others=others,
    )  # fmt: skip
    assert (row["texts"], row["numbers"], row["others"]) == (texts, numbers, others)


def test_a_text_that_cannot_be_kept_is_refused(app: TestApp) -> None:
    """The sign NUL is in no text of PostgreSQL: nothing is cut off in silence."""
    with pytest.raises(sa.exc.DataError, match="NUL"):
        app.rows("SELECT CAST(:texts AS text[])", texts=["a", "b\0c"])


def test_columns_of_batches_are_written_here(app: TestApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """The applications' connections use this dumper: psycopg's own is asked for the other kinds only."""

    def asked(dumper: ListDumper, values: list[Any]) -> None:
        raise AssertionError(f"psycopg writes {values}")

    monkeypatch.setattr(array_dumper.ListDumper, "dump", asked)
    assert app.rows("SELECT CAST(:names AS text[]) AS n", names=["a", None])[0]["n"] == ["a", None]
    assert app.rows("SELECT CAST(:ids AS bigint[]) AS n", ids=[1, None, 3])[0]["n"] == [1, None, 3]
