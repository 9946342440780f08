"""What types cannot say of the terms: ranges, exact amounts, what belongs together, and what is not computed.

Every problem comes with its path. A field that is not computed is refused (`not_yet`), never ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from imis_core.api import LARGEST_MINOR, Problem, TermsCheck, number_problems
from imis_eii.terms import (
    EiiTerms,
    FuneralTerms,
    IndexationTerms,
    PermanentTerms,
    SurvivorsTerms,
    WageTerms,
    relationships,
)

NOT_YET: Final = ("late_interest",)
AGE_MAX: Final = 150


def check_terms(terms: EiiTerms, check: TermsCheck) -> Sequence[Problem]:
    """All that is wrong with the terms of a package."""
    return [
        *number_problems(terms, check.currency, LARGEST_MINOR),
        *_not_yet(terms),
        *_bounds(terms),
        *(p.at("wage") for p in _wage(terms.wage)),
        *(p.at("contribution.fixed") for p in _bands(terms)),
        *(p.at("permanent") for p in _permanent(terms.permanent, _uses_factors(terms))),
        *(p.at("survivors") for p in _survivors(terms.survivors, terms.permanent)),
        *(p.at("funeral") for p in _funeral(terms.funeral)),
        *(p.at("indexation") for p in _indexation(terms.indexation)),
        *(p.at("offset") for p in _offsets(terms)),
    ]


def _not_yet(terms: EiiTerms) -> Iterator[Problem]:
    for name in NOT_YET:
        if getattr(terms, name) is not None:
            yield Problem(name, "not_yet", f"{name} is not computed yet; leave it out")


def _bounds(terms: EiiTerms) -> Iterator[Problem]:
    """A minimum is never above its maximum, wherever both stand."""
    for path, part in (("", terms), ("wage", terms.wage), ("temporary", terms.temporary)):
        yield from (p.at(path) for p in _ordered(part))
    if terms.survivors is not None:
        for name, own in relationships(terms.survivors):
            yield from (p.at(f"survivors.{name}") for p in _ordered(own))


def _ordered(part: Any) -> Iterator[Problem]:
    if part is not None and part.minimum is not None and part.maximum is not None and part.minimum > part.maximum:
        yield Problem("minimum", "order", f"the minimum {part.minimum} is above the maximum {part.maximum}")


def _wage(wage: WageTerms) -> Iterator[Problem]:
    if wage.method == "best_of" and wage.best is None:
        yield Problem("best", "required", 'method = "best_of" needs `best`, the number of months')
    if wage.method != "best_of" and wage.best is not None:
        yield Problem("best", "excluded", 'best goes with method = "best_of" only')
    if wage.best is not None and wage.best > wage.window_months:
        yield Problem("best", "range", f"the window has only {wage.window_months} months")
    if wage.method == "minimum_wage" and wage.minimum_wage is None:
        yield Problem("minimum_wage", "required", 'method = "minimum_wage" needs `minimum_wage`, the amount')
    if wage.method != "minimum_wage" and wage.minimum_wage is not None:
        yield Problem("minimum_wage", "excluded", 'minimum_wage goes with method = "minimum_wage" only')
    if wage.method == "minimum_wage" and wage.divisor.days is None:
        yield Problem("divisor", "excluded", "a minimum wage has no declared days; give a number")
    if wage.divisor.days is not None and not 1 <= wage.divisor.days <= 31:
        yield Problem("divisor", "range", f"expected 1 to 31 days of a month, found {wage.divisor.days}")


def _bands(terms: EiiTerms) -> Iterator[Problem]:
    contribution = terms.contribution
    if contribution is None or contribution.fixed is None:
        return
    if not contribution.fixed:
        yield Problem("", "required", "give at least one row, or leave `fixed` out")
    limits = [band.up_to for band in contribution.fixed]
    for index, limit in enumerate(limits[:-1]):
        following = limits[index + 1]
        if limit is None:
            yield Problem(f"{index}.up_to", "required", "only the last row holds for every wage")
        elif following is not None and following <= limit:
            yield Problem(f"{index + 1}.up_to", "order", "expected wages in ascending order")


def _uses_factors(terms: EiiTerms) -> bool:
    """Whether survivors' lump sums are computed with the factors of `permanent`."""
    return terms.survivors is not None and terms.survivors.method == "age_factor"


