"""Plausible, invented households and claims for a deployment, written as the CSV files that `imis import` reads.

It knows how people live and fall ill in a village of southern Chad, roughly; it loads nothing into a database, decides
nothing about a claim, and is no source for statistics. The shares and ages below are ours unless a source is named.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any, Final

from attrs import define, field, frozen

from imis_core.demo.names import FAMILY_NAMES, GIVEN_NAMES_MEN, GIVEN_NAMES_WOMEN
from imis_core.errors import refused
from imis_core.values import full_years

HOUSEHOLD_COLUMNS: Final = (
    "household", "number", "given_name", "family_name", "sex", "birth_date", "relationship", "location", "phone",
)  # fmt: skip
CLAIM_COLUMNS: Final = ("claim_id", "number", "facility", "from", "to", "diagnosis", "visit_type")
CLAIM_LINE_COLUMNS: Final = ("claim_id", "line", "item", "quantity", "price")

DAYS_A_YEAR: Final = 365.2425
VISITS_PER_PERSON: Final = 0.9  # a person and year
PREGNANCY_VISITS_PER_PERSON: Final = 0.095  # the part of them that pregnancies bring, measured on the generated people
ABOVE_LIST_SHARE: Final = 0.06  # lines that ask more than the list price
OTHER_CENTRE_SHARE: Final = 0.08  # visits at another health centre than the own section's
EMERGENCY_SHARE: Final = 0.03
REFERRAL_SHARE: Final = 0.083  # illnesses sent on to the hospital; with deliveries and operations about 8 % of visits
MISTAKE_SHARE: Final = 0.02  # claims with one planted mistake, the five kinds alike
BEFORE_COVER_DAYS: Final = 60  # a claim before cover lies at most so many days before it

# How often people of an age fall ill, relative to everybody's mean of 1: below 5, 5 to 14, women 15 to 45, other adults
# below 50, the rest.
AGE_GROUPS: Final = 5
ILLNESS_RATE: Final = (1.8, 0.67, 1.0, 0.8, 1.3)

MISTAKE_KINDS: Final = (
    "duplicate_claim_ids", "before_cover", "unknown_items", "patient_category", "missing_diagnoses",
)  # fmt: skip


@frozen
class Mistakes:
    """How many claims carry each kind of planted mistake; a claim carries at most one."""

    duplicate_claim_ids: int = 0
    before_cover: int = 0
    unknown_items: int = 0
    patient_category: int = 0
    missing_diagnoses: int = 0

    @property
    def total(self) -> int:
        """All claims with a planted mistake."""
        return (
            self.duplicate_claim_ids
            + self.before_cover
            + self.unknown_items
            + self.patient_category
            + self.missing_diagnoses
        )


@frozen
class Summary:
    """What was written: rows of each file, and what is peculiar among them.

    `claims` counts the rows of `claims.csv`, a duplicate among them; `referrals` the stays at a hospital;
    `prices_above_list` the lines that ask more than the facility's list price.
    """

    households: int
    persons: int
    claims: int
    lines: int
    referrals: int
    deliveries: int
    prices_above_list: int
    mistakes: Mistakes


@frozen
class Treatment:
    """Items that an illness usually brings: found by words of their names, with a chance and a number of tablets."""

    words: tuple[str, ...]
    chance: float
    tablets: tuple[int, int] = (1, 1)
    hospital_only: bool = False


@frozen
class Illness:
    """Why people come: its diagnoses (ICD-10 beginnings), its weight in each age group and its weight in each month."""

    name: str
    diagnoses: tuple[str, ...]
    weights: tuple[float, ...]
    months: tuple[float, ...]
    treatments: tuple[Treatment, ...]
    always_referred: bool = False
    nights: tuple[int, int] = (2, 5)


_EVEN: Final = (1.0,) * 12
_RAINS: Final = (4.0, 3.0, 2.0, 2.0, 3.0, 6.0, 13.0, 17.0, 18.0, 16.0, 9.0, 5.0)  # malaria: July to October
_COOL_DRY: Final = (16.0, 13.0, 9.0, 5.0, 4.0, 4.0, 4.0, 4.0, 5.0, 7.0, 13.0, 16.0)  # November to February
_HOT_AND_WET: Final = (5.0, 5.0, 7.0, 9.0, 10.0, 12.0, 13.0, 12.0, 9.0, 7.0, 6.0, 5.0)
_LEAN: Final = (5.0, 5.0, 6.0, 8.0, 10.0, 13.0, 14.0, 13.0, 10.0, 6.0, 5.0, 5.0)  # before the harvest
_HOT_DRY: Final = (10.0, 16.0, 20.0, 17.0, 9.0, 4.0, 3.0, 3.0, 3.0, 3.0, 5.0, 7.0)

_FEVER: Final = Treatment(("paracétamol", "paracetamol"), 0.75, (6, 18))
_INFUSION: Final = Treatment(("ringer", "glucosé", "glucose"), 0.6, hospital_only=True)
_BLOOD_COUNT: Final = Treatment(("formule sanguine", "blood count"), 0.6, hospital_only=True)
_ANTIBIOTIC: Final = Treatment(("amoxicilline", "amoxicillin"), 0.7, (12, 21))
_STRONG_ANTIBIOTIC: Final = Treatment(("ceftriaxone",), 0.7, hospital_only=True)
_DRESSING: Final = Treatment(("pansement", "dressing"), 0.8)

ILLNESSES: Final = (
    Illness(
        "malaria", ("B50", "B54"), (40, 45, 25, 28, 20), _RAINS,
        (
            Treatment(("rapide du paludisme", "malaria rapid"), 0.85),
            Treatment(("goutte épaisse", "blood smear"), 0.15),
            Treatment(("artéméther", "artemether"), 0.92),
            Treatment(("artésunate", "artesunate"), 0.9, hospital_only=True),
            _FEVER, _INFUSION, _BLOOD_COUNT,
        ),
    ),
    Illness(
        "respiratory infection", ("J00", "J02", "J03", "J06", "J1", "J20"), (24, 18, 10, 14, 16), _COOL_DRY,
        (_ANTIBIOTIC, Treatment(("cotrimoxazole",), 0.15, (10, 20)), _FEVER, _INFUSION, _STRONG_ANTIBIOTIC,
         Treatment(("radiographie", "x-ray"), 0.4, hospital_only=True)),
    ),
    Illness(
        "diarrhoea", ("A00", "A03", "A06", "A09", "E86"), (21, 7, 4, 5, 5), _HOT_AND_WET,
        (Treatment(("réhydratation", "rehydration"), 0.9), Treatment(("zinc",), 0.8, (10, 14)),
         Treatment(("métronidazole", "metronidazole"), 0.4, (14, 21)), Treatment(("selles", "stool"), 0.3), _INFUSION),
    ),
    Illness(
        "skin disease", ("B35", "B86", "L"), (6, 8, 3, 5, 4), _EVEN,
        (Treatment(("benzoate", "benzyl"), 0.6), Treatment(("abcès", "abscess"), 0.15), _DRESSING),
    ),
    Illness(
        "eye and ear disease", ("H10", "H66", "A71"), (6, 6, 2, 3, 5), _HOT_DRY,
        (Treatment(("ophtalmique", "eye ointment"), 0.7), _ANTIBIOTIC),
    ),
    Illness(
        "worms", ("B76", "B82", "B65"), (4, 7, 2, 3, 2), _EVEN,
        (Treatment(("albendazole",), 0.9), Treatment(("selles", "stool"), 0.5)),
    ),
    Illness(
        "malnutrition", ("E43", "E44"), (4, 0.5, 0, 0, 0), _LEAN,
        (_ANTIBIOTIC, Treatment(("albendazole",), 0.5), Treatment(("glucosé", "glucose"), 0.5, hospital_only=True)),
        nights=(5, 9),
    ),
    Illness(
        "anaemia", ("D50", "D64"), (3, 2, 3, 1, 2), _LEAN,
        (Treatment(("hémoglobine", "haemoglobin", "hemoglobin"), 0.7),
         Treatment(("acide folique", "folic"), 0.7, (30, 60)), Treatment(("transfusion",), 0.4, hospital_only=True)),
    ),
    Illness(
        "urinary and pelvic infection", ("N39", "N73", "A54"), (0, 1, 7, 4, 5), _EVEN,
        (Treatment(("bandelette", "urine"), 0.8), Treatment(("ciprofloxacine", "ciprofloxacin"), 0.7, (10, 14))),
    ),
    Illness(
        "pain", ("M", "R51", "R50"), (2, 3, 8, 14, 18), _EVEN,
        (Treatment(("ibuprofène", "ibuprofen"), 0.7, (10, 20)), _FEVER),
    ),
    Illness(
        "high blood pressure and diabetes", ("I10", "E11", "I50"), (0, 0, 2, 4, 17), _EVEN,
        (Treatment(("glycémie", "glucose test"), 0.4), Treatment(("amlodipine",), 0.7, (30, 60)),
         Treatment(("metformine", "metformin"), 0.3, (30, 60))),
    ),
    Illness(
        "injury", ("S", "T"), (2, 5, 3, 9, 5), _EVEN,
        (Treatment(("suture",), 0.4), _DRESSING, Treatment(("compresses", "gauze"), 0.6), _FEVER,
         Treatment(("plâtre", "plaster"), 0.4, hospital_only=True),
         Treatment(("radiographie", "x-ray"), 0.6, hospital_only=True)),
    ),
    Illness(
        "tooth disease", ("K02", "K04"), (0, 3, 2, 4, 3), _EVEN,
        (Treatment(("extraction",), 0.6), _ANTIBIOTIC, Treatment(("ibuprofène", "ibuprofen"), 0.6, (6, 12))),
    ),
    Illness(
        "gastritis", ("K29",), (0, 1, 4, 6, 6), _EVEN,
        (Treatment(("oméprazole", "omeprazole"), 0.9, (14, 28)),),
    ),
    Illness(
        "typhoid fever", ("A01",), (1, 4, 3, 4, 3), _HOT_AND_WET,
        (Treatment(("widal",), 0.7, hospital_only=True),
         Treatment(("ciprofloxacine", "ciprofloxacin"), 0.8, (14, 20)), _FEVER),
    ),
    Illness(
        "measles and meningitis", ("B05", "A39", "G03"), (2.5, 1.5, 0.3, 0.3, 0.1), _HOT_DRY,
        (_ANTIBIOTIC, _FEVER, _STRONG_ANTIBIOTIC, _INFUSION),
        nights=(4, 8),
    ),
    Illness(
        "hernia", ("K40",), (0.2, 0.2, 0.1, 0.8, 1.0), _EVEN,
        (Treatment(("hernie", "hernia"), 1.0, hospital_only=True), _STRONG_ANTIBIOTIC,
         Treatment(("compresses", "gauze"), 0.8)),
        always_referred=True, nights=(3, 5),
    ),
    Illness(
        "appendicitis", ("K35",), (0, 0.3, 0.4, 0.5, 0.2), _EVEN,
        (Treatment(("appendicectomie", "appendectomy"), 1.0, hospital_only=True), _STRONG_ANTIBIOTIC, _INFUSION,
         Treatment(("compresses", "gauze"), 0.8)),
        always_referred=True, nights=(4, 7),
    ),
)  # fmt: skip

# Reasons that follow from a pregnancy, not from the age groups' weights.
ANTENATAL: Final = Illness(
    "antenatal care", ("Z34",), (0,) * AGE_GROUPS, _EVEN,
    (Treatment(("acide folique", "folic"), 0.9, (30, 60)), Treatment(("préventif", "preventive"), 0.6, (3, 3)),
     Treatment(("hémoglobine", "haemoglobin", "hemoglobin"), 0.3)),
)  # fmt: skip
DELIVERY: Final = Illness(
    "delivery", ("O80",), (0,) * AGE_GROUPS, _EVEN,
    (Treatment(("oxytocine", "oxytocin"), 0.7), Treatment(("gants", "gloves"), 0.6)),
)  # fmt: skip
HARD_DELIVERY: Final = Illness(
    "hard delivery", ("O82", "O72", "O14"), (0,) * AGE_GROUPS, _EVEN,
    (Treatment(("césarienne", "caesarean", "cesarean"), 0.5, hospital_only=True),
     Treatment(("oxytocine", "oxytocin"), 0.7), _STRONG_ANTIBIOTIC, _INFUSION),
    nights=(3, 6),
)  # fmt: skip
POSTNATAL: Final = Illness("postnatal care", ("Z39",), (0,) * AGE_GROUPS, _EVEN, ())

PREGNANT_SHARE: Final = 0.17  # of women from 15 to 45 in a year, seen by a facility at all
HARD_DELIVERY_SHARE: Final = 0.12


@frozen
class Item:
    """A catalogue item as far as a claim needs it. `sexes` and `ages` empty = for everybody; price in minor units."""

    code: str
    name: str
    kind: str
    category: str
    care_type: str
    price: int
    sexes: frozenset[str]
    ages: frozenset[str]
    max_quantity: int

    def fits(self, sex: str, adult: bool) -> bool:
        """Whether the item is meant for such a patient (health_insurance.md 4, code 4)."""
        return (not self.sexes or sex in self.sexes) and (not self.ages or ("adult" if adult else "child") in self.ages)


@frozen
class Facility:
    """Where claims come from: its level of care and the prices of its lists."""

    code: str
    hospital: bool
    prices: Mapping[str, int]
    basket: str  # facilities with the same lists and level share their baskets


@frozen
class Reference:
    """The deployment's reference data, indexed for drawing."""

    items: Mapping[str, Item]
    villages: tuple[str, ...]
    centres_of: Mapping[str, tuple[Facility, ...]]  # village -> the nearest first
    hospital_of: Mapping[str, Facility | None]
    diagnoses: Mapping[str, tuple[str, ...]]  # illness name -> its codes
    decimals: int


