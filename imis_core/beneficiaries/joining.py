"""What follows when somebody joins a group: rooms above this one take part in the same transaction, once per batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from imis_core.context import Context


@frozen
class Joined:
    """A person who has joined a group; `on` is the first day in it."""

    group: int
    person: int
    relationship: str
    on: date


@frozen
class MemberEffect:
    """What a room or plugin does when members join: set-based, in the transaction of the command itself."""

    name: str
    joined: Callable[[Context, Sequence[Joined]], None]


def after_joining(context: Context, joins: Sequence[Joined]) -> None:
    """Let everything that depends on members follow; the memberships are written."""
    if joins:
        for effect in context.app.member_effects.values():
            effect.joined(context, joins)
