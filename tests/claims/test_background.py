"""Processing in the background: policies stay together, and the amounts are those of processing at once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.claims import background
from imis_core.errors import ImisError
from imis_core.testing.app import TestApp
from tests.claims.conftest import TERMS, Clinic

SETTINGS = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
PARTS = st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=3), max_size=25)


@SETTINGS
@given(PARTS)
def test_claims_that_share_a_cover_stay_together(covers: list[set[str]]) -> None:
    """Against a plain closure: two claims are together exactly if a chain of shared covers joins them."""
    groups = background.together((n, sorted(c)) for n, c in enumerate(covers))
    assert sorted(n for group in groups for n in group) == list(range(len(covers)))
    joined = {n: {m for m, other in enumerate(covers) if m == n or other & covers[n]} for n in range(len(covers))}
    for _ in covers:
        joined = {n: set().union(*(joined[m] for m in near)) for n, near in joined.items()}
    for group in groups:
        assert group == sorted(group)  # the order of valuation
        assert set(group) == joined[group[0]]


@SETTINGS
@given(st.lists(st.integers(1, 60), max_size=30))
def test_chunks_are_made_of_whole_groups(sizes: list[int]) -> None:
    """A chunk ends when it has enough, and is larger than the limit only if one group is."""
    before = background.CHUNK_ITEMS, background.CHUNK_LIMIT
    background.CHUNK_ITEMS, background.CHUNK_LIMIT = 20, 50  # type: ignore[misc]
    try:
        groups = [[i] * size for i, size in enumerate(sizes)]
        chunks = background.filled(groups)
    finally:
        background.CHUNK_ITEMS, background.CHUNK_LIMIT = before  # type: ignore[misc]
    assert [n for chunk in chunks for n in chunk] == [n for group in groups for n in group]
    for chunk in chunks:
        assert len(chunk) <= 50 or len(set(chunk)) == 1
    for chunk, following in pairwise(chunks):
        assert not set(chunk) & set(following)
        assert len(chunk) >= 20 or len(chunk) + following.count(following[0]) > 50


def fill(clinic: Clinic) -> None:
    """Eight persons with a ceiling and a deductible over several claims each."""
    terms = {
        "insurance_months": 12, "items": TERMS["items"],
        "ceiling": {"level": "person", "general": "450"}, "deductible": {"level": "person", "general": "35"},
    }  # fmt: skip
    clinic.package("CAPPED", terms)
    for person in range(8):
        clinic.person(f"M{person}")
        clinic.insure(f"M{person}", "CAPPED")
    for person in range(8):
        for visit in range(4):
            day = f"2021-0{1 + (visit * 3 + person) % 5}-1{person}"
            clinic.submit(f"C{person}-{visit}", ("DRUG", 1 + visit, "100"), "LAB", number=f"M{person}", **{"from": day})


def shown(clinic: Clinic) -> list[Any]:
    found = [clinic.show(f"C{person}-{visit}") for person in range(8) for visit in range(4)]
    return [{k: v for k, v in claim.items() if not k.endswith("id")} for claim in found]


def test_the_background_pays_what_processing_at_once_pays(
    make_app: Callable[..., TestApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In many chunks or in one statement: each line, the ledger and the counters are the same."""
    monkeypatch.setattr(background, "CHUNK_ITEMS", 5)
    monkeypatch.setattr(background, "CHUNK_LIMIT", 8)
    at_once, behind = Clinic(make_app()), Clinic(make_app())
    for clinic in (at_once, behind):
        fill(clinic)
    assert at_once.process()["valuated"] == 32
    job = behind.app.do("claims.process_in_background", {"scheme": "chf"})["job"]
    behind.app.queue.run_due()
    done = behind.app.do("jobs.show", {"job": job})
    assert (done["status"], done["items_done"], done["chunks"]) == ("succeeded", 32, 4)
    assert done["result"] == {"processed": 32, "valuated": 32, "rejected": 0}
    assert shown(behind) == shown(at_once)
    balances = [clinic.app.do("ledger.balances", {"scheme": "chf"}) for clinic in (at_once, behind)]
    assert balances[0] == balances[1]
    assert behind.app.do("claims.process", {"scheme": "chf"})["processed"] == 0


def test_a_policy_beyond_the_limit_is_worked_on_in_order(
    make_app: Callable[..., TestApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chunks wait for each other, so the ceiling goes to the earlier claims as always."""
    monkeypatch.setattr(background, "CHUNK_ITEMS", 2)
    monkeypatch.setattr(background, "CHUNK_LIMIT", 2)
    clinic = Clinic(make_app())
    fill(clinic)
    job = clinic.app.do("claims.process_in_background", {"scheme": "chf"})["job"]
    clinic.app.queue.run_due()
    assert clinic.app.do("jobs.show", {"job": job})["chunks"] == 16
    for person in range(8):
        claims = sorted((clinic.show(f"C{person}-{v}") for v in range(4)), key=lambda c: (c["from"], c["code"]))
        assert sum(Decimal(c["payable"]) for c in claims) == 450
        assert float(claims[0]["payable"]) > 0
        assert [c["payable"] for c in claims][-1] == "0.00"


def test_what_was_processed_meanwhile_is_left_alone(clinic: Clinic) -> None:
    """Between the cut and the work somebody else processes: nothing is valuated twice."""
    clinic.submit("C1", "LAB")
    job = clinic.app.do("claims.process_in_background", {"scheme": "chf"})["job"]
    clinic.process()
    before = clinic.show("C1")
    clinic.app.queue.run_due()
    assert clinic.app.do("jobs.show", {"job": job})["status"] == "succeeded"
    assert clinic.show("C1") == before


@pytest.mark.parametrize("scheme", ["nowhere", ""])
def test_an_unknown_scheme_is_refused_at_once(clinic: Clinic, scheme: str) -> None:
    """`input.invalid` at `scheme`, as of `claims.process`."""
    with pytest.raises(ImisError) as caught:
        clinic.app.do("claims.process_in_background", {"scheme": scheme})
    assert caught.value.code == "input.invalid"
