"""Numbers in the terms of a package, of whatever kind of scheme: within their ranges, amounts exact and not too large.

It walks the parsed terms by their classes. What a number means, and what goes together, is for the plugin to judge.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Final, cast, get_args, get_type_hints

import attrs

from imis_core.errors import Problem
from imis_core.parsing import KEY_SHOWN, outside_name
from imis_core.values import INT64_MAX, Amount, NotExact, minor_text, to_minor

LARGEST_MINOR: Final = 10**13  # of an amount that is summed over all beneficiaries: the sum still fits 64 bits


def number_problems(terms: Any, currency: str, largest: int = INT64_MAX) -> Iterator[Problem]:
    """What is wrong with the numbers of `terms` (an attrs instance), wherever they stand, with their paths.

    Whole numbers are 0 or more, or as the field's metadata says (`min`, `max`); rates and percentages are judged only
    where it says either (`range`). Amounts have no more decimals than the currency (`not_exact`) and at most
    `largest` minor units (`range`). A class that reads itself (`__structure__`) checks itself, unless it offers
    `__numbers__()`: paths within it with their values. They are what the field that holds it says: amounts if its type
    speaks of them (`ByAge[Amount]`), with the limits of its metadata.
    """
    for attribute, is_amount in _fields(cast(Hashable, type(terms))):
        value = getattr(terms, attribute.name)
        if value is not None:
            found = _problems(value, is_amount, attribute.metadata, currency, largest)
            yield from (p.at(outside_name(attribute)) for p in found)


def _problems(value: Any, is_amount: bool, limits: Mapping[str, Any], currency: str, largest: int) -> Iterator[Problem]:
    if isinstance(value, bool):
        return
    if isinstance(value, Decimal) and is_amount:
        yield from _amount(value, currency, largest)
    elif isinstance(value, int) or (isinstance(value, Decimal) and not limits.keys().isdisjoint(("min", "max"))):
        low, high = limits.get("min", 0), limits.get("max")
        if value < low or (high is not None and value > high):
            span = f"{low} or more" if high is None else f"{low} to {high}"
            yield Problem("", "range", f"expected {span}, found {value}")
    elif attrs.has(type(value)) and not hasattr(value, "__structure__"):
        yield from number_problems(value, currency, largest)
    else:
        for path, part in _parts(value):
            if part is not None:
                yield from (p.at(path) for p in _problems(part, is_amount, limits, currency, largest))


def _amount(value: Decimal, currency: str, largest: int) -> Iterator[Problem]:
    try:
        if to_minor(value, currency) > largest:
            most = minor_text(largest, currency)
            yield Problem("", "range", f"expected an amount of at most {most}, found {value}")
    except NotExact as error:
        yield Problem("", "not_exact", str(error))


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a list, a table or a class that reads itself holds, each with its path; nothing for a plain value."""
    if isinstance(value, Mapping):
        yield from ((key[:KEY_SHOWN], item) for key, item in value.items())
    elif isinstance(value, tuple):
        yield from ((str(index), item) for index, item in enumerate(value))
    elif hasattr(value, "__numbers__"):
        yield from value.__numbers__()


@cache
def _fields(cls: Any) -> tuple[tuple[Any, bool], ...]:
    """The fields of a class of terms, each with whether its type speaks of amounts."""
    hints = get_type_hints(cls)
    return tuple((a, _speaks_of(hints[a.name], Amount)) for a in attrs.fields(cls))


def _speaks_of(kind: Any, wanted: Any) -> bool:
    return kind is wanted or any(_speaks_of(part, wanted) for part in get_args(kind))


__all__ = ["LARGEST_MINOR", "number_problems"]
