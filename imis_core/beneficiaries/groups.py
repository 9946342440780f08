"""Groups at work: the groups that a batch names, locked and read once, changed in memory, written once.

What a change of membership means for heads and recipients is in `households.py`; here is where it comes from and goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import sqlalchemy as sa
from attrs import define, field, frozen

from imis_core.beneficiaries.households import Household, Member
from imis_core.beneficiaries.lookup import GroupRow, PersonRow, group_members, resolve_groups, resolve_persons
from imis_core.beneficiaries.tables import groups, memberships, persons
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning
from imis_core.database.engine import lost_race
from imis_core.errors import Problem, Refusal
from imis_core.places.lookup import location_codes


@frozen
class MemberShown:
    """A current member; `id` is the person's."""

    id: str
    number: str
    relationship: str
    recipient: str | None


@frozen(kw_only=True)
class GroupShown:
    """A group with its current members in order of registration; head, primary and alternate are numbers."""

    id: str
    code: str
    kind: str
    status: str
    location: str | None
    head: str | None
    primary: str | None
    alternate: str | None
    members: tuple[MemberShown, ...]
    poverty: bool | None = None
    confirmation_number: str | None = None


@define
class WorkGroup:
    """A group in work. `new`: not stored yet."""

    id: int
    code: str
    kind: str
    status: str
    place: int | None
    household: Household
    new: bool = False
    stored_status: str | None = None
    attributes: str = "{}"
    poverty: bool | None = None
    confirmation_number: str | None = None
    hidden_members: bool = False  # somebody in it whom the caller may not see

    def settle(self, on: date) -> None:
        """Head, primary and status after a change."""
        self.household.settle(on)
        self.status = "active" if self.household.members else "inactive"


@frozen
class Snapshot:
    """A group as it stood after one item of a batch."""

    group: WorkGroup
    status: str
    members: tuple[tuple[int, str, str, str | None], ...]  # person, number, relationship, recipient

    @classmethod
    def of(cls, group: WorkGroup) -> Snapshot:
        return cls(
            group,
            group.status,
            tuple((m.person, m.number, m.relationship, m.recipient) for m in group.household.members),
        )


