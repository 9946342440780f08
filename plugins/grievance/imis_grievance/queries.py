"""What can be asked of grievances: one with what was said, lists, and how many are dealt with in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.api import (
    Context,
    Listing,
    Refusal,
    claims,
    groups,
    not_found,
    persons,
    query,
    resolve_users,
    user_names,
)
from imis_grievance.holding import held_by
from imis_grievance.rules import AT_RISK_PARTS, SETTLED, clock
from imis_grievance.subjects import Subject, resolve, scheme_refusal
from imis_grievance.tables import grievance_categories, grievance_comments, grievances


@frozen(kw_only=True)
class GrievanceRef:
    grievance: str


@frozen(kw_only=True)
class GrievanceComment:
    """`kind`: comment, move, decision, close, reopen, appeal, or note for what the system itself tells."""

    at: datetime
    by: str
    kind: str
    text: str


@frozen(kw_only=True)
class Grievance:
    """`clock`: on_time, at_risk, breached or done; `reporter` is absent for an anonymous one."""

    id: str
    code: str
    status: str
    due: date
    clock: str
    scheme: str | None
    category: str
    channel: str
    priority: str
    description: str
    subject: Subject | None
    opened: date
    owner: str | None
    held: bool
    decision: str | None
    resolved: date | None
    reporter: str | None
    comments: tuple[GrievanceComment, ...]


@frozen(kw_only=True)
class GrievanceInfo:
    """A grievance in a list: without what people said."""

    id: str
    code: str
    status: str
    due: date
    clock: str
    scheme: str | None
    category: str
    channel: str
    priority: str
    subject: Subject | None
    opened: date
    owner: str | None
    held: bool
    decision: str | None


@query("grievances.show", input=GrievanceRef, result=Grievance)
def show(context: Context, asked: GrievanceRef) -> Grievance | Refusal:
    """A grievance with its clock as of today, its decision and everything that was said."""
    named = context.named(grievances, [asked.grievance], grievances.c.id, grievances.c.code)
    numbers = [row.id for _, row in named]
    row = context.execute(_select(context).where(grievances.c.id.in_(numbers))).first() if numbers else None
    if row is None:
        return not_found("grievance", "grievance", asked.grievance)
    said = context.execute(
        sa.select(grievance_comments).where(grievance_comments.c.grievance == row.id).order_by(grievance_comments.c.id)
    ).all()
    names = user_names(context, {*({row.owner} - {None}), *(one.by for one in said)})
    return Grievance(
        **_common(context, row, names),
        description=row.description,
        resolved=row.resolved_on,
        reporter=row.reporter_number or row.reporter,
        comments=tuple(GrievanceComment(at=o.at, by=names[o.by], kind=o.kind, text=o.text) for o in said),
    )


@frozen(kw_only=True)
class ListGrievances:
    """`owner`: a user's name or id, or a role; `category`: a code; `clock` as of today."""

    status: Literal["received", "open", "in_progress", "resolved", "closed", "reopened"] | None = None
    scheme: str | None = None
    subject: Subject | None = None
    category: str | None = None
    owner: str | None = None
    clock: Literal["on_time", "at_risk", "breached", "done"] | None = None


@query("grievances.list", input=ListGrievances, result=GrievanceInfo, listing=True)
def list_grievances(context: Context, asked: ListGrievances) -> Listing | Refusal:
    """Grievances that the caller may see, in the order in which they were opened."""
    conditions = _conditions(context, asked)
    if isinstance(conditions, Refusal):
        return conditions

    def build(rows: Sequence[Any]) -> list[GrievanceInfo]:
        names = user_names(context, {row.owner for row in rows if row.owner is not None})
        return [GrievanceInfo(**_common(context, row, names)) for row in rows]

    return Listing(
        _select(context).where(*conditions), (grievances.c.id,), build,
        sortable={"due": grievances.c.due, "code": grievances.c.code},
    )  # fmt: skip


def _conditions(context: Context, asked: ListGrievances) -> list[sa.ColumnElement[bool]] | Refusal:
    found: list[sa.ColumnElement[bool]] = []
    if asked.status is not None:
        found.append(grievances.c.status == asked.status)
    if asked.scheme is not None:
        refusal = scheme_refusal(context, asked.scheme, None)
        if refusal is not None:
            return refusal
        found.append(grievances.c.scheme == asked.scheme)
    if asked.category is not None:
        found.append(grievance_categories.c.code == asked.category)
    if asked.owner is not None:
        owner = resolve_users(context, [asked.owner]).get(asked.owner)
        if owner is None and asked.owner not in context.settings.roles:
            return not_found("owner", "user or role", asked.owner)
        found.append(grievances.c.owner_role == asked.owner if owner is None else grievances.c.owner == owner.id)
    if asked.clock is not None:
        found.append(clock_sql(context.today) == asked.clock)
    if asked.subject is not None:
        subject = resolve(context, [asked.subject])[asked.subject]
        if isinstance(subject, Refusal):
            return subject
        for column in ("order", "person", "group", "claim", "staff"):
            value = getattr(subject, column)
            if value is not None:
                found.append(grievances.c[column] == value)
    return found


