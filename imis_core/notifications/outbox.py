"""The outbox of messages: queued in the transaction of what they tell about, delivered after it by a job.

A message exists exactly if its transaction commits. This module sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from attrs import field, frozen

from imis_core.context import Context
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.database.engine import set_scope
from imis_core.notifications.tables import notification_current, notification_states, notifications
from imis_core.security.caller import system_caller
from imis_core.states import StateTable

DELIVER: Final = "core.deliver_notifications"  # the job of `notifications.delivery`
HOLE: Final = "{secret}"  # in a text: where the secret of a message goes
PURPOSE: Final = "notification"  # of what is encrypted, with the message's number: it opens for that message alone
STATES: Final = StateTable("notifications", {"queued": ("sent", "failed"), "failed": ("queued",), "sent": ()})


@frozen(kw_only=True)
class Message:
    """What is told to whom: one of `to` (an address), `person` and `user` (their numbers inside).

    `about`: noun and number of what it is about. `secret` stands in the place of `{secret}` when it goes out; before
    that it is encrypted, and afterwards it is nowhere.
    """

    text: str
    to: str | None = None
    person: int | None = None
    user: int | None = None
    subject: str | None = None
    about: tuple[str, int] | None = field(default=None)
    secret: str | None = field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if sum(recipient is not None for recipient in (self.to, self.person, self.user)) != 1:
            raise ValueError("a message goes to exactly one of to, person and user")


def notify(context: Context, messages: Sequence[Message]) -> list[int]:
    """Queue messages; their numbers in order. They go out after this transaction has committed."""
    if not messages:
        return []
    count = len(messages)
    numbers = take_ids(context.connection, notifications, count)
    # Whoever decides may tell a person whom they do not see: the row is written without being shown to them.
    set_scope(context.connection, system_caller())
    insert_rows(
        context.connection,
        notifications,
        {
            "id": numbers,
            "person": [m.person for m in messages],
            "user": [m.user for m in messages],
            "to": [m.to for m in messages],
            "subject": [m.subject for m in messages],
            "text": [m.text for m in messages],
            "about_noun": [None if m.about is None else m.about[0] for m in messages],
            "about": [None if m.about is None else m.about[1] for m in messages],
            "queued_by": [context.caller.user] * count,
            "queued_at": [context.now] * count,
            "audit": [context.audit] * count,
        },
    )
    set_scope(context.connection, context.caller)
    states, versions = ["queued"] * count, [1] * count
    insert_rows(
        context.connection,
        notification_states,
        {"notification": numbers, "version": versions, "state": states, "audit": [context.audit] * count},
    )
    insert_rows(
        context.connection,
        notification_current,
        {"notification": numbers, "state": states, "version": versions},
    )
    sealed = [(n, m.secret) for n, m in zip(numbers, messages, strict=True) if m.secret is not None]
    if sealed:
        contents = [context.ids.wrap(secret.encode(), f"{PURPOSE} {n}") for n, secret in sealed]
        context.execute(_SEAL, {"numbers": [n for n, _ in sealed], "contents": contents})
    deliver_later(context)
    return numbers


_SEAL: Final = sa.text(
    "INSERT INTO core.notification_secrets (notification, content) "
    "SELECT * FROM unnest(CAST(:numbers AS bigint[]), CAST(:contents AS bytea[]))"
)
_FORGET: Final = sa.text(
    "UPDATE core.notification_secrets s SET content = NULL FROM core.notifications n "
    "WHERE n.id = s.notification AND n.about_noun = :noun AND n.about = ANY(CAST(:numbers AS bigint[]))"
)


def forget_secrets(context: Context, noun: str, numbers: Sequence[int]) -> None:
    """Forget what messages about these have not told yet: it is worth nothing any more, and they fail."""
    if numbers:
        context.execute(_FORGET, {"noun": noun, "numbers": list(numbers)})


def deliver_later(context: Context) -> None:
    """Let a worker deliver what this transaction queues. Two such jobs never run side by side."""
    context.defer(DELIVER, {"attempts": 0}, lock=DELIVER)
