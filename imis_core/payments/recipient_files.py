"""Enrolment of recipients by files, both ways: who is to be enrolled with a provider, and the provider's answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.beneficiaries.tables import groups, memberships, persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import ImisError, Problem, Refusal, invalid, not_found, suggestion
from imis_core.parsing import InvalidInput, parse, plain
from imis_core.payments.provider_tables import columns_of, opened_table, rows_of
from imis_core.payments.recipients import ENROL, Address, Enrolment, EnrolRecipient, addresses_of, judge
from imis_core.payments.reconciling import UnreadableRow
from imis_core.payments.sources import batch_name, batch_of
from imis_core.payments.tables import order_current, orders, payment_providers, recipients
from imis_core.places.lookup import places_below, resolve_locations
from imis_core.places.tables import locations
from imis_core.queries import Listing, query

COLUMNS: Final = ("number", "facility", "account", "pay_point", "reason")
_ENROLLED: Final = ("number", "facility", "account", "pay_point")
REFUSED: Final = "refused"  # the code of a row in which the provider gives no address, but a reason


@frozen(kw_only=True)
class ListToEnrol:
    """Who has no address yet: of the unsent orders of a payroll or of refunds, else of the register.

    `unit`: the primary recipients of households, or every person. `location`: only that place and those below it.
    `scheme`: those with an address for that scheme or for all; absent: for all.
    """

    provider: str
    payroll: str | None = None
    refunds: str | None = None
    unit: Literal["household", "person"] = "household"
    location: str | None = None
    scheme: str | None = None


@frozen(kw_only=True)
class ToEnrol:
    """A person whom the provider is asked to enrol; it fills in `account` or `pay_point`, or a `reason` why not."""

    provider: str
    number: str
    given_name: str | None
    family_name: str | None
    sex: str
    birth_date: date | None
    location: str | None
    account: str | None = None
    pay_point: str | None = None
    reason: str | None = None


@query("payments.to_enrol", input=ListToEnrol, result=ToEnrol, listing=True)
def list_to_enrol(context: Context, asked: ListToEnrol) -> Listing | Refusal:
    """Persons without an address to be paid at, to be sent to a payment provider as a file; by number."""
    named = context.named(payment_providers, [asked.provider])
    if not named:
        return not_found("provider", "payment provider", asked.provider)
    if asked.scheme is not None and asked.scheme not in context.settings.schemes:
        message = f"there is no scheme {asked.scheme!r}{suggestion(asked.scheme, context.settings.schemes)}"
        return invalid(Problem("scheme", "unknown", message))
    chosen = _wanted(context, asked)
    if isinstance(chosen, Refusal):
        return chosen
    schemes = ("",) if asked.scheme is None else ("", asked.scheme)
    enrolled = sa.exists().where(
        recipients.c.person == persons.c.id, recipients.c.active, recipients.c.scheme.in_(schemes)
    )
    select = (
        sa.select(
            persons.c.number, persons.c.given_name, persons.c.family_name, persons.c.sex, persons.c.birth_date,
            locations.c.code.label("location"),
        )
        .outerjoin(locations, locations.c.id == persons.c.place)
        .where(persons.c.status == "active", context.scoped(persons), chosen, sa.not_(enrolled))
    )  # fmt: skip
    if asked.location is not None:
        place = resolve_locations(context, {asked.location}, within_scope=True).get(asked.location)
        if place is None:
            return not_found("location", "location", asked.location)
        below = places_below(context.connection, (place.id,))
        select = select.where(persons.c.place == any_of(below))
    provider = str(named[0][1].code)

    def build(rows: Sequence[Any]) -> list[ToEnrol]:
        # By name: a page has columns of its own beside these.
        return [
            ToEnrol(
                provider=provider, number=row.number, given_name=row.given_name, family_name=row.family_name,
                sex=row.sex, birth_date=row.birth_date, location=row.location,
            )
            for row in rows
        ]  # fmt: skip

    return Listing(select, (persons.c.number,), build)


def _wanted(context: Context, asked: ListToEnrol) -> sa.ColumnElement[bool] | Refusal:
    """Which persons are paid, or would be."""
    if batch_name(asked) is not None:
        batch = batch_of(context, asked)
        if isinstance(batch, Refusal):
            return batch
        unsent = (
            sa.select(orders.c.person)
            .join(order_current, order_current.c.order == orders.c.id)
            .where(
                orders.c.source_kind == batch[0], orders.c.source == batch[1].number,
                order_current.c.state == "approved", orders.c.person.is_not(None), context.scoped(orders),
            )
        )  # fmt: skip
        return persons.c.id.in_(unsent)
    if asked.unit == "person":
        return sa.true()
    primary = (
        sa.select(memberships.c.person)
        .join(groups, groups.c.id == memberships.c.group)
        .where(
            memberships.c.recipient == "primary", memberships.c.left_on.is_(None), groups.c.status == "active",
            context.scoped(groups),
        )
    )  # fmt: skip
    return persons.c.id.in_(primary)


@frozen(kw_only=True)
class EnrolFile:
    """`content`: a CSV, XLSX or NDJSON file as base64. A column `number` (of a person) or `facility`, and `account` or
    `pay_point`; a row without either is listed with its `reason`. Other columns are the provider's own matter."""

    provider: str
    name: str
    content: bytes = field(repr=False, metadata={"secret": "unrecorded"})
    scheme: str | None = None