@define
class Workshop:
    """The groups and persons that a batch names, as they are now; refs are codes, numbers or outside ids."""

    context: Context
    groups: dict[str, WorkGroup] = field(factory=dict)
    persons: dict[str, PersonRow] = field(factory=dict)
    # Where the named persons are members now: (person, kind of group) -> group.
    belongs: dict[tuple[int, str], int] = field(factory=dict)
    by_id: dict[int, WorkGroup] = field(factory=dict)

    @classmethod
    def load(
        cls, context: Context, group_refs: Iterable[str], person_refs: Iterable[str], *, with_their_groups: bool = False
    ) -> Workshop:
        """Lock groups, then persons, each by key, and read them with their memberships.

        `with_their_groups` also takes the groups that the persons are members of.
        """
        shop = cls(context)
        shop.persons = resolve_persons(context, person_refs)
        named = resolve_groups(context, group_refs)
        people = sorted({p.id for p in shop.persons.values()})
        wanted = {row.id for row in named.values()}
        if with_their_groups:
            wanted |= {group for _, _, group in _memberships_of(context, people)}
        _lock(context, groups, sorted(wanted))
        _lock(context, persons, people)
        rows = {row.id: row for row in named.values()}
        if with_their_groups:
            rows |= _group_rows(context, sorted(wanted - set(rows)))
        shop._read_groups(rows)
        shop.groups = {ref: shop.by_id[row.id] for ref, row in named.items()}
        for person, kind, group in _memberships_of(context, people):
            shop.belongs[person, kind] = group
            if with_their_groups and group not in wanted:
                raise lost_race("a membership")  # the person moved between reading and locking
        return shop

    def _read_groups(self, rows: dict[int, GroupRow]) -> None:
        majority = self.context.settings.deployment.age_of_majority
        members = group_members(self.context, rows)
        last = _last_ordinals(self.context, sorted(rows))
        sizes = _true_sizes(self.context, sorted(rows))
        for number, row in rows.items():
            household = Household(majority, last_ordinal=last.get(number, 0))
            household.members = [
                Member(
                    m.person, m.number, m.birth_date, m.relationship, m.recipient, m.ordinal, m.joined_on,
                    m.membership, stored=(m.relationship, m.recipient),
                )
                for m in members[number]
            ]  # fmt: skip
            hidden = sizes is not None and sizes.get(number, 0) != len(household.members)
            self.by_id[number] = WorkGroup(
                number, row.code, row.kind, row.status, row.place, household,
                stored_status=row.status, hidden_members=hidden, poverty=row.poverty,
                confirmation_number=row.confirmation_number,
            )  # fmt: skip

    def add(self, group: WorkGroup) -> None:
        """A new group of this batch."""
        self.by_id[group.id] = group
        self.groups[group.code] = group
        for member in group.household.members:
            self.belongs[member.person, group.kind] = group.id

    def write(self) -> None:
        """Write changed groups and memberships: those who leave before those who join."""
        work = list(self.by_id.values())
        statuses = [g for g in work if not g.new and g.status != g.stored_status]
        if statuses:
            self.context.execute(
                _CHANGE_GROUPS, {"ids": [g.id for g in statuses], "statuses": [g.status for g in statuses]}
            )
        changed = [
            m for g in work for m in (*g.household.members, *g.household.left) if m.membership is not None and m.changed
        ]
        if changed:
            self.context.execute(
                _CHANGE_MEMBERSHIPS,
                {
                    "ids": [m.membership for m in changed],
                    "relationships": [m.relationship for m in changed],
                    "recipients": [m.recipient for m in changed],
                    "left_on": [m.left_on for m in changed],
                    "reasons": [m.left_reason for m in changed],
                },
            )
        self._write_new([g for g in work if g.new])
        joined = [(g, m) for g in work for m in (*g.household.left, *g.household.members) if m.membership is None]
        insert_returning(
            self.context.connection,
            memberships,
            {
                "group": [g.id for g, _ in joined],
                "person": [m.person for _, m in joined],
                "kind": [g.kind for g, _ in joined],
                "relationship": [m.relationship for _, m in joined],
                "recipient": [m.recipient for _, m in joined],
                "ordinal": [m.ordinal for _, m in joined],
                "joined_on": [m.joined_on for _, m in joined],
                "left_on": [m.left_on for _, m in joined],
                "left_reason": [m.left_reason for _, m in joined],
            },
        )

    def _write_new(self, new: Sequence[WorkGroup]) -> None:
        written = insert_returning(
            self.context.connection,
            groups,
            {
                "id": [g.id for g in new],
                "code": [g.code for g in new],
                "kind": [g.kind for g in new],
                "status": [g.status for g in new],
                "place": [g.place for g in new],
                "registered_on": [self.context.today] * len(new),
                "attributes": [g.attributes for g in new],
                "poverty": [g.poverty for g in new],
                "confirmation_number": [g.confirmation_number for g in new],
            },
            conflict="(code) DO NOTHING",
            returning="id",
        )
        if len(written) != len(new):
            raise lost_race("a group's code")

    def show(self, snapshots: Sequence[Snapshot | Refusal]) -> list[GroupShown | Refusal]:
        """Snapshots as results, all ids made at once."""
        taken = [s for s in snapshots if isinstance(s, Snapshot)]
        ids = self.context.ids
        group_ids = iter(ids.encode_all("groups", [s.group.id for s in taken]))
        person_ids = iter(ids.encode_all("persons", [m[0] for s in taken for m in s.members]))
        codes = location_codes(self.context, {s.group.place for s in taken})
        shown: list[GroupShown | Refusal] = []
        for snapshot in snapshots:
            if isinstance(snapshot, Refusal):
                shown.append(snapshot)
                continue
            group = snapshot.group
            members = tuple(MemberShown(next(person_ids), *m[1:]) for m in snapshot.members)
            shown.append(
                GroupShown(
                    id=next(group_ids), code=group.code, kind=group.kind, status=snapshot.status,
                    location=None if group.place is None else codes.get(group.place),
                    head=next((m.number for m in members if m.relationship == "head"), None),
                    primary=next((m.number for m in members if m.recipient == "primary"), None),
                    alternate=next((m.number for m in members if m.recipient == "alternate"), None),
                    members=members, poverty=group.poverty, confirmation_number=group.confirmation_number,
                )
            )  # fmt: skip
        return shown


