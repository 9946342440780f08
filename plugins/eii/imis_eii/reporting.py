"""Commands that report accidents at work and occupational diseases. Whether they are accepted is decided elsewhere.

Source: contract-eii.md, `eii.report_accident`; deadlines of the package in force on the day of the accident.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final, Literal

from attrs import frozen

from imis_core.api import (
    Context,
    Problem,
    Refusal,
    Version,
    add_months,
    command,
    denied,
    insert_rows,
    invalid,
    not_found,
    parsed_terms,
    person_reference,
    resolve_employers,
    resolve_persons,
    scheme_type,
    take_ids,
    versions_on,
)
from imis_eii.cases import REPORTED
from imis_eii.tables import accidents
from imis_eii.terms import EiiTerms

SCHEME_TYPE: Final = "eii"
OVERRIDE: Final = "eii.override"
CODE_DIGITS: Final = 6
Reporter = Literal["employer", "worker", "family"]


@frozen(kw_only=True)
class ReportAccident:
    """`place` and `how` tell where and how it happened; `reported_on` absent: today."""

    scheme: str
    package: str
    person: str | None = None
    number: str | None = None
    employer: str
    occurred_on: date
    reported_by: Reporter = "employer"
    reported_on: date | None = None
    place: str | None = None
    how: str | None = None
    override_reason: str | None = None


@frozen(kw_only=True)
class ReportDisease(ReportAccident):
    """`occurred_on`: the day on which the disease was found; `exposure`: to what, where and how long."""

    disease: str
    exposure: str


@frozen(kw_only=True)
class Reported:
    id: str
    code: str
    status: str


@command("eii.report_accident", input=ReportAccident, result=Reported)
def report_accident(context: Context, items: tuple[ReportAccident, ...]) -> list[Reported | Refusal]:
    """Report an accident at work, in time or with a reason why it comes late."""
    return _report(context, items, "accident")


@command("eii.report_disease", input=ReportDisease, result=Reported)
def report_disease(context: Context, items: tuple[ReportDisease, ...]) -> list[Reported | Refusal]:
    """Report an occupational disease with the exposure that it came from."""
    return _report(context, items, "disease")


@frozen
class _Accepted:
    """A report that is right, with the numbers of what it names."""

    position: int
    item: ReportAccident
    version: Version
    person: int
    employer: int
    reported_on: date


def _report(context: Context, items: Sequence[ReportAccident], form: str) -> list[Reported | Refusal]:
    names = [person_reference(item) for item in items]
    kinds = [_injury_scheme(context, item.scheme) for item in items]
    people = resolve_persons(context, {n for n in names if isinstance(n, str)})
    employers = resolve_employers(context, {item.employer for item in items})
    wanted = [
        (i.scheme, i.package, i.occurred_on)
        for i, kind in zip(items, kinds, strict=True)
        if not isinstance(kind, Refusal)
    ]
    versions = versions_on(context, wanted, lock=True)
    terms = parsed_terms(context, versions.values())
    outcomes: list[Any] = [None] * len(items)
    accepted: list[_Accepted] = []
    for position, (item, name, kind) in enumerate(zip(items, names, kinds, strict=True)):
        reported_on = item.reported_on or context.today
        if isinstance(kind, Refusal) or isinstance(name, Refusal):
            outcomes[position] = kind if isinstance(kind, Refusal) else name
            continue
        problems = _problems(context, item, reported_on)
        version = versions.get((item.scheme, item.package, item.occurred_on))
        if problems:
            outcomes[position] = invalid(*problems)
        elif name not in people:
            outcomes[position] = not_found("number" if item.person is None else "person", "person", name)
        elif item.employer not in employers:
            outcomes[position] = not_found("employer", "employer", item.employer)
        elif version is None:
            outcomes[position] = not_found("package", f"package on {item.occurred_on}", item.package)
        elif (late := _late(context, terms[version.id], item, reported_on)) is not None:
            outcomes[position] = late
        else:
            person, employer = people[name].id, employers[item.employer].id
            accepted.append(_Accepted(position, item, version, person, employer, reported_on))
    for one, reported in zip(accepted, _store(context, accepted, form), strict=True):
        outcomes[one.position] = reported
    return outcomes


def _injury_scheme(context: Context, scheme: str) -> str | Refusal:
    """The scheme, if it is one of employment injury."""
    kind = scheme_type(context, scheme)
    if isinstance(kind, Refusal):
        return kind
    if kind.name != SCHEME_TYPE:
        return invalid(Problem("scheme", "type", f"{scheme!r} is no scheme of employment injury"))
    return scheme


def _problems(context: Context, item: ReportAccident, reported_on: date) -> list[Problem]:
    found = []
    if item.occurred_on > context.today:
        found.append(Problem("occurred_on", "future", f"{item.occurred_on} lies in the future"))
    if reported_on > context.today:
        found.append(Problem("reported_on", "future", f"{reported_on} lies in the future; today is {context.today}"))
    if reported_on < item.occurred_on:
        found.append(Problem("reported_on", "order", f"{reported_on} is before the accident ({item.occurred_on})"))
    for name in ("disease", "exposure"):
        if isinstance(item, ReportDisease) and not getattr(item, name).strip():
            found.append(Problem(name, "required", "this field is required"))
    return found


def _late(context: Context, terms: EiiTerms, item: ReportAccident, reported_on: date) -> Refusal | None:
    """`eii.report_late` after the deadline, unless somebody who may do so gives a reason."""
    deadlines = terms.deadlines
    last = date.max
    if item.reported_by == "employer" and deadlines.report_days is not None:
        last = _days_later(item.occurred_on, deadlines.report_days)
    elif item.reported_by != "employer" and deadlines.claim_months is not None:
        last = add_months(item.occurred_on, deadlines.claim_months)
    if reported_on <= last:
        return None
    if not (item.override_reason and item.override_reason.strip()):
        message = f"the last day to report was {last}; give override_reason (permission {OVERRIDE})"
        return Refusal("eii.report_late", message)
    return None if context.caller.may(OVERRIDE) else denied(OVERRIDE)


def _days_later(start: date, days: int) -> date:
    """So many days later, at most the calendar's last day."""
    return date.max if days > (date.max - start).days else start + timedelta(days=days)


def _store(context: Context, accepted: Sequence[_Accepted], form: str) -> list[Reported]:
    numbers = take_ids(context.connection, accidents, len(accepted))
    codes = [f"EII-{number:0{CODE_DIGITS}d}" for number in numbers]
    items = [one.item for one in accepted]
    insert_rows(
        context.connection,
        accidents,
        {
            "id": numbers,
            "code": codes,
            "scheme": [item.scheme for item in items],
            "package_version": [one.version.id for one in accepted],
            "person": [one.person for one in accepted],
            "employer": [one.employer for one in accepted],
            "form": [form] * len(accepted),
            "occurred_on": [item.occurred_on for item in items],
            "reported_on": [one.reported_on for one in accepted],
            "reported_by": [item.reported_by for item in items],
            "place": [item.place for item in items],
            "how": [item.how for item in items],
            "disease": [getattr(item, "disease", None) for item in items],
            "exposure": [getattr(item, "exposure", None) for item in items],
            "override_reason": [item.override_reason for item in items],
            "status": [REPORTED] * len(accepted),
            "currency": [one.version.currency for one in accepted],
            "steps": ["[]"] * len(accepted),
        },
    )
    identities = context.ids.encode_all("accidents", numbers)
    return [Reported(id=i, code=c, status=REPORTED) for i, c in zip(identities, codes, strict=True)]


COMMANDS = (report_accident, report_disease)
