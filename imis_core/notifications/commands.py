"""Commands of the room notifications: a user sends a message, or has one that failed tried again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.naming import name_problem
from imis_core.notifications.outbox import STATES, Message, deliver_later, notify
from imis_core.notifications.tables import notification_secrets, notifications
from imis_core.security.caller import denied


@frozen(kw_only=True)
class SendNotification:
    """One of `person` (id or number) and `to` (an address that a notifier understands)."""

    person: str | None = None
    to: str | None = None
    text: str
    subject: str | None = None


@frozen(kw_only=True)
class NotificationState:
    id: str
    status: str


@command("notifications.send", input=SendNotification, result=NotificationState)
def send(context: Context, items: tuple[SendNotification, ...]) -> list[NotificationState | Refusal]:
    """Queue a message to a person or to an address; it goes out after this command."""
    persons = resolve_persons(context, {item.person for item in items if item.person is not None})
    outcomes: list[Any] = [None] * len(items)
    messages: list[tuple[int, Message]] = []
    for position, item in enumerate(items):
        problems = _problems(item)
        person = None if item.person is None else persons.get(item.person)
        if problems:
            outcomes[position] = invalid(*problems)
        elif item.person is not None and person is None:
            outcomes[position] = not_found("person", "person", item.person)
        else:
            number = None if person is None else person.id
            messages.append((position, Message(text=item.text, to=item.to, person=number, subject=item.subject)))
    numbers = notify(context, [message for _, message in messages])
    for (position, _), identity in zip(messages, context.ids.encode_all("notifications", numbers), strict=True):
        outcomes[position] = NotificationState(id=identity, status="queued")
    return outcomes


def _problems(item: SendNotification) -> list[Problem]:
    found = []
    if (item.person is None) == (item.to is None):
        found.append(Problem("person", "required", "name one of person and to"))
    if item.to is not None and (problem := name_problem("to", item.to)) is not None:
        found.append(problem)
    if not item.text.strip():
        found.append(Problem("text", "required", "a message says something"))
    return found


@frozen(kw_only=True)
class RetryNotification:
    notification: str


_LOCKED: Final = sa.text(
    "SELECT notification AS id, state FROM core.notification_current WHERE notification = ANY(:numbers) "
    "ORDER BY notification FOR UPDATE"
)
_QUEUE_AGAIN: Final = sa.text(
    """
    WITH again AS (
        UPDATE core.notification_current SET state = 'queued', version = version + 1, attempts = 0
        WHERE notification = ANY(:numbers) RETURNING notification, version)
    INSERT INTO core.notification_states (notification, version, state, audit)
    SELECT notification, version, 'queued', :audit FROM again
    """
)


# What a message tells of an order redeems its voucher, and it may go to another telephone by now.
_GUARDED: Final[Mapping[str, str]] = {"orders": "payments.vouchers"}


@command("notifications.retry", input=RetryNotification, result=NotificationState)
def retry(context: Context, items: tuple[RetryNotification, ...]) -> list[NotificationState | Refusal]:
    """Queue a failed message again, with a fresh count of attempts; one that tells what redeems a voucher is for those
    who may see that (`payments.vouchers`)."""
    numbers = [context.ids.decode("notifications", item.notification) for item in items]
    wanted = sorted({n for n in numbers if n is not None})
    secret = notification_secrets.c.notification.is_not(None).label("secret")
    seen = {
        row.id: row
        for row in context.execute(
            sa.select(notifications.c.id, notifications.c.about_noun, secret)
            .outerjoin(notification_secrets, notification_secrets.c.notification == notifications.c.id)
            .where(notifications.c.id == any_of(wanted), context.scoped(notifications))
        )
    }
    states = {row.id: row.state for row in context.execute(_LOCKED, {"numbers": sorted(seen)})}
    outcomes: list[NotificationState | Refusal] = []
    chosen = []
    for item, number in zip(items, numbers, strict=True):
        if number is None or number not in states:
            outcomes.append(not_found("notification", "notification", item.notification))
        elif not context.caller.may(permission := _permission(seen[number])):
            outcomes.append(denied(permission))
        elif not STATES.allows(states[number], "queued"):
            outcomes.append(STATES.refusal("the message", states[number], "queued"))
        else:
            states[number] = "queued"
            chosen.append(number)
            outcomes.append(NotificationState(id=item.notification, status="queued"))
    if chosen:
        context.execute(_QUEUE_AGAIN, {"numbers": chosen, "audit": context.audit})
        deliver_later(context)
    return outcomes


def _permission(row: Any) -> str:
    """What it takes to have a message sent again."""
    return _GUARDED.get(row.about_noun, "notifications.retry") if row.secret else "notifications.retry"


COMMANDS: Final = (send, retry)
