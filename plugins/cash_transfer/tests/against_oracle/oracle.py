"""The rules of cash transfers said again, plainly: one household at a time, with fractions.

Knows neither SQL nor the plugin. Source: contract-cash-transfer.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from math import ceil, floor
from typing import Any

from attrs import frozen

ON = date(2023, 1, 31)


@frozen
class Member:
    born: date
    works: bool | None
    cows: int | None

    @property
    def age(self) -> int:
        return ON.year - self.born.year - ((ON.month, ON.day) < (self.born.month, self.born.day))


@frozen
class Household:
    code: str
    registered: date
    place: str | None
    attributes: Mapping[str, Any]
    members: tuple[Member, ...]
    excluded: bool = False


def count(household: Household, which: Callable[[Member], bool | None]) -> int:
    """Members for whom it is known to hold."""
    return sum(1 for member in household.members if which(member) is True)


def cows(household: Household) -> int | None:
    known = [m.cows for m in household.members if m.cows is not None]
    return sum(known) if known else None


# What the tests' expressions mean; None is missing.
NUMBERS: dict[str, Callable[[Household], int | None]] = {
    "rooms": lambda h: h.attributes.get("rooms"),
    "size": lambda h: len(h.members),
    "count(members where works)": lambda h: count(h, lambda m: m.works),
    "count(members where age < 18)": lambda h: count(h, lambda m: m.age < 18),
    "sum(cows of members)": cows,
    "head.age": lambda h: h.members[0].age,
}
CONDITIONS: dict[str, Callable[[Household], bool | None]] = {
    "land": lambda h: h.attributes.get("land"),
    "rooms > 2": lambda h: None if h.attributes.get("rooms") is None else h.attributes["rooms"] > 2,
    "any(members where works)": lambda h: count(h, lambda m: m.works) > 0,
    "all(members where works)": lambda h: count(h, lambda m: m.works) == len(h.members),
    "size <= 3": lambda h: len(h.members) <= 3,
    "not land": lambda h: None if h.attributes.get("land") is None else not h.attributes["land"],
}
TEXTS: dict[str, Callable[[Household], str | None]] = {"water": lambda h: h.attributes.get("water")}
MEMBERS: dict[str, Callable[[Member], bool | None]] = {
    "age < 18": lambda m: m.age < 18,
    "works": lambda m: m.works,
}


class UnknownArea(Exception):
    """Somebody's area stands in no table."""


def number(value: Any, area: str | None) -> Fraction:
    """A number of the terms, by area if it is one by area."""
    if isinstance(value, Mapping):
        if area is None or area not in value:
            raise UnknownArea
        return Fraction(value[area])
    return Fraction(value)


def score(terms: Mapping[str, Any], household: Household) -> tuple[Fraction, list[Fraction]] | list[str]:
    """The score with what each variable added; or the names of the variables whose answer is missing."""
    area = household.attributes.get("zone")
    adds: list[Fraction] = []
    missing = []
    for variable in terms["variables"]:
        add = _add(variable, household, area)
        if add is None:
            policy = variable.get("missing", terms.get("missing", "refuse"))
            if policy == "refuse":
                missing.append(variable["name"])
                continue
            add = number(policy["add"], area)
        adds.append(add)
    if missing:
        return missing
    total = number(terms.get("scale", "1"), area) * (number(terms["base"], area) + sum(adds))
    return rounded(total, terms.get("decimals", 0), terms.get("round", "half_up")), adds


def _add(variable: Mapping[str, Any], household: Household, area: str | None) -> Fraction | None:
    kind = variable["kind"]
    if kind == "ratio":
        over, under = NUMBERS[variable["over"]](household), NUMBERS[variable["under"]](household)
        if over is None or under is None:
            return None
        return number(variable["weight"], area) * over / max(Fraction(under), Fraction(variable.get("under_min", 1)))
    known: dict[str, Callable[[Household], Any]] = {**NUMBERS, **CONDITIONS, **TEXTS}
    answer = known[variable["of"]](household)
    if answer is None:
        return None
    if kind == "equals":
        return number(variable["weight"], area) if answer == variable["value"] else Fraction(0)
    if kind == "yes_no":
        return number(variable["weight"], area) if answer else Fraction(0)
    if kind == "continuous":
        return number(variable["weight"], area) * Fraction(answer)
    if kind == "lookup":
        return number(variable["table"][answer], area) if answer in variable["table"] else None
    for band in variable["bands"]:
        low, high = band.get("from"), band.get("to")
        if (low is None or answer >= Fraction(low)) and (high is None or answer <= Fraction(high)):
            return number(band["add"], area)
    return Fraction(0)