def hidden_members(group: WorkGroup) -> Refusal:
    """`beneficiaries.hidden_members`: who sees only a part of a group cannot decide about its head."""
    return Refusal(
        "beneficiaries.hidden_members",
        f"group {group.code!r} has members in places that you do not see; ask somebody who sees the whole group",
    )


def already_member(path: str, number: str, kind: str) -> Refusal:
    message = f"person {number!r} is a member of a group of the kind {kind!r} already; remove that membership first"
    return Refusal("beneficiaries.already_member", message, (Problem(path, "already_member", message),))


def taken_codes(context: Context, codes: Iterable[str]) -> set[str]:
    """Which group codes are in use, whoever may see those groups (codes are unique in the deployment)."""
    wanted = sorted(set(codes))
    if not wanted:
        return set()
    rows = context.execute(
        sa.text("SELECT code FROM core.taken_group_codes(CAST(:codes AS text[])) AS code"), {"codes": wanted}
    )
    return {row.code for row in rows}


def _lock(context: Context, table: sa.Table, ids: Sequence[int]) -> None:
    if ids:
        context.execute(
            sa.select(table.c.id)
            .where(table.c.id == any_of(ids), context.scoped(table))
            .order_by(table.c.id)
            .with_for_update()
        )


def _memberships_of(context: Context, people: Sequence[int]) -> list[tuple[int, str, int]]:
    """(person, kind, group) of the current memberships of persons."""
    if not people:
        return []
    m = memberships.c
    rows = context.execute(
        sa.select(m.person, m.kind, m.group)
        .where(
            m.person == any_of(people),
            m.left_on.is_(None),
            context.scoped(memberships),
        )
        .order_by(m.person, m.id)
    )
    return [(row.person, row.kind, row.group) for row in rows]


def _group_rows(context: Context, ids: Sequence[int]) -> dict[int, GroupRow]:
    """Groups by key, also those in places outside the scope whose members the caller sees: death ends membership."""
    outside = context.ids.encode_all("groups", ids) if ids else []
    return {row.id: row for row in resolve_groups(context, outside).values()}


def _last_ordinals(context: Context, ids: Sequence[int]) -> dict[int, int]:
    """The highest place in the order of registration that was ever given in each group."""
    if not ids:
        return {}
    m = memberships.c
    rows = context.execute(
        sa.select(m.group, sa.func.max(m.ordinal).label("last"))
        .where(m.group == any_of(ids), context.scoped(memberships))
        .group_by(m.group)
    )
    return {row.group: row.last for row in rows}


def _true_sizes(context: Context, ids: Sequence[int]) -> dict[int, int] | None:
    """How many current members each group has, seen or not; None for callers who see everybody."""
    if context.caller.everywhere or not ids:
        return None
    rows = context.execute(
        sa.text("SELECT id, members FROM core.group_sizes(CAST(:ids AS bigint[]))"), {"ids": list(ids)}
    )
    return {row.id: row.members for row in rows}


_CHANGE_GROUPS = sa.text(
    "UPDATE core.groups g SET status = n.status FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[])) "
    "AS n(id, status) WHERE g.id = n.id"
)
_CHANGE_MEMBERSHIPS = sa.text(
    "UPDATE core.memberships m SET relationship = n.relationship, recipient = n.recipient, left_on = n.left_on, "
    "left_reason = n.left_reason FROM unnest(CAST(:ids AS bigint[]), CAST(:relationships AS text[]), "
    "CAST(:recipients AS text[]), CAST(:left_on AS date[]), CAST(:reasons AS text[])) "
    "AS n(id, relationship, recipient, left_on, left_reason) WHERE m.id = n.id"
)