@frozen
class Member:
    """One generated person; `born` is the proleptic Gregorian ordinal of the birth date."""

    number: str
    sex: str
    born: int
    relationship: str


# One line that a basket may hold: item, chance, least and most quantity, list price in minor units.
_Option = tuple[str, float, int, int, int]


def generate(
    folder: Path,
    *,
    households: int,
    seed: int,
    places: Path,
    facilities: Path,
    items: Path,
    diagnoses: Path,
    year: int,
    price_lists: Path | None = None,
    cover_starts: date | None = None,
    until: date | None = None,
    mistake_share: float = MISTAKE_SHARE,
    age_of_majority: int = 18,
) -> Summary:
    """Write `households.csv`, `claims.csv` and `claim_lines.csv` into `folder` and say what they hold.

    `places`, `facilities`, `items`, `diagnoses` and `price_lists` are the deployment's reference files; without price
    lists every facility asks the catalogue's prices. Everybody is born before `year`; claims lie between
    `cover_starts` (default: 1 January of `year`) and `until` (default: its 31 December), but for those planted before
    cover, which lie at most 60 days before it. `mistake_share` (0..1) of the claims carry one mistake each.
    A duplicate is a second row of a claim; its lines stand in `claim_lines.csv` once.

    The same arguments and reference files give the same bytes. `folder` is made if it is missing. Rows are written
    household by household, and nothing is kept but the reference data, so that memory does not grow with
    `households`. Claims of a household follow one another; they are not sorted by date. Raises `ImisError`
    (`demo.arguments`, `demo.reference_data`) before anything is written.
    """
    starts = cover_starts or date(year, 1, 1)
    ends = until or date(year, 12, 31)
    _check_arguments(households, year, starts, ends, mistake_share)
    reference = _read_reference(places, facilities, items, diagnoses, price_lists, starts)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "households.csv").open("w", encoding="utf-8", newline="") as people_file,
        (folder / "claims.csv").open("w", encoding="utf-8", newline="") as claims_file,
        (folder / "claim_lines.csv").open("w", encoding="utf-8", newline="") as lines_file,
    ):
        people = csv.writer(people_file, lineterminator="\n")
        claims = csv.writer(claims_file, lineterminator="\n")
        lines = csv.writer(lines_file, lineterminator="\n")
        people.writerow(HOUSEHOLD_COLUMNS)
        claims.writerow(CLAIM_COLUMNS)
        lines.writerow(CLAIM_LINE_COLUMNS)
        rng = Random(seed)  # noqa: S311 - invented people need repeatable chance, not secrecy
        visits = _Visits(
            rng=rng,
            reference=reference,
            starts=starts.toordinal(),
            ends=ends.toordinal(),
            year=year,
            mistake_share=mistake_share,
            age_of_majority=age_of_majority,
            claims=claims,
            lines=lines,
        )
        # Villages are of very different size: the second largest has two thirds of the largest one's households.
        villages = rng.sample(reference.villages, len(reference.villages))
        sizes = list(accumulate(1 / rank**0.6 for rank in range(1, len(villages) + 1)))
        persons = 0
        for index in range(1, households + 1):
            village = rng.choices(villages, cum_weights=sizes)[0]
            members, rows = _household(rng, index, village, year)
            people.writerows(rows)
            persons += len(members)
            for member in members:
                visits.of(member, village)
    return Summary(
        households=households,
        persons=persons,
        claims=visits.counts["claims"],
        lines=visits.counts["lines"],
        referrals=visits.counts["referrals"],
        deliveries=visits.counts["deliveries"],
        prices_above_list=visits.counts["prices_above_list"],
        mistakes=Mistakes(**{kind: visits.counts[kind] for kind in MISTAKE_KINDS}),
    )