@frozen(kw_only=True)
class FileEnrolled:
    """`unchanged`: who had exactly this address already; `awaiting`: who waits for a second person, under `approval`.

    `rows`: what was not taken, row by row, counted from 1 below the names of the columns; `refused`: by the provider.
    """

    loaded: int
    unchanged: int
    awaiting: int
    approval: str | None
    rows: tuple[UnreadableRow, ...]


@command("payments.enrol_file", input=EnrolFile, result=FileEnrolled, permission=ENROL)
def enrol_file(context: Context, items: tuple[EnrolFile, ...]) -> list[FileEnrolled | Refusal]:
    """Take a payment provider's file of enrolled recipients: each row is an enrolment, or is listed with its error."""
    outcomes: list[FileEnrolled | Refusal] = []
    for item in items:
        try:
            outcomes.append(_enrol_file(context, item))
        except ImisError as error:
            outcomes.append(error.refusal)
    return outcomes


COMMANDS: Final = (enrol_file,)
QUERIES: Final = (list_to_enrol,)


def _enrol_file(context: Context, item: EnrolFile) -> FileEnrolled | Refusal:
    named = context.named(payment_providers, [item.provider])
    if not named:
        return not_found("provider", "payment provider", item.provider)
    places, asked, wrong = _read(item)
    chosen: dict[Address, tuple[EnrolRecipient, Enrolment]] = {}
    for place, one, verdict in zip(places, asked, judge(context, asked), strict=True):
        if isinstance(verdict, Refusal):
            wrong.append(_wrong(place, verdict))
        elif verdict.address in chosen:
            wrong.append(UnreadableRow(row=place, field=None, code="not_unique"))
        else:
            chosen[verdict.address] = (one, verdict)
    current = addresses_of(context, list(chosen))
    fresh = [one for address, (one, verdict) in chosen.items() if current.get(address) != verdict.route]
    answers = context.perform(ENROL, [plain(one) for one in fresh]) if fresh else []
    wrong.sort(key=lambda row: row.row)
    approval = next((a["approval"] for a in answers if isinstance(a, dict) and "approval" in a), None)
    loaded = 0 if approval is not None else sum(not isinstance(answer, Refusal) for answer in answers)
    refused = [answer for answer in answers if isinstance(answer, Refusal)]
    if refused:
        # They were judged a moment ago in this transaction, so this is one that somebody else's change came between.
        raise ImisError(refused[0])
    return FileEnrolled(
        loaded=loaded, unchanged=len(chosen) - len(fresh), awaiting=0 if approval is None else len(fresh),
        approval=approval, rows=tuple(wrong),
    )  # fmt: skip


def _wrong(place: int, refusal: Refusal) -> UnreadableRow:
    problem = next(iter(refusal.problems), None)
    if problem is None:
        return UnreadableRow(row=place, field=None, code=refusal.code)
    return UnreadableRow(row=place, field=problem.path, code=problem.reason)


def _read(item: EnrolFile) -> tuple[list[int], list[EnrolRecipient], list[UnreadableRow]]:
    """The rows that name an address, with their places, and those that cannot be used."""
    places: list[int] = []
    asked: list[EnrolRecipient] = []
    with opened_table(item.name, item.content) as (name, table):
        lowered = {column.casefold() for column in table.columns}
        named = columns_of(name, table, () if "facility" in lowered else ("number",))
        wrong = [UnreadableRow(row=p.row, field=p.field, code=p.code) for p in table.problems]
        for place, cells in rows_of(table, named, COLUMNS):
            if "account" not in cells and "pay_point" not in cells and "reason" in cells:
                wrong.append(UnreadableRow(row=place, field="reason", code=REFUSED))
                continue
            try:
                given: dict[str, Any] = {column: cells[column] for column in _ENROLLED if column in cells}
                given |= {"provider": item.provider} | ({} if item.scheme is None else {"scheme": item.scheme})
                asked.append(parse(given, EnrolRecipient))
                places.append(place)
            except InvalidInput as error:
                wrong += [UnreadableRow(row=place, field=p.path, code=p.reason) for p in error.problems]
    return places, asked, wrong