def _permanent(permanent: PermanentTerms | None, of_survivors: bool) -> Iterator[Problem]:
    if permanent is None:
        return
    method = permanent.method
    if method == "months_x_degree" and permanent.months is None:
        yield Problem("months", "required", 'method = "months_x_degree" needs `months`')
    if method == "age_factor" or (of_survivors and permanent.factors is not None):
        yield from _ages("factors", permanent.factors, 'method = "age_factor" needs `factors` by age')
    elif permanent.factors is not None:
        yield Problem("factors", "excluded", 'factors go with method = "age_factor" only')
    if permanent.months_partial is not None and method != "months_x_degree":
        yield Problem("months_partial", "excluded", 'months_partial goes with method = "months_x_degree" only')
    if method == "present_value":
        for name in ("interest", "until_age"):
            if getattr(permanent, name) is None:
                yield Problem(name, "required", f'method = "present_value" needs `{name}`')
        if permanent.per == "day":
            yield Problem("per", "excluded", 'method = "present_value" sums months; write per = "month"')
        if permanent.mortality is not None:
            yield from _ages("mortality", permanent.mortality, "give the survivors by age")
    else:
        for name in ("interest", "mortality"):
            if getattr(permanent, name) is not None:
                yield Problem(name, "excluded", f'{name} goes with method = "present_value" only')
        if permanent.indexation != 0:
            yield Problem(
                "indexation", "excluded", 'it goes with method = "present_value"; see `indexation` of the terms'
            )
    if permanent.until_age is not None and method not in ("present_value", "degree_x_rate"):
        yield Problem("until_age", "excluded", "a lump sum has no end")


def _ages(name: str, table: Mapping[str, Decimal] | None, needed: str) -> Iterator[Problem]:
    if not table:
        yield Problem(name, "required", needed)
        return
    for age, value in table.items():
        if not (age.isascii() and age.isdigit() and int(age) <= AGE_MAX and str(int(age)) == age):
            yield Problem(f"{name}.{age[:20]}", "format", "expected an age in full years as the key")
        elif value < 0 or (name == "mortality" and value == 0):
            yield Problem(f"{name}.{age}", "range", "expected a number above 0")


def _survivors(survivors: SurvivorsTerms | None, permanent: PermanentTerms | None) -> Iterator[Problem]:
    if survivors is None:
        return
    entitled = dict(relationships(survivors))
    if not entitled:
        yield Problem("", "required", "nobody is entitled; give spouse, child, orphan, parent or other")
    if survivors.method == "months" and survivors.months is None:
        yield Problem("months", "required", 'method = "months" needs `months`')
    if survivors.method != "months" and survivors.months is not None:
        yield Problem("months", "excluded", 'months goes with method = "months" only')
    if survivors.method == "age_factor" and not (permanent is not None and permanent.factors):
        yield Problem("method", "required", 'method = "age_factor" uses the factors of `permanent`; give them there')
    for name, own in entitled.items():
        if survivors.method != "shares":
            for bound in ("minimum", "maximum"):
                if getattr(own, bound) is not None:
                    yield Problem(f"{name}.{bound}", "excluded", 'bounds go with method = "shares" only')
        if name in own.only_if_none:
            yield Problem(f"{name}.only_if_none", "excluded", "a relationship does not exclude itself")
    yield from _circles({name: own.only_if_none for name, own in entitled.items()})


def _circles(waits: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """`only_if_none` that leads back to where it began has no answer."""
    for start in waits:
        reached, todo = set(), list(waits[start])
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += waits.get(name, ())
        if start in reached and start not in waits[start]:
            yield Problem(f"{start}.only_if_none", "excluded", f"{start} would wait for itself through another one")


def _funeral(funeral: FuneralTerms | None) -> Iterator[Problem]:
    if funeral is None:
        return
    given = [name for name in ("amount", "months", "cost") if getattr(funeral, name) is not None]
    if len(given) != 1:
        yield Problem("", "required", "give exactly one of amount, months and cost")
    if funeral.cost is False:
        yield Problem("cost", "choice", "write cost = true, or leave it out")


def _indexation(indexation: IndexationTerms | None) -> Iterator[Problem]:
    if indexation is None:
        return
    if indexation.table is not None:
        if indexation.month is not None or indexation.rate is not None:
            yield Problem("table", "excluded", "give a table, or month and rate, not both")
        for year in indexation.table:
            if not (len(year) == 4 and year.isascii() and year.isdigit()):
                yield Problem(f"table.{year[:20]}", "format", 'expected a year such as "2024" as the key')
        return
    for name in ("month", "rate"):
        if getattr(indexation, name) is None:
            yield Problem(name, "required", "give month and rate, or a table of rates by year")


def _offsets(terms: EiiTerms) -> Iterator[Problem]:
    """Each has a name of its own: it stands in the steps."""
    seen: set[str] = set()
    for index, offset in enumerate(terms.offset or ()):
        if not offset.name.strip():
            yield Problem(f"{index}.name", "required", "this field is required")
        elif offset.name in seen:
            yield Problem(f"{index}.name", "duplicate", f"{offset.name!r} stands here twice")
        seen.add(offset.name)