def _check_arguments(households: int, year: int, starts: date, ends: date, mistake_share: float) -> None:
    if households < 1:
        raise refused("demo.arguments", f"households is {households}; ask for at least one")
    if not 1900 <= year <= 2200:
        raise refused("demo.arguments", f"year is {year}; use one from 1900 to 2200")
    if not date(year, 1, 1) <= starts <= ends <= date(year, 12, 31):
        raise refused("demo.arguments", f"cover_starts {starts} and until {ends} must lie in {year}, in this order")
    if not 0 <= mistake_share <= 1:
        raise refused("demo.arguments", f"mistake_share is {mistake_share}; use a share from 0 to 1")


# ---- households --------------------------------------------------------------------------------------------------


def _household(rng: Random, index: int, village: str, year: int) -> tuple[list[Member], list[tuple[str, ...]]]:
    """One household: its members and its rows. Ages are those on 1 January of `year`, in years."""
    new_year = date(year, 1, 1).toordinal()
    code = f"H{index:07d}"
    head_family = _one_of(rng, FAMILY_NAMES)
    members: list[Member] = []
    rows: list[tuple[str, ...]] = []
    for sex, age, relationship, own_family in _composition(rng):
        born = new_year - 1 - int(age * DAYS_A_YEAR)
        number = f"{index:07d}{len(members) + 1:02d}"
        given = _one_of(rng, GIVEN_NAMES_MEN if sex == "M" else GIVEN_NAMES_WOMEN)
        family = _one_of(rng, FAMILY_NAMES) if own_family else head_family
        has_phone = rng.random() < (0.65 if relationship == "head" else 0.15 if age >= 18 else 0.0)
        # No subscriber of Chad (+235) has a number that begins with 00: nobody is called by mistake.
        phone = f"+23500{rng.randrange(1_000_000):06d}" if has_phone else ""
        members.append(Member(number, sex, born, relationship))
        day = date.fromordinal(born).isoformat()
        rows.append((code, number, given, family, sex, day, relationship, village, phone))
    return members, rows


