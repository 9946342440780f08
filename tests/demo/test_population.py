"""The demonstration's invented people: repeatable, possible in life, and wrong only where and as often as it says."""

from __future__ import annotations

import csv
import tempfile
import time
from collections import Counter
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imis_core.demo.population import BEFORE_COVER_DAYS, MISTAKE_KINDS, Summary, generate
from imis_core.errors import ImisError

DATA = Path(__file__).parents[2] / "templates" / "deployment" / "presets" / "chad-borsa" / "data"
YEAR = 2025
Row = dict[str, str]


def rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def make(folder: Path, *, households: int = 60, seed: int = 1, **changes: object) -> Summary:
    arguments: dict[str, object] = {
        "places": DATA / "locations.csv",
        "facilities": DATA / "facilities.csv",
        "items": DATA / "items.csv",
        "diagnoses": DATA / "diagnoses.csv",
        "price_lists": DATA / "price_lists.csv",
        "year": YEAR,
    }
    return generate(folder, households=households, seed=seed, **(arguments | changes))  # type: ignore[arg-type]


def full_years(born: date, on: date) -> int:
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


ITEMS = {row["code"]: row for row in rows(DATA / "items.csv")}
PLACES = {row["code"]: row["parent"] for row in rows(DATA / "locations.csv")}
FACILITIES = {row["code"]: row for row in rows(DATA / "facilities.csv")}
DIAGNOSES = {row["code"] for row in rows(DATA / "diagnoses.csv")}
PRICES: dict[str, dict[str, int]] = {}
for price in rows(DATA / "price_lists.csv"):
    PRICES.setdefault(price["code"], {})[price["item"]] = int(price["price"])


def list_price(facility: str, item: str) -> int | None:
    for code in FACILITIES[facility]["price_lists"].split("|"):
        if item in PRICES[code]:
            return PRICES[code][item]
    return None


def fits(item: Row, sex: str, adult: bool) -> bool:
    return item["sexes"] in ("", sex) and item["ages"] in ("", "adult" if adult else "child")


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """The same seed gives the same bytes, another seed other people."""
    summaries = [make(tmp_path / name, seed=seed) for name, seed in (("a", 4), ("b", 4), ("c", 5))]
    for name in ("households.csv", "claims.csv", "claim_lines.csv"):
        a, b, c = ((tmp_path / folder / name).read_bytes() for folder in "abc")
        assert a == b
        assert a != c
        assert b"\r" not in a
    assert summaries[0] == summaries[1]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), households=st.integers(1, 80))
