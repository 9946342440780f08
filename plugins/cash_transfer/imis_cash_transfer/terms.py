"""The terms of a cash-transfer package: every field of the contract, its shape, and what shapes cannot say.

Criteria, score, amounts and exits are computed elsewhere (`scores`, `amounts`, `selection`, `reviews`).
Source: contract-cash-transfer.md, 'Terms'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from imis_cash_transfer.score_terms import Equals, Lookup, Ratio, Score, YesNo, literal_of, score_problems
from imis_core.api import (
    LARGEST_MINOR,
    Amount,
    Criterion,
    Problem,
    Rate,
    Recurrence,
    TermsCheck,
    equals,
    expression_problems,
    number_problems,
)

Unit: TypeAlias = Literal["household", "person", "member"]
_ZERO: Final = Amount(Decimal(0))


@frozen(kw_only=True)
class Condition:
    """An amount for who meets `when` on the cycle's first day; checked anew in each cycle."""

    name: str
    when: Criterion
    amount: Amount


@frozen(kw_only=True)
class AmountRule:
    """base + per_person x the members that count (at most `max_persons`) + the conditions met.

    `count` is an expression over a member; None: all members count. A person is its own only member.
    """

    base: Amount = _ZERO
    per_person: Amount = _ZERO
    count: Criterion | None = None
    max_persons: int | None = None
    conditions: tuple[Condition, ...] = ()


@frozen(kw_only=True)
class Quota:
    """Places by location code, for all that lies in it; `others` for each location outside all that are named."""

    places: dict[str, int]
    others: int = 0


@frozen(kw_only=True)
class Arrears:
    """`late`: earlier cycles before the beneficiary became active; `missed`: those without an entitlement."""

    late: bool = False
    missed: bool = False


@frozen(kw_only=True)
class Deduction:
    """What is taken off after arrears, from everybody or from who meets `when`."""

    name: str
    when: Criterion | None = None
    amount: Amount


@frozen(kw_only=True)
class Exit:
    """Who meets `when` leaves as graduated or exited."""

    name: str
    when: Criterion
    state: Literal["graduated", "exited"]


@frozen(kw_only=True)
class CashTransferTerms:
    """All terms of a package, in the order of the contract. None: there is none."""

    unit: Literal["household", "person"] = "household"
    max_beneficiaries: int | None = None
    criteria: Criterion | None = None
    score: Score | None = None
    cutoff: Rate | None = None
    quota: Quota | None = None
    amount: AmountRule = field(factory=AmountRule)
    ceiling_per_beneficiary: Amount | None = None
    arrears: Arrears = field(factory=Arrears)
    deductions: tuple[Deduction, ...] = ()
    approval_limit: Amount = _ZERO
    frequency: Recurrence | None = None
    exits: tuple[Exit, ...] = ()


def location_codes(terms: CashTransferTerms) -> frozenset[str]:
    """Codes of the locations that the terms name."""
    return frozenset(terms.quota.places if terms.quota is not None else ())


def frequency(terms: CashTransferTerms) -> Recurrence | None:
    """How often the package pays, for `cycles.open_next`."""
    return terms.frequency


def check_terms(terms: CashTransferTerms, check: TermsCheck) -> Sequence[Problem]:
    """What types cannot say: ranges, exact amounts, known names and places, expressions of the right kind."""
    problems = [*number_problems(terms, check.currency, LARGEST_MINOR), *_names(terms), *_places(terms.quota, check)]
    if terms.cutoff is not None and terms.score is None:
        problems.append(Problem("cutoff", "score", "a cut-off needs a `score`; give both or neither"))
    if terms.score is not None:
        problems += [p.at("score") for p in score_problems(terms.score)]
    return [*problems, *_expressions(terms, check)]


def _names(terms: CashTransferTerms) -> Iterator[Problem]:
    lists: dict[str, Sequence[Condition | Deduction | Exit]] = {
        "amount.conditions": terms.amount.conditions,
        "deductions": terms.deductions,
        "exits": terms.exits,
    }
    for path, items in lists.items():
        for index, item in enumerate(items):
            if not item.name.strip():
                yield Problem(f"{path}.{index}.name", "required", "give it a name")


def _places(quota: Quota | None, check: TermsCheck) -> Iterator[Problem]:
    for code in quota.places if quota is not None else ():
        if code not in check.location_codes:
            yield Problem(f"quota.places.{code}", "not_found", f"there is no location {code!r}; add it first")


def _expressions(terms: CashTransferTerms, check: TermsCheck) -> Iterator[Problem]:
    """Unknown names, members asked of a person, values where a condition is needed."""
    member: Unit = "member" if terms.unit == "household" else "person"
    conditions: list[tuple[str, Criterion | None, Unit]] = [
        ("criteria", terms.criteria, terms.unit),
        ("amount.count", terms.amount.count, member),
        *((f"amount.conditions.{i}.when", c.when, terms.unit) for i, c in enumerate(terms.amount.conditions)),
        *((f"deductions.{i}.when", d.when, terms.unit) for i, d in enumerate(terms.deductions)),
        *((f"exits.{i}.when", e.when, terms.unit) for i, e in enumerate(terms.exits)),
    ]
    for path, criterion, unit in conditions:
        if criterion is not None:
            for message in expression_problems(criterion.expression, unit, check.attributes, "bool"):
                yield Problem(path, "expression", message)
    if terms.score is not None:
        for path, message in _score_expressions(terms.score, terms.unit, check.attributes):
            yield Problem(f"score.{path}", "expression", message)


def _score_expressions(score: Score, unit: Unit, attributes: Any) -> Iterator[tuple[str, str]]:
    asked: list[tuple[str, Any, Any]] = []
    if score.area is not None:
        asked.append(("area", score.area.expression, None))
    for index, variable in enumerate(score.variables.items):
        at = f"variables.{index}"
        match variable:
            case Ratio(over=over, under=under):
                asked += [(f"{at}.over", over.expression, "number"), (f"{at}.under", under.expression, "number")]
            case Equals(of=of):
                literal = literal_of(variable, unit, attributes)
                compared = of.expression if literal is None else equals(of.expression, literal)
                asked.append((f"{at}.of", compared, None))
            case Lookup(of=of):
                asked.append((f"{at}.of", of.expression, None))
            case YesNo(of=of):
                asked.append((f"{at}.of", of.expression, "bool"))
            case _:
                asked.append((f"{at}.of", variable.of.expression, "number"))
    for path, expression, kind in asked:
        yield from ((path, message) for message in expression_problems(expression, unit, attributes, kind))
