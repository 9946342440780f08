"""Notifiers: how a message leaves the system. The kernel brings `file`; plugins register gateways (SMS, e-mail).

A message goes through the first notifier that is set up and takes it: those of plugins by name, then the kernel's.
Delivery is at least once: a notifier that must not repeat itself goes by the message's `id`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from attrs import field, frozen

if TYPE_CHECKING:
    from imis_core.application import Application

FOLDER: Final = "notifications"  # below the deployment's var


@frozen
class Outgoing:
    """A message as a notifier gets it.

    `to` is an address as it was given, a user's name, or a person's telephone (the attribute `telephone`), else the
    person's number; `person` is that number, None for others; `email` is a person's address (the attribute `email`).
    `id` stays the same when the message is tried again. `secret`: its text says what nobody but the recipient may read.
    """

    id: str
    to: str
    person: str | None
    subject: str | None
    text: str = field(repr=False)
    about: str | None
    email: str | None = None
    secret: bool = False


@frozen
class Outcome:
    """What became of a message: delivered, or why not; `final` says that trying again would be useless."""

    delivered: bool
    reason: str | None = None
    final: bool = False


def _everything(_: Outgoing) -> bool:
    return True


def _always(_: Application) -> bool:
    return True


@frozen
class Notifier:
    """A way out. `send(app, messages)` gives one outcome per message, in order; it may raise, which fails them all.

    `takes` says which messages are its business, by default all; `ready` whether it is set up in this deployment, by
    default always. Of the kernel's, those of a lower `rank` are asked first. `app.plugin_settings` has its plugin's
    settings. `leaves`: what it takes leaves this system for the recipient alone; only such a one is given a secret.
    """

    name: str
    send: Callable[[Application, Sequence[Outgoing]], Sequence[Outcome]]
    takes: Callable[[Outgoing], bool] = _everything
    ready: Callable[[Application], bool] = _always
    rank: int = 0
    leaves: bool = False


def _append(app: Application, messages: Sequence[Outgoing]) -> list[Outcome]:
    """One line of JSON per message in the day's file, on the disk before this returns; all of them or none."""
    at = app.clock.now()
    lines = b"".join(
        msgspec.json.encode(
            {
                "id": m.id, "at": at, "to": m.to, "person": m.person,
                "subject": m.subject, "text": m.text, "about": m.about,
            }
        )
        + b"\n"
        for m in messages
    )  # fmt: skip
    folder = app.var / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / f"{app.clock.today()}.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)  # no half line stays
            raise
    return [Outcome(True)] * len(messages)


FILE: Final = Notifier("file", _append, rank=9)
