"""What a Claim says beyond its mapping: sums, currencies, the coverage, and days of service.

Each is compared with what the kernel computes or keeps and then taken out; what does not agree is refused at its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from attrs import define, field

from imis_core.api import MINOR_UNITS
from imis_fhir.forms import Wrong, number, referred
from imis_fhir.reading import Issue, Place

SchemeOf = Callable[[str, str], str | None]


@define
class Prepared:
    """A Claim without what was compared, the problems found, the currencies named with their places, the scheme."""

    resource: dict[str, Any]
    issues: list[Issue] = field(factory=list)
    currencies: list[tuple[Place, str]] = field(factory=list)
    scheme: str | None = None  # of the coverage

    def wrong(self, code: str, message: str, *place: str | int) -> None:
        self.issues.append(Issue(code, place, message))


def prepare(claim: Mapping[str, Any], base: str, scheme_of: SchemeOf) -> Prepared:
    """The Claim as its mapping reads it. `scheme_of(coverage id, patient reference's id)`: the coverage's scheme."""
    prepared = Prepared(deepcopy(dict(claim)))
    prepared.currencies = list(_currencies(prepared.resource, ()))
    _sums(prepared)
    _service_days(prepared)
    _coverage(prepared, base, scheme_of)
    return prepared


def check_currency(prepared: Prepared, currency: str | None) -> None:
    """Every amount is in the scheme's currency; amounts are not converted."""
    for place, named in prepared.currencies:
        if currency is not None and named != currency:
            prepared.wrong("value", f"the scheme's currency is {currency}, found {str(named)[:10]!r}", *place)


def _currencies(node: Any, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(node, dict):
        for name, part in node.items():
            if name == "currency":
                yield (*place, name), part
            else:
                yield from _currencies(part, (*place, name))
    elif isinstance(node, list):
        for position, part in enumerate(node):
            yield from _currencies(part, (*place, position))


def _items(prepared: Prepared) -> list[tuple[int, dict[str, Any]]]:
    items = prepared.resource.get("item")
    if not isinstance(items, list):
        return []
    return [(position, item) for position, item in enumerate(items) if isinstance(item, dict)]


def _sums(prepared: Prepared) -> None:
    """`net` is quantity x unit price, rounded half up to the minor unit; `total` is the sum of the lines."""
    lines: list[Decimal | None] = []
    for position, item in _items(prepared):
        item.setdefault("quantity", {"value": 1})  # an item without a quantity is one
        net = _product(item)
        lines.append(net)
        _compare(prepared, item, "net", net, ("item", position))
    known = [line for line in lines if line is not None]
    _compare(prepared, prepared.resource, "total", sum(known, Decimal(0)) if len(known) == len(lines) else None, ())


def _product(item: Mapping[str, Any]) -> Decimal | None:
    price = item.get("unitPrice")
    try:
        if not isinstance(price, dict) or not isinstance(item["quantity"], dict):
            return None
        exact = number(item["quantity"].get("value")) * number(price.get("value"))
    except Wrong:
        return None  # the mapping tells what is wrong with it
    decimals = MINOR_UNITS.get(price["currency"]) if isinstance(price.get("currency"), str) else None
    return exact if decimals is None else exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def _compare(prepared: Prepared, holder: dict[str, Any], name: str, computed: Decimal | None, place: Place) -> None:
    given = holder.get(name)
    if not isinstance(given, dict) or computed is None or set(given) - {"value", "currency", "id"}:
        return
    del holder[name]
    try:
        if number(given.get("value")) != computed:
            prepared.wrong("invariant", f"this is {computed:f} by quantities and prices", *place, name, "value")
    except Wrong as wrong:
        prepared.wrong(wrong.code, wrong.message, *place, name, "value")


def _service_days(prepared: Prepared) -> None:
    """Days of service lie in the claim's period, which they make where it is left out; the kernel keeps the period."""
    days: list[tuple[Place, str]] = []
    for position, item in _items(prepared):
        serviced = item.get("servicedDate")
        if isinstance(serviced, str):
            days.append((("item", position, "servicedDate"), serviced))
            del item["servicedDate"]
    if not days:
        return
    period = prepared.resource.setdefault("billablePeriod", {})
    if not isinstance(period, dict):
        return
    if not period:
        period.update(start=min(day for _, day in days), end=max(day for _, day in days))
    start, end = str(period.get("start", "")), str(period.get("end", period.get("start", "")))
    for place, day in days:
        if not start[:10] <= day <= end[:10]:
            prepared.wrong("invariant", "the day of service lies outside the claim's billablePeriod", *place)


def _coverage(prepared: Prepared, base: str, scheme_of: SchemeOf) -> None:
    """A coverage names the scheme: by its own reference, which is the patient's, or by the scheme's identifier."""
    insurance = prepared.resource.get("insurance")
    if not isinstance(insurance, list) or not insurance:
        prepared.wrong("required", "a claim names the insurance that it asks", "insurance")
        return
    place: Place = ("insurance", 0, "coverage")
    coverage = insurance[0].get("coverage") if isinstance(insurance[0], dict) else None
    if not isinstance(coverage, dict):
        prepared.wrong("required", "expected a reference to a Coverage, or the scheme's identifier", *place)
        return
    if "reference" not in coverage:
        insurer = prepared.resource.setdefault("insurer", deepcopy(coverage))
        if _scheme_named(insurer) not in (None, _scheme_named(coverage)):
            prepared.wrong("invariant", "this names another scheme than the insurer", *place)
        del insurance[0]["coverage"]
        return
    try:
        found = referred(coverage["reference"], "Coverage", base)
        patient = prepared.resource.get("patient")
        named = patient.get("reference") if isinstance(patient, dict) else None
        scheme = scheme_of(found, "" if named is None else referred(named, "Patient", base))
    except Wrong as wrong:
        prepared.wrong(wrong.code, wrong.message, *place, *wrong.below)
        return
    if scheme is None:
        prepared.wrong("not-found", "there is no such coverage of this patient that you may see", *place, "reference")
        return
    del insurance[0]["coverage"]
    prepared.scheme = scheme
    named_scheme = _scheme_named(prepared.resource.get("insurer"))
    if named_scheme not in (None, scheme):
        prepared.wrong("invariant", f"the coverage is of the scheme {scheme!r}", "insurer")


def _scheme_named(reference: Any) -> Any:
    """The value of a logical reference; None where it has none."""
    identifier = reference.get("identifier") if isinstance(reference, dict) else None
    return identifier.get("value") if isinstance(identifier, dict) else None
