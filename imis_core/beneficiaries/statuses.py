"""The command `beneficiaries.set_status`: a person is active or inactive from a day, for a reason.

Who is inactive is refused at claims and not eligible; death is a command of its own (`memberships.py`).
Source: health_insurance.md 1.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

import sqlalchemy as sa
from attrs import define, frozen

from imis_core.beneficiaries.changing import locked_persons
from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.beneficiaries.memberships import person_reference
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found

REASON_MAX = 200  # characters


@frozen(kw_only=True)
class SetStatus:
    person: str | None = None
    number: str | None = None
    status: Literal["active", "inactive"]
    on: date | None = None
    reason: str


@frozen(kw_only=True)
class StatusSet:
    id: str
    number: str
    status: str
    status_on: date


@define
class _Change:
    id: int
    number: str
    status: str
    on: date
    reason: str


@command("beneficiaries.set_status", input=SetStatus, result=StatusSet)
def set_statuses(context: Context, items: tuple[SetStatus, ...]) -> list[StatusSet | Refusal]:
    """Make a person inactive, or active again, from a day and for a reason."""
    references = [person_reference(item) for item in items]
    found = resolve_persons(context, {r for r in references if isinstance(r, str)})
    people = locked_persons(context, {row.id for row in found.values()})
    now = {number: person.status for number, person in people.items()}
    outcomes: list[_Change | Refusal] = []
    for item, reference in zip(items, references, strict=True):
        if isinstance(reference, Refusal):
            outcomes.append(reference)
            continue
        row = found.get(reference)
        person = None if row is None else people.get(row.id)
        on = item.on or context.today
        if person is None:
            outcomes.append(not_found("number" if item.person is None else "person", "person", reference))
        elif on > context.today:
            outcomes.append(invalid(Problem("on", "future", f"{on} lies in the future; today is {context.today}")))
        elif not item.reason.strip() or len(item.reason) > REASON_MAX or not item.reason.isprintable():
            outcomes.append(invalid(Problem("reason", "format", f"give a reason of 1 to {REASON_MAX} characters")))
        elif person.death_date is not None:
            message = f"person {person.number!r} died on {person.death_date}"
            outcomes.append(Refusal("beneficiaries.wrong_state", message))
        elif now[person.id] == item.status:
            message = f"person {person.number!r} is {item.status} already"
            outcomes.append(Refusal("beneficiaries.wrong_state", message))
        else:
            now[person.id] = item.status
            outcomes.append(_Change(person.id, person.number, item.status, on, item.reason))
    last = {o.id: o for o in outcomes if isinstance(o, _Change)}
    if last:
        context.execute(
            _SET,
            {
                "ids": list(last),
                "statuses": [o.status for o in last.values()],
                "days": [o.on for o in last.values()],
                "reasons": [o.reason for o in last.values()],
            },
        )
    ids = iter(context.ids.encode_all("persons", [o.id for o in outcomes if isinstance(o, _Change)]))
    return [
        o if isinstance(o, Refusal) else StatusSet(id=next(ids), number=o.number, status=o.status, status_on=o.on)
        for o in outcomes
    ]


_SET = sa.text(
    """
    UPDATE core.persons p SET status = n.status, status_on = n.day, status_reason = n.reason
    FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[]), CAST(:days AS date[]), CAST(:reasons AS text[]))
         AS n(id, status, day, reason)
    WHERE p.id = n.id
    """
)