def _select(context: Context) -> sa.Select[Any]:
    """Grievances with the names of what they are about, as far as the caller sees that."""
    reporters = persons.alias("reporters")
    return (
        sa.select(
            grievances, grievance_categories.c.code.label("category_code"),
            persons.c.number.label("person_number"), groups.c.code.label("group_code"),
            claims.c.code.label("claim_code"), reporters.c.number.label("reporter_number"),
            held_by(grievances.c.id).label("held"),
        )
        .join(grievance_categories, grievance_categories.c.id == grievances.c.category)
        .outerjoin(persons, sa.and_(persons.c.id == grievances.c.person, context.scoped(persons)))
        .outerjoin(groups, sa.and_(groups.c.id == grievances.c.group, context.scoped(groups)))
        .outerjoin(claims, sa.and_(claims.c.id == grievances.c.claim, context.scoped(claims)))
        .outerjoin(
            reporters, sa.and_(reporters.c.id == grievances.c.reporter_person, context.caller.sees_person(
                reporters.c.id, reporters.c.place
            ))
        )
        .where(context.scoped(grievances))
    )  # fmt: skip


def _common(context: Context, row: Any, names: dict[int, str]) -> dict[str, Any]:
    return {
        "id": context.ids.encode("grievances", row.id),
        "code": row.code,
        "status": row.status,
        "due": row.due,
        "clock": clock(row.status, row.due, row.days, context.today),
        "scheme": row.scheme,
        "category": row.category_code,
        "channel": row.channel,
        "priority": row.priority,
        "subject": _subject(context, row),
        "opened": row.opened_on,
        "owner": row.owner_role if row.owner is None else names[row.owner],
        "held": row.held,
        "decision": row.decision,
    }


def _subject(context: Context, row: Any) -> Subject | None:
    if row.order is not None:
        return Subject(order=context.ids.encode("orders", row.order))
    found = Subject(beneficiary=row.person_number or row.group_code, claim=row.claim_code, staff=row.staff)
    return found if found.kinds else None


def clock_sql(today: date) -> sa.ColumnElement[str]:
    """`rules.clock` as an expression over grievances."""
    left = grievances.c.due - sa.literal(today, sa.Date)
    return sa.case(
        (grievances.c.status.in_(SETTLED), "done"),
        (left < 0, "breached"),
        (AT_RISK_PARTS * sa.cast(left, sa.Integer) < grievances.c.days, "at_risk"),
        else_="on_time",
    )


@frozen(kw_only=True)
class AskPerformance:
    """Grievances opened `from` .. `to`, by default all."""

    from_: date | None = None
    to: date | None = None
    scheme: str | None = None


@frozen(kw_only=True)
class Performance:
    """Of the grievances opened: resolved in time and late, and still waiting in time and behind their due day.

    `in_time_percent`: those resolved in time of all that are resolved or behind their due day; absent if there is none.
    """

    category: str
    scheme: str | None
    opened: int
    in_time: int
    late: int
    waiting: int
    breached: int
    in_time_percent: Decimal | None


_HUNDREDTHS: Final = Decimal("0.01")


@query("grievances.performance", input=AskPerformance, result=Performance, listing=True)
def performance(context: Context, asked: AskPerformance) -> Listing | Refusal:
    """How many grievances are dealt with in time, by category and scheme."""
    if asked.scheme is not None:
        refusal = scheme_refusal(context, asked.scheme, None)
        if refusal is not None:
            return refusal
    table = grievances.c
    state = clock_sql(context.today)
    counted = (
        sa.select(
            grievance_categories.c.code.label("category"), table.scheme,
            sa.func.coalesce(table.scheme, "").label("scheme_order"),
            sa.func.count().label("opened"),
            sa.func.count().filter(state == "done", table.resolved_on <= table.due).label("in_time"),
            sa.func.count().filter(state == "done", table.resolved_on > table.due).label("late"),
            sa.func.count().filter(state.in_(("on_time", "at_risk"))).label("waiting"),
            sa.func.count().filter(state == "breached").label("breached"),
        )
        .join(grievance_categories, grievance_categories.c.id == table.category)
        .where(
            context.scoped(grievances),
            *([] if asked.from_ is None else [table.opened_on >= asked.from_]),
            *([] if asked.to is None else [table.opened_on <= asked.to]),
            *([] if asked.scheme is None else [table.scheme == asked.scheme]),
        )
        .group_by(grievance_categories.c.code, table.scheme)
        .subquery()
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[Performance]:
        return [
            Performance(
                category=row.category, scheme=row.scheme, opened=row.opened, in_time=row.in_time, late=row.late,
                waiting=row.waiting, breached=row.breached,
                in_time_percent=_percent(row.in_time, row.in_time + row.late + row.breached),
            )
            for row in rows
        ]  # fmt: skip

    return Listing(sa.select(counted), (counted.c.category, counted.c.scheme_order), build)


def _percent(part: int, whole: int) -> Decimal | None:
    return None if whole == 0 else (Decimal(100 * part) / whole).quantize(_HUNDREDTHS, ROUND_HALF_UP)
