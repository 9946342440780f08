"""The rules of a group: who is its head, who receives payments. Pure: a working copy in memory, no database.

Source: contract-kernel.md, registry. A group with members always has one head and one primary recipient, and at most
one alternate. Nobody named: the first adult in order of registration; no adult at all: the first member.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from attrs import define, field

from imis_core.values import full_years

Relationship = Literal["head", "spouse", "child", "parent", "sibling", "grandparent", "other"]
Recipient = Literal["primary", "alternate"]


@define
class Member:
    """A membership in work. `membership` None: not stored yet; `stored` is what the database has."""

    person: int
    number: str
    birth_date: date
    relationship: str
    recipient: str | None
    ordinal: int
    joined_on: date
    membership: int | None = None
    left_on: date | None = None
    left_reason: str | None = None
    stored: tuple[str, str | None] | None = None

    @property
    def changed(self) -> bool:
        return self.stored != (self.relationship, self.recipient) or self.left_on is not None


@define
class Household:
    """A group's current members in order of registration, and those who left while it was in work."""

    majority: int  # years; an adult is at least as old
    members: list[Member] = field(factory=list)
    left: list[Member] = field(factory=list)
    last_ordinal: int = 0

    @property
    def head(self) -> Member | None:
        return next((m for m in self.members if m.relationship == "head"), None)

    def recipient(self, kind: str) -> Member | None:
        return next((m for m in self.members if m.recipient == kind), None)

    def find(self, person: int) -> Member | None:
        return next((m for m in self.members if m.person == person), None)

    def join(
        self, person: int, number: str, birth_date: date, relationship: str, recipient: str | None, on: date
    ) -> Member:
        """A new last member; as a head or recipient he or she replaces the old one."""
        self.last_ordinal += 1
        member = Member(person, number, birth_date, "other", None, self.last_ordinal, on)
        self.members.append(member)
        if relationship == "head":
            self.make_head(member)
        else:
            member.relationship = relationship
        if recipient is not None:
            self.make_recipient(member, recipient)
        return member

    def leave(self, member: Member, on: date, reason: str | None) -> None:
        """The member's last day is `on`."""
        self.members.remove(member)
        self.left.append(member)
        member.left_on, member.left_reason = on, reason

    def make_head(self, member: Member) -> None:
        old = self.head
        if old is not None and old is not member:
            old.relationship = "other"
        member.relationship = "head"

    def make_recipient(self, member: Member, kind: str | None) -> None:
        """`primary`, `alternate`, or None for neither."""
        if kind is not None:
            old = self.recipient(kind)
            if old is not None:
                old.recipient = None
        member.recipient = kind

    def settle(self, on: date) -> None:
        """Give a group without head or primary the one that the rule names on a day."""
        if not self.members:
            return
        if self.head is None:
            self._first(on).relationship = "head"
        if self.recipient("primary") is None:
            self._first(on).recipient = "primary"

    def _first(self, on: date) -> Member:
        adults = (m for m in self.members if full_years(m.birth_date, on) >= self.majority)
        return next(adults, self.members[0])
