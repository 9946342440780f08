"""Searches: FHIR's parameters as filters of a query, and pages as searchset Bundles with links to the next one.

What is asked is answered or refused: an unknown parameter is passed over only if the client says it is lenient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import MAXYEAR, date, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from attrs import define, field, frozen

from imis_core.api import ImisError, MappingFilter, ResourceMapping, RouteRequest, suggestion
from imis_fhir.forms import Wrong, referred
from imis_fhir.outcomes import FhirRefused, Issue
from imis_fhir.systems import CANONICAL, Style, name_of_system
from imis_fhir.writing import to_fhir

COUNT: Final = 50  # matches of a page where the client does not say
COUNT_MAX: Final = 500
CURSOR: Final = "_cursor"
_CONTROLS: Final = frozenset({"_count", CURSOR, "_format", "_pretty", "_total"})
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.ASCII | re.IGNORECASE)
_DATE: Final = re.compile(r"(eq|ge|gt|le|lt|sa|eb)?(\d{4})(?:-(\d\d))?(?:-(\d\d))?\Z", re.ASCII)
_UNESCAPED_COMMA: Final = re.compile(r"(?<!\\),")
_ESCAPED: Final = re.compile(r"\\([,$|\\])")
_FORMATS: Final = frozenset({"json", "application/json", "application/fhir+json", "application/fhir json"})
Data = dict[str, Any]


class NoMatch(Exception):
    """What is asked can match nothing: a foreign system, or two values of one field."""


@frozen
class Kind:
    """A kind of parameter: FHIR's type, the parts that a mapping must name, and how its values are read."""

    type: str
    fields: frozenset[str]
    read: Callable[[str, MappingFilter, str], list[Data]]


def _plain(value: str, one: MappingFilter, base: str) -> list[Data]:
    return [{one.fields[""]: value}]


def _code(value: str, one: MappingFilter, base: str) -> list[Data]:
    code = value.rpartition("|")[2]
    ours = {theirs: ours for ours, theirs in one.codes.items()}
    if one.codes and code not in ours:
        raise NoMatch
    return [{one.fields[""]: ours.get(code, code)}]


def _token(value: str, one: MappingFilter, base: str) -> list[Data]:
    """`value`, `system|value`; a value without a system may be a business code or the server's own id."""
    system, bar, code = value.rpartition("|")
    if not code:
        raise Wrong("not-supported", "searching for a whole system is not supported; name a value as well")
    name = name_of_system(system) if bar else ""
    if bar and not system:
        raise NoMatch  # a value without a system: all of ours have one
    if name == "":
        found = [{one.fields[""]: code}]
        if "uuid" in one.fields and _UUID.match(code):
            found.append({one.fields["uuid"]: code})
        return found
    if name is not None and name in one.fields and name not in ("*", "system"):
        return [{one.fields[name]: code}]
    if "*" not in one.fields:
        raise NoMatch
    return [{one.fields["*"]: code, one.fields["system"]: name or system}]


def _reference(value: str, one: MappingFilter, base: str) -> list[Data]:
    return [{one.fields[""]: referred(value, one.of, base) if "/" in value else value}]


def _days(value: str, one: MappingFilter, base: str) -> list[Data]:
    match = _DATE.match(value)
    if match is None:
        raise Wrong("value", f"expected a date such as 2021-01-31, 2021-01 or ge2021, found {value[:40]!r}")
    comparison = match[1] or "eq"
    first, last = _period(match)
    found: Data = {}
    try:
        if comparison in ("eq", "ge"):
            found[one.fields["from"]] = first.isoformat()
        if comparison in ("gt", "sa"):
            found[one.fields["from"]] = (last + timedelta(days=1)).isoformat()
        if comparison in ("eq", "le"):
            found[one.fields["to"]] = last.isoformat()
        if comparison in ("lt", "eb"):
            found[one.fields["to"]] = (first - timedelta(days=1)).isoformat()
    except OverflowError:
        raise NoMatch from None
    return [found]


def _period(match: re.Match[str]) -> tuple[date, date]:
    """The first and the last day that a year, a month or a day stands for."""
    year, month, day = int(match[2]), int(match[3] or 1), int(match[4] or 1)
    try:
        first = date(year, month, day)
    except ValueError:
        raise Wrong("value", f"there is no such day: {match[0]}") from None
    if match[4]:
        return first, first
    following = (year, month + 1) if match[3] and month < 12 else (year + 1, 1)
    return first, date.max if following[0] > MAXYEAR else date(*following, 1) - timedelta(days=1)


# The kinds of parameters, with the parts that their mapping names.
KINDS: Final[Mapping[str, Kind]] = {
    "id": Kind("token", frozenset({""}), _plain),
    "token": Kind("token", frozenset({""}), _token),
    "code": Kind("token", frozenset({""}), _code),
    "string": Kind("string", frozenset({""}), _plain),
    "reference": Kind("reference", frozenset({""}), _reference),
    "date": Kind("date", frozenset({"from", "to"}), _days),
}


