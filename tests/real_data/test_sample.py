"""A sample of the real data goes through the whole system in the suite; `nox -s real-data` takes all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imis_core.opening import Playground
from tests.real_data.report import as_markdown
from tests.real_data.run import Outcome, run

SAMPLE = Path(__file__).parent / "sample"


@pytest.fixture(scope="module")
def outcome(playground: Playground, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(playground, SAMPLE, tmp_path_factory.mktemp("real"))


def test_every_row_is_loaded_or_listed_and_every_total_ties(outcome: Outcome) -> None:
    """`Outcome.check` has proved rows, orders and ledger; the sample is not empty of any outcome."""
    claims = outcome.imports["claims"]
    assert claims.rows > 1000
    assert outcome.paid > 0
    assert set(claims.outcomes) == {"checked", "no_coverage", "person_invalid", "all_lines_rejected"}
    # The sample meets the checks that look at other claims too.
    assert {"frequency", "max_provisions", "max_hospitalisations"} <= set(outcome.line_outcomes)


def test_claims_without_a_diagnosis_are_listed_with_the_reason(outcome: Outcome) -> None:
    """A row that lacks a diagnosis is refused, listed with its reason, and can be corrected and imported again."""
    claims = outcome.imports["claims"]
    assert claims.reasons == {"input.invalid.required": claims.refused}
    listed = claims.error_files[0].read_text("utf-8-sig").splitlines()
    assert len(listed) == claims.refused + 1
    assert "input.invalid.required diagnosis" in listed[1]


def test_codes_keep_their_leading_zeros(outcome: Outcome) -> None:
    """CVX 03 and 08 stay text of two characters: the lines that bill them are stored."""
    assert outcome.imports["items"].refused == 0
    assert outcome.line_outcomes["passed"] > 0


def test_the_report_names_every_kind(outcome: Outcome) -> None:
    """The page has a row for each file."""
    text = as_markdown(outcome, 1.0)
    assert all(f"| {kind} |" in text for kind in outcome.imports)