def _composition(rng: Random) -> Iterator[tuple[str, float, str, bool]]:
    """Sex, age, relationship and whether the family name is the person's own, head first.

    Aimed at 7.3 people a household (9,616 in 1,323, `deployments.md`) and at half of them below 15 (census of 2009).
    """
    head_is_man = rng.random() < 0.82
    head_age = rng.triangular(19, 79, 31) if head_is_man else rng.triangular(20, 80, 40)
    yield ("M" if head_is_man else "F"), head_age, "head", False
    mothers = [] if head_is_man else [head_age]
    if head_is_man:
        chance = rng.random()
        wives = 0 if chance < 0.05 else 2 if chance > 0.82 and head_age > 28 else 1
        age = head_age
        for _ in range(wives):
            age = max(16.0, age - rng.uniform(2, 11))
            mothers.append(age)
            yield "F", age, "spouse", True
    father_age = head_age if head_is_man else math.inf
    for mother_age in mothers:
        yield from _children(rng, mother_age, father_age)
    if head_age < 55 and rng.random() < 0.13:
        age = head_age + rng.uniform(17, 38)
        yield ("F" if rng.random() < 0.75 else "M"), min(age, 95.0), "parent", rng.random() < 0.5
    if head_age < 32 and rng.random() < 0.03:
        yield ("F" if rng.random() < 0.7 else "M"), head_age + rng.uniform(36, 55), "grandparent", True
    if head_age < 50 and rng.random() < 0.2:
        yield rng.choice("FM"), max(4.0, head_age + rng.uniform(-14, 6)), "sibling", False
    if rng.random() < 0.28:  # nieces, nephews, grandchildren
        for _ in range(rng.randint(1, 3)):
            yield rng.choice("FM"), rng.triangular(0, 30, 9), "other", rng.random() < 0.5