@define
class Asked:
    """What a search asks: alternatives of filters, of which the first with a match is answered, and the page."""

    alternatives: list[Data] = field(factory=lambda: [{}])
    count: int = COUNT
    cursor: str | None = None
    used: list[tuple[str, str]] = field(factory=list)
    impossible: bool = False


def lenient(request: RouteRequest) -> bool:
    """Whether the client lets the server pass over what it does not know."""
    return "handling=lenient" in request.headers.get("prefer", "").replace(" ", "").lower()


def read_parameters(mapping: ResourceMapping, request: RouteRequest, base: str) -> Asked:
    """The parameters of a search. Raises `FhirRefused` with every one that is wrong or unknown."""
    asked, issues = Asked(), []
    known = {one.name: one for one in mapping.filters}
    for name, value in request.parameters:
        try:
            if name in _CONTROLS:
                _control(asked, name, value)
            elif name in known:
                _filter(asked, known[name], value, base)
            elif ":" in name and name.partition(":")[0] in known:
                raise Wrong("not-supported", f"the modifier of {name!r} is not supported here")
            elif lenient(request):
                continue
            else:
                message = f"{mapping.resource} has no search parameter {name[:60]!r}{suggestion(name, known)}"
                raise Wrong("not-supported", message)
        except Wrong as wrong:
            issues.append(Issue(wrong.code, "input.invalid", wrong.message, location=f"http.{name[:60]}"))
            continue
        if name != CURSOR:
            asked.used.append((name, value))
    if issues:
        raise FhirRefused(400, *issues)
    return asked


def _control(asked: Asked, name: str, value: str) -> None:
    if name == "_count":
        if not (value.isascii() and value.isdigit() and len(value) <= 6 and int(value) > 0):
            raise Wrong("value", "expected a whole number above 0")
        asked.count = min(int(value), COUNT_MAX)
    elif name == CURSOR:
        asked.cursor = value
    elif name == "_format" and value not in _FORMATS:
        raise Wrong("not-supported", "only JSON is spoken here")
    elif name == "_total" and value != "none":
        raise Wrong("not-supported", "matches are not counted here; leave _total out")


def _filter(asked: Asked, one: MappingFilter, value: str, base: str) -> None:
    if not value.strip():
        raise Wrong("value", "the parameter is empty")
    if _UNESCAPED_COMMA.search(value):
        raise Wrong("not-supported", "several values (a,b) are not supported; ask for one at a time")
    kind = KINDS[one.form]
    text = value if one.form == "token" else _ESCAPED.sub(r"\1", value)
    try:
        found = kind.read(text, one, base)
        asked.alternatives = [_both(a, b) for a in asked.alternatives for b in found]
    except NoMatch:
        asked.impossible = True


def _both(first: Data, second: Data) -> Data:
    """Two filters at once. Dates narrow each other; another field with two values matches nothing."""
    merged = dict(first)
    for name, value in second.items():
        if name in merged and merged[name] != value:
            if name.endswith("_from"):
                value = max(value, merged[name])
            elif name.endswith("_to"):
                value = min(value, merged[name])
            else:
                raise NoMatch
        merged[name] = value
    return merged


def search(mapping: ResourceMapping, request: RouteRequest, base: str, style: Style) -> dict[str, Any]:
    """A searchset Bundle: one page of what the caller may see. Raises `FhirRefused` and `ImisError`."""
    asked = read_parameters(mapping, request, base)
    items, following = _matches(mapping, request, asked)
    links = [{"relation": "self", "url": _link(base, mapping.resource, asked.used)}]
    if following is not None:
        links.append({"relation": "next", "url": _link(base, mapping.resource, [*asked.used, (CURSOR, following)])})
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "link": links}
    if items:
        bundle["entry"] = [
            {
                "fullUrl": f"{base}/{mapping.resource}/{item['id']}",
                "resource": to_fhir(mapping, item, style),
                "search": {"mode": "match"},
            }
            for item in items
        ]
    return bundle


def _matches(mapping: ResourceMapping, request: RouteRequest, asked: Asked) -> tuple[list[Any], str | None]:
    # What can match nothing is asked all the same, so that permissions are checked alike.
    alternatives: Iterable[Data] = [{"id": CANONICAL}] if asked.impossible else asked.alternatives
    for data in alternatives:
        try:
            page = request.page(mapping.query, data, limit=asked.count, cursor=asked.cursor)
        except ImisError as error:
            fields = {problem.path for problem in error.refusal.problems}
            if error.code == "not_found" and fields <= set(data):
                continue  # what a reference names is not there for this caller, so nothing matches
            raise
        if page.items:
            return page.items, page.next
    return [], None


def _link(base: str, resource: str, parameters: Iterable[tuple[str, str]]) -> str:
    query = urlencode(list(parameters))
    return f"{base}/{resource}?{query}" if query else f"{base}/{resource}"
