"""Rules of likeness: what makes two persons alike, whatever the order, the case and the accents."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from imis_core.registry.matching import HIGHEST, Features, likeness, normalised

names = st.text(alphabet="abcdefgh", max_size=8)
people = st.builds(
    Features,
    given=names,
    family=names,
    birth_date=st.dates(date(1950, 1, 1), date(1955, 12, 31)),
    sex=st.sampled_from("FM"),
    place=st.none() | st.integers(1, 2),
)


def features(given_name: str, family_name: str, born: str = "1980-01-01", sex: str = "F") -> Features:
    return Features(normalised(given_name), normalised(family_name), date.fromisoformat(born), sex, None)


@given(people, people)
def test_likeness_has_no_direction_and_stays_below_100(one: Features, other: Features) -> None:
    """The order does not matter; a score lies from 0 to 99, because 100 is an equal identifier."""
    alike = likeness(one, other)
    assert alike == likeness(other, one)
    assert Decimal(0) <= alike.score <= HIGHEST


@given(people, people)
def test_nobody_is_more_alike_than_oneself(one: Features, other: Features) -> None:
    """A person with a name is at least as much like himself or herself as like anybody else."""
    if one.given or one.family:
        assert likeness(one, one).score >= likeness(one, other).score


@given(people, st.integers(1, 2000))
def test_another_day_of_birth_lowers_the_score(one: Features, days: int) -> None:
    """With all else equal, another date of birth is never more alike than the same one."""
    later = evolve(one, birth_date=one.birth_date + timedelta(days=days))
    assert likeness(one, later).score <= likeness(one, one).score


@given(st.text(max_size=20))
def test_a_normalised_name_is_normal(name: str) -> None:
    """Normalising twice changes nothing."""
    assert normalised(normalised(name)) == normalised(name)


@pytest.mark.parametrize(
    ("one", "other", "suspicious"),
    [
        (features("Awa", "Touray"), features("AWA", "Tourray"), True),
        (features("José", "O'Neill"), features("Jose", "O Neill"), True),
        (features("Awa", "Touray"), features("Touray", "Awa"), True),
        (features("Awa", "Touray", "1980-02-01"), features("Awa", "Touray", "1980-01-02"), True),
        (features("Hassan", "Bah"), features("Hussein", "Bah"), False),  # twins
        (features("Awa", "Touray", "1981-01-01"), features("Awa", "Touray", "1980-01-01"), True),
        (features("Awa", "Touray", "1950-01-01"), features("Awa", "Touray", "1980-01-01"), False),  # a generation
        (features("Awa", "Touray"), features("Awa", "Touray", "1991-06-09"), False),  # a frequent name
        (features("Awa", "Touray"), features("Awa", "Jallow"), False),
        (features("", ""), features("", ""), False),
    ],
)
def test_what_is_suspicious(one: Features, other: Features, suspicious: bool) -> None:
    """Misspelt, exchanged and accented names are suspicious with an equal date of birth; siblings are not."""
    assert likeness(one, other).suspicious is suspicious
