"""Queries of the room notifications: what was told to whom, and what did not get there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.notifications.tables import notification_current, notifications
from imis_core.queries import Listing, query
from imis_core.security.tables import users


@frozen(kw_only=True)
class ListNotifications:
    """`person`: id or number; `about`: the id of what messages are about."""

    status: Literal["queued", "sent", "failed"] | None = None
    person: str | None = None
    about: str | None = None


@frozen(kw_only=True)
class Notification:
    """`to`: an address or a user's name; `person`: a number; `reason`: why the last attempt failed."""

    id: str
    status: str
    to: str | None
    person: str | None
    subject: str | None
    text: str
    about: str | None
    attempts: int
    reason: str | None
    queued_at: datetime


@query("notifications.list", input=ListNotifications, result=Notification, listing=True)
def list_notifications(context: Context, asked: ListNotifications) -> Listing | Refusal:
    """Messages to persons, users and addresses, in the order in which they were queued."""
    table, current = notifications.c, notification_current.c
    select = (
        sa.select(
            table.id, table.subject, table.text, table.about_noun, table.about, table.queued_at,
            current.state, current.attempts, current.reason,
            sa.func.coalesce(table.to, users.c.name).label("to"), persons.c.number.label("person"),
        )
        .join(notification_current, current.notification == table.id)
        .outerjoin(users, users.c.id == table.user)
        .outerjoin(persons, sa.and_(persons.c.id == table.person, context.scoped(persons)))
        .where(context.scoped(notifications))
    )  # fmt: skip
    if asked.status is not None:
        select = select.where(current.state == asked.status)
    if asked.person is not None:
        person = resolve_persons(context, [asked.person]).get(asked.person)
        if person is None:
            return not_found("person", "person", asked.person)
        select = select.where(table.person == person.id)
    if asked.about is not None:
        subject = context.ids.decode_any(asked.about)
        if subject is None:
            return not_found("about", "entity", asked.about)
        select = select.where(table.about_noun == subject[0], table.about == subject[1])

    def build(rows: Sequence[Any]) -> list[Notification]:
        ids = context.ids.encode_all("notifications", [row.id for row in rows])
        return [
            Notification(
                id=identity, status=row.state, to=row.to, person=row.person, subject=row.subject, text=row.text,
                about=None if row.about is None else context.ids.encode(row.about_noun, row.about),
                attempts=row.attempts, reason=row.reason, queued_at=row.queued_at,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (table.id,), build)


QUERIES: Final = (list_notifications,)
