"""The account mapper's history: where a person or a facility was paid, since when, and who said and agreed so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.payments.tables import pay_points, payment_providers, recipients
from imis_core.places.lookup import resolve_providers
from imis_core.queries import Listing, query
from imis_core.runtime_tables import audit_entries
from imis_core.security.tables import users


@frozen(kw_only=True)
class ListAddresses:
    """One of `number`, `person` and `facility`."""

    number: str | None = None
    person: str | None = None
    facility: str | None = None


@frozen(kw_only=True)
class AddressKept:
    """An address as it was enrolled: by `actor`, agreed to by `approver` if that was needed, and until when it held.

    `scheme` absent: for every scheme without one of its own. `until` absent: it holds now.
    """

    id: str
    scheme: str | None
    provider: str
    account: str | None
    pay_point: str | None
    since: datetime
    until: datetime | None
    actor: str
    approver: str | None


@query("payments.addresses", input=ListAddresses, result=AddressKept, listing=True)
def list_addresses(context: Context, asked: ListAddresses) -> Listing | Refusal:
    """Every address that a person or a facility was ever paid at, with who changed it and who agreed; as they came."""
    named = [name for name in ("number", "person", "facility") if getattr(asked, name) is not None]
    if len(named) != 1:
        return invalid(Problem("number", "required", "name one of number, person, facility"))
    holder: sa.ColumnElement[bool]
    if asked.facility is not None:
        facility = resolve_providers(context, {asked.facility}, within_scope=True).get(asked.facility)
        if facility is None:
            return not_found("facility", "provider", asked.facility)
        holder = recipients.c.provider == facility.id
    else:
        name = asked.person or asked.number or ""
        person = resolve_persons(context, {name}).get(name)
        if person is None:
            return not_found(named[0], "person", name)
        context.tells_of([person.id])
        holder = recipients.c.person == person.id
    history = recipients.info["history"]
    first, ended = history.alias("first_version"), history.alias("ended_version")
    made, replaced = audit_entries.alias("made"), audit_entries.alias("replaced")
    actor, approver = users.alias("actor"), users.alias("approver")
    # It ends with the first version in which it is not active, whatever changed later (a merge of persons).
    end = (
        sa.select(sa.func.min(ended.c.audit))
        .where(ended.c.id == recipients.c.id, ended.c.active.is_(False))
        .correlate(recipients)
        .scalar_subquery()
    )
    select = (
        sa.select(
            recipients.c.id, recipients.c.scheme, recipients.c.account, payment_providers.c.code.label("provider"),
            pay_points.c.code.label("pay_point"), made.c.at.label("since"), replaced.c.at.label("until"),
            actor.c.name.label("actor"), approver.c.name.label("approver"),
        )
        .join(payment_providers, payment_providers.c.id == recipients.c.payment_provider)
        .join(first, sa.and_(first.c.id == recipients.c.id, first.c.version == 1))
        .join(made, made.c.id == first.c.audit)
        .outerjoin(replaced, sa.and_(replaced.c.id == end, sa.not_(recipients.c.active)))
        .outerjoin(pay_points, pay_points.c.id == recipients.c.pay_point)
        .outerjoin(actor, actor.c.id == made.c.actor)
        .outerjoin(approver, approver.c.id == made.c.approver)
        .where(holder, context.scoped(recipients))
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[AddressKept]:
        return [
            AddressKept(
                id=identity, scheme=row.scheme or None, provider=row.provider, account=row.account,
                pay_point=row.pay_point, since=row.since, until=row.until, actor=row.actor or "system",
                approver=row.approver,
            )
            for identity, row in zip(
                context.ids.encode_all("recipients", [row.id for row in rows]), rows, strict=True
            )
        ]  # fmt: skip

    return Listing(select, (recipients.c.id,), build)


QUERIES: Final = (list_addresses,)