def rounded(value: Fraction, decimals: int, how: str) -> Fraction:
    """Once, at the end: half away from zero, toward zero, or away from zero."""
    size = abs(value) * 10**decimals
    whole = {"half_up": floor(size + Fraction(1, 2)), "down": floor(size), "up": ceil(size)}[how]
    return Fraction(whole, 10**decimals) * (1 if value >= 0 else -1)


@frozen
class Placed:
    outcome: str
    rank: int | None
    reason: str | None


def select(
    terms: Mapping[str, Any],
    households: Sequence[Household],
    scores: Mapping[str, Fraction],
    parents: Mapping[str, str],
) -> dict[str, Placed]:
    """Each candidate's outcome, rank and reason, by code. `parents`: the place above each place."""
    placed: dict[str, Placed] = {}
    fitting = []
    for household in households:
        reason = _unfit(terms, household, scores.get(household.code))
        if reason is not None:
            placed[household.code] = Placed("not_selected", None, reason)
        else:
            fitting.append(household)
    fitting.sort(key=lambda h: (scores.get(h.code, 0) if "score" in terms else 0, h.registered, h.code))
    quota = terms.get("quota")
    ranks: dict[Any, int] = {}
    inside = []
    for household in fitting:
        area, places = _quota(quota, household.place, parents) if quota else (None, None)
        ranks[area] = ranks.get(area, 0) + 1
        if places is not None and ranks[area] > places:
            placed[household.code] = Placed("waiting", ranks[area], "quota")
        else:
            inside.append((household, ranks[area]))
    for position, (household, rank) in enumerate(inside):
        if position < terms.get("max_beneficiaries", len(inside)):
            placed[household.code] = Placed("selected", rank, None)
        else:
            placed[household.code] = Placed("waiting", rank, "max_beneficiaries")
    return placed


def _unfit(terms: Mapping[str, Any], household: Household, own: Fraction | None) -> str | None:
    if household.excluded:
        return "self_excluded"
    if "criteria" in terms and CONDITIONS[terms["criteria"]](household) is not True:
        return "criteria"
    if "score" in terms and own is None:
        return "no_score"
    if "cutoff" in terms and own is not None and own > Fraction(terms["cutoff"]):
        return "cutoff"
    return None


def _quota(quota: Mapping[str, Any], place: str | None, parents: Mapping[str, str]) -> tuple[str | None, int]:
    above: str | None = place
    while above is not None:
        if above in quota["places"]:
            return above, quota["places"][above]
        above = parents.get(above)
    return place, quota.get("others", 0)


def amount(terms: Mapping[str, Any], household: Household, arrears: int = 0) -> tuple[int, list[tuple[str, int]]]:
    """One cycle's amount with its steps, in minor units."""
    rule = terms.get("amount", {})
    steps = [("base", _minor(rule.get("base", "0")))]
    counted = count(household, MEMBERS[rule["count"]]) if "count" in rule else len(household.members)
    steps.append(("per_person", _minor(rule.get("per_person", "0")) * min(counted, rule.get("max_persons", counted))))
    for condition in rule.get("conditions", ()):
        if CONDITIONS[condition["when"]](household) is True:
            steps.append((condition["name"], _minor(condition["amount"])))
    total = sum(minor for _, minor in steps)
    if "ceiling_per_beneficiary" in terms:
        cut = min(total, _minor(terms["ceiling_per_beneficiary"])) - total
        steps.append(("ceiling", cut))
        total += cut
    total += arrears
    for deduction in terms.get("deductions", ()):
        if "when" not in deduction or CONDITIONS[deduction["when"]](household) is True:
            taken = min(_minor(deduction["amount"]), total)
            steps.append((deduction["name"], -taken))
            total -= taken
    return total, [(name, minor) for name, minor in steps if minor]


def _minor(amount: str) -> int:
    minor = Fraction(amount) * 100
    assert minor.denominator == 1
    return int(minor)