def _children(rng: Random, mother_age: float, father_age: float) -> Iterator[tuple[str, float, str, bool]]:
    """The living children of a mother who are still at home: at least 16 years younger than she, 17 than the father."""
    at_birth = rng.uniform(17, 21)
    last = rng.uniform(35, 44)
    while at_birth <= min(mother_age, last):
        age = mother_age - at_birth
        at_birth += rng.uniform(1.6, 2.9)
        sex = "M" if rng.random() < 0.507 else "F"
        if rng.random() < 0.12 or father_age - age < 17:
            continue
        if age >= 18:
            leaves_at = 27 if sex == "M" else 22
            stays = (0.75 if sex == "M" else 0.5) if age < leaves_at else 0.1
            if rng.random() >= stays:
                continue
        yield sex, age, "child", False


def _one_of(rng: Random, names: Sequence[str]) -> str:
    """A name; the first third of the list stands for about half of the people."""
    return names[int(rng.random() ** 1.6 * len(names))]


# ---- claims ------------------------------------------------------------------------------------------------------


@define
class _Visits:
    """Draws the visits of one person after another and writes them; keeps counters and the baskets seen so far."""

    rng: Random
    reference: Reference
    starts: int
    ends: int
    year: int
    mistake_share: float
    age_of_majority: int
    claims: Any  # the writers of the csv module have no public type
    lines: Any
    counts: Counter[str] = field(factory=Counter)
    _numbers: Counter[str] = field(factory=Counter)
    _baskets: dict[tuple[str, str, str, bool, bool], list[_Option]] = field(factory=dict)
    _misfits: dict[tuple[str, str, bool], list[str]] = field(factory=dict)
    _illnesses: list[tuple[list[Illness], list[float]]] = field(init=False)
    _month_weights: dict[str, list[float]] = field(init=False)
    _month_starts: list[int] = field(init=False)
    _rate: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        known = [illness for illness in ILLNESSES if self.reference.diagnoses.get(illness.name)]
        self._illnesses = [
            (known, list(accumulate(illness.weights[group] for illness in known))) for group in range(AGE_GROUPS)
        ]
        self._month_weights = {illness.name: list(accumulate(illness.months)) for illness in known}
        self._month_starts = [date(self.year, month, 1).toordinal() for month in range(1, 13)]
        self._month_starts.append(date(self.year + 1, 1, 1).toordinal())
        self._rate = VISITS_PER_PERSON - PREGNANCY_VISITS_PER_PERSON

    def of(self, member: Member, village: str) -> None:
        """Write all visits of one person in the year."""
        rng = self.rng
        age = (self._month_starts[0] - member.born) / DAYS_A_YEAR
        group = 0 if age < 5 else 1 if age < 15 else 2 if member.sex == "F" and age < 46 else 3 if age < 50 else 4
        if group == 2 and rng.random() < PREGNANT_SHARE:
            self._pregnancy(member, village)
        known, weights = self._illnesses[group]
        if not known or weights[-1] == 0:
            return
        for _ in range(_poisson(rng, self._rate * ILLNESS_RATE[group])):
            illness = rng.choices(known, cum_weights=weights)[0]
            month = rng.choices(range(12), cum_weights=self._month_weights[illness.name])[0]
            day = rng.randrange(self._month_starts[month], self._month_starts[month + 1])
            referred = illness.always_referred or rng.random() < REFERRAL_SHARE
            self._visit(member, village, illness, day, referred=referred)

    def _pregnancy(self, member: Member, village: str) -> None:
        """Up to three antenatal visits five weeks apart, mostly a delivery at a facility, rarely a postnatal visit."""
        rng = self.rng
        delivery = rng.randrange(self._month_starts[0], self._month_starts[0] + 420)
        for visit in range(rng.randint(1, 3), 0, -1):
            self._visit(member, village, ANTENATAL, delivery - 35 * visit)
        if rng.random() < 0.6:
            hard = rng.random() < HARD_DELIVERY_SHARE
            self._visit(member, village, HARD_DELIVERY if hard else DELIVERY, delivery, referred=hard)
            if rng.random() < 0.4:
                self._visit(member, village, POSTNATAL, delivery + rng.randint(14, 42))

    def _visit(self, member: Member, village: str, illness: Illness, first: int, *, referred: bool = False) -> None:
        """Write one visit as a claim, if it falls into the time asked for and the facilities can take it."""
        rng, reference = self.rng, self.reference
        codes = reference.diagnoses.get(illness.name)
        hospital = reference.hospital_of[village]
        centres = reference.centres_of[village]
        referred = referred and hospital is not None
        if not codes or (illness.always_referred and not referred):
            return
        if referred and hospital is not None:
            facility = hospital
        elif not centres:
            return
        elif len(centres) > 1 and rng.random() < OTHER_CENTRE_SHARE:
            facility = centres[1 + rng.randrange(len(centres) - 1)]
        else:
            facility = centres[0]
        last = first + (rng.randint(*illness.nights) if referred else 0)
        if first < self.starts or last > self.ends:
            return
        emergency = not referred and rng.random() < EMERGENCY_SHARE
        visit_type = "referral" if referred else "emergency" if emergency else "other"
        mistake = ""
        if rng.random() < self.mistake_share:
            mistake = MISTAKE_KINDS[rng.randrange(len(MISTAKE_KINDS))]
        if mistake == "before_cover":
            nights = last - first
            moved = self.starts - nights - rng.randint(1, BEFORE_COVER_DAYS - nights)
            if moved >= member.born:
                first, last = moved, moved + nights
            else:
                mistake = ""
        adult = _is_adult(member.born, last, self.age_of_majority)
        rows = self._basket_rows(illness, facility, member.sex, adult, emergency, last - first)
        if not rows:
            return
        if mistake == "unknown_items":
            item, quantity, price = rows[-1]
            rows[-1] = (self._unknown(item), quantity, price)
        elif mistake == "patient_category":
            misfits = self._misfits_of(facility, member.sex, adult)
            if misfits:
                item = misfits[rng.randrange(len(misfits))]
                rows.append((item, 1, facility.prices[item]))
            else:
                mistake = ""
        diagnosis = "" if mistake == "missing_diagnoses" else codes[rng.randrange(len(codes))]
        self._numbers[facility.code] += 1
        claim_id = f"{facility.code}-{self.year}-{self._numbers[facility.code]:06d}"
        first_day, last_day = date.fromordinal(first).isoformat(), date.fromordinal(last).isoformat()
        row = (claim_id, member.number, facility.code, first_day, last_day, diagnosis, visit_type)
        self.claims.writerow(row)
        if mistake == "duplicate_claim_ids":
            self.claims.writerow(row)  # the clerk entered the same paper twice
            self.counts["claims"] += 1
        self._write_lines(claim_id, rows)
        self.counts["claims"] += 1
        self.counts["referrals"] += referred
        self.counts["deliveries"] += illness is DELIVERY or illness is HARD_DELIVERY
        if mistake:
            self.counts[mistake] += 1

    def _write_lines(self, claim_id: str, rows: list[tuple[str, int, int]]) -> None:
        rng, decimals = self.rng, self.reference.decimals
        for number, (item, quantity, price) in enumerate(rows, 1):
            asked = price
            if price >= 20 and rng.random() < ABOVE_LIST_SHARE:
                asked = price + max(1, price * rng.randint(1, 6) // 20)  # 5 to 30 % more
                self.counts["prices_above_list"] += 1
            self.lines.writerow((claim_id, number, item, quantity, _price_text(asked, decimals)))
        self.counts["lines"] += len(rows)

    def _basket_rows(
        self, illness: Illness, facility: Facility, sex: str, adult: bool, emergency: bool, nights: int
    ) -> list[tuple[str, int, int]]:
        """Item, quantity and list price of each line; nights in hospital are days of stay."""
        key = (illness.name, facility.basket, sex, adult, emergency)
        options = self._baskets.get(key)
        if options is None:
            options = self._baskets[key] = _basket(self.reference, illness, facility, sex, adult, emergency)
        rng = self.rng
        rows = []
        for item, chance, least, most, price in options:
            if chance >= 1 or rng.random() < chance:
                rows.append((item, least if least == most else rng.randint(least, most), price))
        if nights and (stay := _stay(self.reference, facility, sex, adult)):
            rows.append((stay.code, min(nights, stay.max_quantity), facility.prices[stay.code]))
        return rows

    def _misfits_of(self, facility: Facility, sex: str, adult: bool) -> list[str]:
        """Items of the facility that are not meant for such a patient."""
        key = (facility.basket, sex, adult)
        if key not in self._misfits:
            self._misfits[key] = [code for code in facility.prices if not self.reference.items[code].fits(sex, adult)]
        return self._misfits[key]

    def _unknown(self, code: str) -> str:
        """A slip of the pen: a code that no catalogue item has."""
        while code in self.reference.items:
            code += "X"
        return code


def _basket(
    reference: Reference, illness: Illness, facility: Facility, sex: str, adult: bool, emergency: bool
) -> list[_Option]:
    """What a visit for this reason may hold at this facility, for this kind of patient."""
    offered = [item for code in facility.prices if (item := reference.items[code]).fits(sex, adult)]
    if not facility.hospital:
        offered = [item for item in offered if item.care_type != "inpatient"]
    options = []
    reception = _reception(offered, illness, emergency)
    if reception is not None:
        options.append((reception.code, 1.0, 1, 1, facility.prices[reception.code]))
    for treatment in illness.treatments:
        if treatment.hospital_only and not facility.hospital:
            continue
        found = [item for item in offered if any(word in item.name.casefold() for word in treatment.words)]
        if found:
            # A form made for this age (a syrup for a child) goes before one that everybody may take.
            item = min(found, key=lambda item: not item.ages)
            options.append(_option(item, treatment, facility.prices[item.code]))
    if illness.treatments and len(options) < 2:
        # A catalogue in other words: any two of its medicines, always the same ones for the same reason.
        products = [item for item in offered if item.kind == "product"]
        if products:
            turn = sum(illness.name.encode()) % len(products)
            for item in (products[turn:] + products[:turn])[:2]:
                options.append((item.code, 0.8, 1, min(3, item.max_quantity), facility.prices[item.code]))
    return options


def _option(item: Item, treatment: Treatment, price: int) -> _Option:
    least, most = treatment.tablets
    name = item.name.casefold()
    counted = any(form in name for form in ("comprimé", "gélule", "tablet", "capsule"))
    if not counted:
        least, most = 1, 1 if item.kind == "service" or item.ages else 2
    return item.code, treatment.chance, min(least, item.max_quantity), min(most, item.max_quantity), price


def _reception(offered: Sequence[Item], illness: Illness, emergency: bool) -> Item | None:
    """The service that a visit begins with: delivery, antenatal visit, emergency or plain consultation."""
    wanted = {DELIVERY.name: "delivery", HARD_DELIVERY.name: "delivery", ANTENATAL.name: "antenatal"}
    category = wanted.get(illness.name, "consultation")
    found = [item for item in offered if item.category == category]
    if illness is POSTNATAL:
        found.sort(key=lambda item: "postnatal" not in item.name.casefold())
    elif category == "consultation":
        urgent = ("urgence", "emergency")
        found.sort(key=lambda item: (bool(item.sexes), any(w in item.name.casefold() for w in urgent) != emergency))
    return found[0] if found else None


def _stay(reference: Reference, facility: Facility, sex: str, adult: bool) -> Item | None:
    """The day of hospital stay that fits the patient."""
    for code in facility.prices:
        item = reference.items[code]
        if item.category == "hospitalisation" and item.fits(sex, adult):
            return item
    return None


def _is_adult(born: int, day: int, age_of_majority: int) -> bool:
    return full_years(date.fromordinal(born), date.fromordinal(day)) >= age_of_majority


def _poisson(rng: Random, mean: float) -> int:
    """A Poisson number by Knuth's product; good for means of a few units."""
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count


def _price_text(minor: int, decimals: int) -> str:
    if decimals == 0:
        return str(minor)
    whole, rest = divmod(minor, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}"


# ---- reference data ----------------------------------------------------------------------------------------------


def _read_reference(
    places: Path, facilities: Path, items: Path, diagnoses: Path, price_lists: Path | None, on: date
) -> Reference:
    item_rows = _rows(items, ("code", "name", "kind", "category", "care_type", "price"))
    price_rows = [] if price_lists is None else _rows(price_lists, ("code", "valid_from", "item", "price"))
    asked = [(items, number, row["price"]) for number, row in enumerate(item_rows, 2)]
    asked += [
        (price_lists, number, row["price"])
        for number, row in enumerate(price_rows, 2)
        if price_lists is not None and row["price"] != "catalogue"
    ]
    decimals = max((_decimals(path, number, text) for path, number, text in asked), default=0)
    catalogue = {row["code"]: _item(items, number, row, decimals) for number, row in enumerate(item_rows, 2)}
    lists = None if price_lists is None else _price_lists(price_lists, price_rows, catalogue, decimals, on)
    parents = {row["code"]: row["parent"] for row in _rows(places, ("code", "parent"))}
    for code, parent in parents.items():
        if parent and parent not in parents:
            raise refused("demo.reference_data", f"{places}: {code} lies in {parent!r}, which the file does not hold")
    villages = tuple(sorted(parents.keys() - set(parents.values())))
    under: dict[str, list[Facility]] = {}
    for number, row in enumerate(_rows(facilities, ("code", "level", "care_type", "location")), 2):
        facility = _facility(row, catalogue, lists)
        if row["location"] not in parents:
            where = f"{facilities} line {number}"
            raise refused("demo.reference_data", f"{where}: no place {row['location']!r} in {places}; mend either file")
        for place in _upwards(row["location"], parents, places):
            under.setdefault(place, []).append(facility)
    known_codes = [row["code"] for row in _rows(diagnoses, ("code",))]
    reasons = (*ILLNESSES, ANTENATAL, DELIVERY, HARD_DELIVERY, POSTNATAL)
    reference = Reference(
        items=catalogue,
        villages=villages,
        centres_of={village: _nearest(village, parents, under, places, hospital=False) for village in villages},
        hospital_of={
            village: next(iter(_nearest(village, parents, under, places, hospital=True)), None) for village in villages
        },
        diagnoses={reason.name: tuple(c for c in known_codes if c.startswith(reason.diagnoses)) for reason in reasons},
        decimals=decimals,
    )
    sources = ((places, villages), (facilities, under), (items, catalogue), (diagnoses, known_codes))
    for path, content in sources:
        if not content:
            raise refused("demo.reference_data", f"{path} holds no rows; name the deployment's own file")
    return reference


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; raises `demo.reference_data` for a missing file or column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise refused("demo.reference_data", f"{path} has no column {', '.join(missing)}; add it to the header")
            return [{key: value.strip() for key, value in row.items() if isinstance(value, str)} for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise refused("demo.reference_data", f"{path} cannot be read as UTF-8 text: {error}") from error


def _decimals(path: Path | None, number: int, text: str) -> int:
    try:
        price = Decimal(text)
    except InvalidOperation:
        price = Decimal("NaN")
    exponent = price.as_tuple().exponent
    if not isinstance(exponent, int) or price < 0:
        raise refused("demo.reference_data", f"{path} line {number}: {text!r} is no price; write 450 or 4.50")
    return max(0, -exponent)


def _item(path: Path, number: int, row: Mapping[str, str], decimals: int) -> Item:
    most = row.get("max_quantity", "")
    if most and not most.isdecimal():
        raise refused("demo.reference_data", f"{path} line {number}: max_quantity {most!r} is no whole number")
    return Item(
        code=row["code"],
        name=row["name"],
        kind=row["kind"],
        category=row["category"],
        care_type=row["care_type"] or "both",
        price=int(Decimal(row["price"]).scaleb(decimals)),
        sexes=frozenset(_cell_list(row.get("sexes", ""))),
        ages=frozenset(_cell_list(row.get("ages", ""))),
        max_quantity=int(most) if most else 1000,
    )


def _price_lists(
    path: Path, rows: Sequence[Mapping[str, str]], catalogue: Mapping[str, Item], decimals: int, on: date
) -> dict[str, dict[str, int]]:
    """Each list's version in force on a day: the latest that is not later; a version is complete by itself."""
    versions: dict[str, dict[str, dict[str, int]]] = {}
    for number, row in enumerate(rows, 2):
        if row["item"] not in catalogue:
            raise refused("demo.reference_data", f"{path} line {number}: no item {row['item']!r} in the items file")
        item = catalogue[row["item"]]
        price = item.price if row["price"] == "catalogue" else int(Decimal(row["price"]).scaleb(decimals))
        versions.setdefault(row["code"], {}).setdefault(row["valid_from"], {})[item.code] = price
    in_force = {}
    for code, dated in versions.items():
        past = [day for day in dated if day <= on.isoformat()]
        in_force[code] = dated[max(past)] if past else {}
    return in_force


def _facility(
    row: Mapping[str, str], catalogue: Mapping[str, Item], lists: Mapping[str, Mapping[str, int]] | None
) -> Facility:
    named = _cell_list(row.get("price_lists", ""))
    prices: dict[str, int] = {}
    for code in reversed(named):  # an item in two lists: the first list named
        prices |= (lists or {}).get(code, {})
    if lists is None:
        prices = {item.code: item.price for item in catalogue.values()}
    if row["care_type"] == "outpatient":
        prices = {code: price for code, price in prices.items() if catalogue[code].care_type != "inpatient"}
    hospital = "hospital" in row["level"] and row["care_type"] != "outpatient"
    in_order = {code: prices[code] for code in catalogue if code in prices}
    return Facility(row["code"], hospital, in_order, f"{'|'.join(named)}/{row['care_type']}/{hospital}")


def _cell_list(text: str) -> list[str]:
    """The parts of a cell that holds a list: separated by `|`, `;` or blanks."""
    return text.replace("|", " ").replace(";", " ").split()


def _upwards(place: str, parents: Mapping[str, str], path: Path) -> Iterator[str]:
    """The place, its parent, and so on to the top."""
    seen = set()
    while place:
        if place in seen:
            raise refused("demo.reference_data", f"{path}: {place!r} lies in itself by way of its parents")
        seen.add(place)
        yield place
        place = parents[place]


def _nearest(
    village: str, parents: Mapping[str, str], under: Mapping[str, Sequence[Facility]], path: Path, *, hospital: bool
) -> tuple[Facility, ...]:
    """The facilities of a kind by the smallest place that they share with the village, then as in their file."""
    found: dict[str, Facility] = {}
    for place in _upwards(village, parents, path):
        for facility in under.get(place, ()):
            if facility.hospital == hospital:
                found.setdefault(facility.code, facility)
    return tuple(found.values())
