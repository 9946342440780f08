"""How alike two persons are: a score below 100 from names, date of birth, sex and place. Pure; asks no database.

An equal identifier is no matter of likeness and is found elsewhere (score 100). The weights are the framework's own;
names that are not alike make no pair, whatever else agrees: siblings and twins share all the rest.
"""

from __future__ import annotations

import unicodedata
from datetime import date
from decimal import Decimal
from typing import Final

from attrs import frozen
from rapidfuzz.distance import JaroWinkler, Levenshtein
from rapidfuzz.fuzz import ratio

HIGHEST: Final = Decimal("99.00")  # 100 is kept for an equal identifier
THRESHOLD: Final = Decimal("80.00")  # what is less alike is no pair
NAME_MINIMUM: Final = 0.85  # how alike the less similar of the two names must be
_NAMES, _BIRTH, _SEX, _PLACE = 60, 25, 10, 5  # weights, in points
_MIXED_UP: Final = 0.8  # one digit wrong, or day and month exchanged
_GENERATION: Final = 10  # years
_SAME_YEAR: Final = 0.4
_NEXT_YEAR: Final = 0.2
_UNKNOWN_PLACE: Final = 0.5


@frozen
class Likeness:
    """`score` 0.00 to 99.00; `reasons` name what agrees: `name`, `birth_date`, `sex`, `location`."""

    score: Decimal
    reasons: tuple[str, ...]

    @property
    def suspicious(self) -> bool:
        return self.score >= THRESHOLD


@frozen
class Features:
    """What is compared of a person; `given` and `family` are normalised (`normalised`), "" where there is none."""

    given: str
    family: str
    birth_date: date
    sex: str
    place: int | None


def normalised(name: str | None) -> str:
    """A name without accents, case, punctuation and double blanks: `O'Neill-José` is `o neill jose`."""
    # Twice, because taking letters apart can bring capitals to light (a circled A).
    plain = unicodedata.normalize("NFKD", (name or "").casefold())
    plain = unicodedata.normalize("NFKD", plain.casefold())
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return " ".join(letters.split())


def likeness(one: Features, other: Features) -> Likeness:
    """How alike two persons are; the order does not matter."""
    names = _names(one, other)
    if names < NAME_MINIMUM:
        return Likeness(Decimal("0.00"), ())
    birth = _birth(one.birth_date, other.birth_date)
    sex = 1.0 if one.sex == other.sex else 0.0
    place = _UNKNOWN_PLACE if one.place is None or other.place is None else float(one.place == other.place)
    points = _NAMES * names + _BIRTH * birth + _SEX * sex + _PLACE * place
    agreeing = (
        ("name", True), ("birth_date", birth >= _MIXED_UP), ("sex", sex == 1.0), ("location", place == 1.0),
    )  # fmt: skip
    score = min(Decimal(round(points * 100)) / 100, HIGHEST)
    return Likeness(score.quantize(Decimal("0.01")), tuple(name for name, agrees in agreeing if agrees))


def _names(one: Features, other: Features) -> float:
    """0..1: the less similar of given and family name, or of the two exchanged; 0 where a name is missing."""
    if not (one.given + one.family) or not (other.given + other.family):
        return 0.0
    straight = min(_alike(one.given, other.given), _alike(one.family, other.family))
    exchanged = min(_alike(one.given, other.family), _alike(one.family, other.given))
    return max(straight, exchanged)


def _alike(one: str, other: str) -> float:
    """0..1 for two names: the better of a measure that favours common beginnings and one of common letters."""
    if one == other:
        return 1.0
    if not one or not other:
        return 0.0
    first, second = sorted((one, other))  # the measures are not quite symmetrical
    return max(JaroWinkler.similarity(first, second), ratio(first, second) / 100)


def _birth(one: date, other: date) -> float:
    if one == other:
        return 1.0
    if (one.year, one.month, one.day) == (other.year, other.day, other.month):
        return _MIXED_UP
    # A generation apart they are rather parent and child: another digit of the decade is no mere slip.
    slip = Levenshtein.distance(one.isoformat(), other.isoformat(), score_cutoff=1) == 1
    if slip and abs(one.year - other.year) < _GENERATION:
        return _MIXED_UP
    if one.year == other.year:
        return _SAME_YEAR
    return _NEXT_YEAR if abs(one.year - other.year) == 1 else 0.0