def test_households_are_possible(seed: int, households: int) -> None:
    """One head a household, children younger than their parents by 15 years or more, everybody in a village."""
    with tempfile.TemporaryDirectory() as folder:
        summary = make(Path(folder), seed=seed, households=households)
        people = rows(Path(folder) / "households.csv")
    assert len(people) == summary.persons
    assert len({person["number"] for person in people}) == len(people)
    by_household = {code: list(group) for code, group in groupby(people, key=lambda person: person["household"])}
    assert len(by_household) == summary.households == households
    villages = PLACES.keys() - set(PLACES.values())
    for members in by_household.values():
        assert [m["relationship"] for m in members].count("head") == 1
        assert len({m["location"] for m in members}) == 1
        assert members[0]["location"] in villages
        born = {m["number"]: date.fromisoformat(m["birth_date"]) for m in members}
        assert all(date(YEAR - 106, 1, 1) < day < date(YEAR, 1, 1) for day in born.values())
        head = next(m for m in members if m["relationship"] == "head")
        spouses = [m for m in members if m["relationship"] == "spouse"]
        assert full_years(born[head["number"]], date(YEAR, 1, 1)) >= 18
        assert all(full_years(born[m["number"]], date(YEAR, 1, 1)) >= 15 and m["sex"] == "F" for m in spouses)
        mothers = [born[m["number"]] for m in spouses] or [born[head["number"]]]
        for member in members:
            own = born[member["number"]]
            if member["relationship"] == "child":
                assert full_years(born[head["number"]], own) >= 15
                assert any(full_years(mother, own) >= 15 for mother in mothers)
            elif member["relationship"] == "parent":
                assert full_years(own, born[head["number"]]) >= 15
            elif member["relationship"] == "grandparent":
                assert full_years(own, born[head["number"]]) >= 30


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), mistake_share=st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_every_mistake_is_planted_and_counted(seed: int, mistake_share: float) -> None:
    """References, dates, patients and codes are right but for the planted mistakes, one a claim, which are counted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        summary = make(folder, seed=seed, mistake_share=mistake_share)
        people = {person["number"]: person for person in rows(folder / "households.csv")}
        claims = rows(folder / "claims.csv")
        lines = rows(folder / "claim_lines.csv")
    assert (len(claims), len(lines)) == (summary.claims, summary.lines)
    assert len({(line["claim_id"], line["line"]) for line in lines}) == len(lines)
    lines_of: dict[str, list[Row]] = {}
    for line in lines:
        lines_of.setdefault(line["claim_id"], []).append(line)
    found: Counter[str] = Counter()
    above = referrals = 0
    seen: set[str] = set()
    for claim in claims:
        mistakes = []
        if claim["claim_id"] in seen:
            found["duplicate_claim_ids"] += 1
            continue
        seen.add(claim["claim_id"])
        mistakes += ["duplicate"] * (sum(c["claim_id"] == claim["claim_id"] for c in claims) - 1)
        person = people[claim["number"]]
        facility = FACILITIES[claim["facility"]]
        first, last = date.fromisoformat(claim["from"]), date.fromisoformat(claim["to"])
        assert date.fromisoformat(person["birth_date"]) <= first <= last <= date(YEAR, 12, 31)
        if first < date(YEAR, 1, 1):
            mistakes.append("before_cover")
            assert date(YEAR, 1, 1) - timedelta(BEFORE_COVER_DAYS) <= first
            assert last < date(YEAR, 1, 1)
        if not claim["diagnosis"]:
            mistakes.append("missing_diagnoses")
        else:
            assert claim["diagnosis"] in DIAGNOSES
        assert (claim["visit_type"] == "referral") == (first < last) == (facility["level"] == "hospital")
        referrals += first < last
        adult = full_years(date.fromisoformat(person["birth_date"]), last) >= 18
        own = lines_of[claim["claim_id"]]
        assert [int(line["line"]) for line in own] == list(range(1, len(own) + 1))
        for line in own:
            item = ITEMS.get(line["item"])
            if item is None:
                mistakes.append("unknown_items")
                continue
            listed = list_price(facility["code"], item["code"])
            assert listed is not None
            assert listed <= int(line["price"]) <= listed * 1.3
            above += int(line["price"]) > listed
            assert 1 <= int(line["quantity"]) <= int(item["max_quantity"])
            if not fits(item, person["sex"], adult):
                mistakes.append("patient_category")
        assert len(mistakes) <= 1
        found.update(mistake for mistake in mistakes if mistake != "duplicate")
    assert lines_of.keys() == seen
    assert {kind: found[kind] for kind in MISTAKE_KINDS} == {
        kind: getattr(summary.mistakes, kind) for kind in MISTAKE_KINDS
    }
    assert sum(found.values()) == summary.mistakes.total
    assert mistake_share or not found.total()
    assert mistake_share < 0.5 or found.keys() == set(MISTAKE_KINDS)
    assert referrals == summary.referrals
    # A line whose item is unknown has no list price to compare with.
    assert above <= summary.prices_above_list <= above + found["unknown_items"]


def test_the_year_and_the_people_are_plausible(tmp_path: Path) -> None:
    """Seven to a household, half below 15, 0.9 visits a year, 8 % referred, malaria in the rains, colds in winter."""
    summary = make(tmp_path, households=1323, seed=11)
    people, claims = rows(tmp_path / "households.csv"), rows(tmp_path / "claims.csv")
    assert 6.7 < summary.persons / summary.households < 7.8
    young = sum(person["birth_date"] > f"{YEAR - 15}-01-01" for person in people)
    assert 0.44 < young / len(people) < 0.54
    assert 0.82 < summary.claims / summary.persons < 0.98
    assert 0.065 < summary.referrals / summary.claims < 0.095
    assert summary.deliveries > 50
    months = {
        start: Counter(int(c["from"][5:7]) for c in claims if c["diagnosis"].startswith(start)) for start in ("B5", "J")
    }
    assert sum(months["B5"][m] for m in (7, 8, 9, 10)) > 0.55 * months["B5"].total()
    assert sum(months["J"][m] for m in (11, 12, 1, 2)) > 0.45 * months["J"].total()
    sizes = sorted(Counter(person["location"] for person in people).values())
    assert len(sizes) == 65
    assert sizes[-1] > 4 * sizes[len(sizes) // 2]
    home = {person["number"]: PLACES[person["location"]] for person in people}
    centres = [claim for claim in claims if FACILITIES[claim["facility"]]["level"] == "health_centre"]
    own = sum(FACILITIES[claim["facility"]]["location"] == home[claim["number"]] for claim in centres)
    assert own > 0.85 * len(centres)


def test_deliveries_are_of_women_of_that_age(tmp_path: Path) -> None:
    """Who is delivered is a woman from 15 to 46, and nobody is twice in 240 days."""
    make(tmp_path, households=600, seed=3, mistake_share=0.0)
    people = {person["number"]: person for person in rows(tmp_path / "households.csv")}
    deliveries = [c for c in rows(tmp_path / "claims.csv") if c["diagnosis"].startswith("O")]
    assert deliveries
    assert len({claim["number"] for claim in deliveries}) == len(deliveries)
    for claim in deliveries:
        mother = people[claim["number"]]
        assert mother["sex"] == "F"
        assert 15 <= full_years(date.fromisoformat(mother["birth_date"]), date.fromisoformat(claim["from"])) <= 47


def test_cover_and_end_bound_the_claims(tmp_path: Path) -> None:
    """Claims lie between the first day of cover and the last day asked for."""
    make(tmp_path, cover_starts=date(YEAR, 3, 1), until=date(YEAR, 6, 30), mistake_share=0.0)
    claims = rows(tmp_path / "claims.csv")
    assert claims
    assert all("2025-03-01" <= claim["from"] <= claim["to"] <= "2025-06-30" for claim in claims)


def test_prices_keep_the_currency_s_decimals(tmp_path: Path) -> None:
    """Without price lists every facility asks the catalogue's prices, written with the catalogue's decimals."""
    items = write(
        tmp_path / "items.csv",
        "code,name,kind,category,care_type,price\nC1,Visit,service,consultation,both,4.50\nM1,Tablets,product,,both,12\n",
    )
    make(tmp_path / "out", items=items, price_lists=None, mistake_share=0.0)
    lines = rows(tmp_path / "out" / "claim_lines.csv")
    assert {"4.50", "12.00"} <= {line["price"] for line in lines}
    assert all(len(line["price"].split(".")[1]) == 2 for line in lines)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("places", "code,name\nA,A\n", "no column parent"),
        ("places", "code,parent\nA,B\nB,A\n", "holds no rows"),
        ("places", "code,parent\nA,X\n", "lies in 'X'"),
        ("items", "code,name,kind,category,care_type,price\nA,A,product,,both,4e\n", "line 2: '4e' is no price"),
        ("items", "code,name,kind,category,care_type,price\nA,A,product,,both,-4\n", "line 2: '-4' is no price"),
        ("price_lists", "code,valid_from,item,price\nCS-ACTES,2024-01-01,NIX,5\n", "line 2: no item 'NIX'"),
        ("facilities", "code,level,care_type,location\nF,dispensary,both,NIX\n", "line 2: no place 'NIX'"),
        ("diagnoses", "code,name\n", "holds no rows"),
    ],
)
def test_wrong_reference_data_is_named(tmp_path: Path, file: str, text: str, says: str) -> None:
    """Reference data that cannot be used is refused with file and line, before anything is written."""
    path = write(tmp_path / f"{file}.csv", text)
    facilities = write(tmp_path / "none.csv", "code,level,care_type,location\n") if file == "places" else None
    with pytest.raises(ImisError) as error:
        make(tmp_path / "out", **({"facilities": facilities} if facilities else {}), **{file: path})
    assert error.value.code == "demo.reference_data"
    assert says in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"households": 0}, {"year": 1}, {"mistake_share": 1.5}, {"until": date(YEAR + 1, 1, 1)}],
)
def test_wrong_arguments_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    """Impossible arguments are refused before anything is written."""
    with pytest.raises(ImisError, match=r"demo\.arguments"):
        make(tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_two_thousand_households_are_quick(tmp_path: Path) -> None:
    """2,000 households take less than two seconds of processor time."""
    before = time.process_time()
    make(tmp_path, households=2000)
    assert time.process_time() - before < 2
