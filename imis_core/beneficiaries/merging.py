"""Two persons who are one: everything that names the dropped person goes over to the kept one, and can come back.

The dropped person stays as an inactive row whose `merged_into` names the kept one, so that both numbers find that
person. Where both are members of groups of one kind, the kept person stays where he or she is: in the same group he or
she takes over the head's or recipient's place of the other; in another group the other's membership ends that day with
the reason `merged`. Who decides that two are one is the registry's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from attrs import define, evolve, field, frozen

from imis_core import hookspecs
from imis_core.beneficiaries.attributes import not_unique
from imis_core.beneficiaries.changing import (
    ChangedPerson,
    Changes,
    FullPerson,
    PersonValues,
    locked_persons,
    taken_by_others,
    write_changes,
)
from imis_core.beneficiaries.groups import WorkGroup, Workshop, hidden_members
from imis_core.beneficiaries.tables import attribute_values, identifiers, memberships, merges, persons
from imis_core.context import Context
from imis_core.database.bulk import array_literal, insert_returning, take_ids
from imis_core.errors import Refusal, invalid
from imis_core.parsing import plain
from imis_core.states import StateTable

MERGE_STATES: Final = StateTable("registry", {"done": ("undone",), "undone": ()})
REASON: Final = "merged"


@frozen
class PersonMove:
    """A column that names a person and follows a merge. The table has an `id` and may be updated.

    `unless`: SQL over the row `t` and the pair `n` (`n.kept`, `n.dropped`); where it holds, the row stays with the
    dropped person.
    """

    table: sa.Table
    column: str
    unless: str = "false"

    @property
    def name(self) -> str:
        return f"{self.table.fullname}.{self.column}"


# What belongs to the room itself. Of two equal identifiers, and of past memberships in one group, one is enough; a
# membership that is still open always goes over, also to somebody who was in that group before.
OWN_MOVES: Final = (
    PersonMove(persons, "merged_into"),
    PersonMove(
        identifiers,
        "person",
        "EXISTS (SELECT FROM core.identifiers k WHERE k.person = n.kept AND k.system = t.system AND k.value = t.value)",
    ),
    PersonMove(
        memberships,
        "person",
        "t.left_on IS NOT NULL AND EXISTS "
        '(SELECT FROM core.memberships k WHERE k.person = n.kept AND k."group" = t."group")',
    ),
)


def person_moves(context: Context) -> tuple[PersonMove, ...]:
    """The columns of all rooms and plugins that follow a merge."""
    plugins = context.app.plugins
    spec = hookspecs.imis_person_merge_sql
    return (*OWN_MOVES, *(m for name in plugins.implementers(spec) for m in plugins.call_plugin(name, spec)))


@frozen
class Pair:
    """Two persons, by key, of whom one is kept; `values` are fields of the kept one to be changed; `at` their path."""

    keep: int
    drop: int
    values: PersonValues | None = None
    reason: str | None = None
    at: str = "values."


@define
class _Merging:
    """A merge that passed the checks. `members`: membership -> before and after, where a role or an end changed."""

    pair: Pair
    changed: ChangedPerson
    dropped: FullPerson
    members: dict[int, tuple[list[Any], list[Any]]]
    moved: dict[str, list[int]] = field(factory=dict)
    id: int = 0


def merge_persons(context: Context, pairs: Sequence[Pair]) -> list[int | Refusal]:
    """Merge pairs of whom no two name the same person; the merges' keys, or why not. Set-based."""
    keys = sorted({key for pair in pairs for key in (pair.keep, pair.drop)})
    shop = Workshop.load(context, (), context.ids.encode_all("persons", keys) if keys else (), with_their_groups=True)
    people = locked_persons(context, keys)
    changes = Changes(context, [pair.values for pair in pairs if pair.values is not None])
    drafts: list[_Merging | Refusal] = []
    for pair in pairs:
        drafts.append(_draft(shop, changes, pair, people[pair.keep], people[pair.drop]))
    _judge_values(context, changes, drafts)
    for draft in drafts:
        if isinstance(draft, _Merging):
            _join_memberships(context, shop, draft)
    fine = [d for d in drafts if isinstance(d, _Merging)]
    shop.write()
    _move_all(context, fine)
    _change_persons(context, changes, fine)
    _keep(context, fine)
    return [d if isinstance(d, Refusal) else d.id for d in drafts]


def _draft(shop: Workshop, changes: Changes, pair: Pair, kept: FullPerson, dropped: FullPerson) -> _Merging | Refusal:
    for person in (kept, dropped):
        if person.merged_into is not None:
            return Refusal("registry.wrong_state", f"person {person.number!r} was merged into another one already")
    if dropped.death_date is not None and kept.death_date is None:
        message = (
            f"person {dropped.number!r} died on {dropped.death_date}, person {kept.number!r} lives; "
            f"record the death of {kept.number!r} first, or mend the other"
        )
        return Refusal("beneficiaries.wrong_state", message)
    for member, kind in list(shop.belongs):
        refusal = _hidden(shop, member, kind, pair) if member == dropped.id else None
        if refusal is not None:
            return refusal
    changed = changes.apply(kept, pair.values or PersonValues(), pair.at)
    return changed if isinstance(changed, Refusal) else _Merging(pair, changed, dropped, {})


def _hidden(shop: Workshop, member: int, kind: str, pair: Pair) -> Refusal | None:
    """Why a membership cannot end here: the caller does not see the whole group."""
    if (pair.keep, kind) not in shop.belongs:
        return None
    group = shop.by_id.get(shop.belongs[member, kind])
    if group is None:
        message = "the person who is dropped belongs to a group that you do not see; ask somebody who sees it"
        return Refusal("beneficiaries.hidden_members", message)
    return hidden_members(group) if group.hidden_members else None


def _judge_values(context: Context, changes: Changes, drafts: list[_Merging | Refusal]) -> None:
    """Unique values may come from the dropped person, and from nobody else."""
    fine = [d for d in drafts if isinstance(d, _Merging)]
    theirs = {d.pair.keep: changes.unique_of(d.dropped) for d in fine}
    asked = [
        evolve(d.changed, attributes=evolve(d.changed.attributes, unique=_without(d.changed, theirs[d.pair.keep])))
        for d in fine
    ]
    taken = taken_by_others(context, changes, asked)
    for position, draft in enumerate(drafts):
        if isinstance(draft, _Merging) and draft.pair.keep in taken:
            drafts[position] = invalid(not_unique(f"{draft.pair.at}attributes", taken[draft.pair.keep]))


def _without(changed: ChangedPerson, values: set[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in changed.attributes.unique if pair not in values)


# --- memberships


def _state_of(group: WorkGroup) -> dict[int, list[Any]]:
    members = (*group.household.members, *group.household.left)
    return {
        m.membership: [m.relationship, m.recipient, None if m.left_on is None else m.left_on.isoformat(), m.left_reason]
        for m in members
        if m.membership is not None
    }


def _join_memberships(context: Context, shop: Workshop, merging: _Merging) -> None:
    """End the dropped person's memberships of the kinds in which the kept one has a group; the others just move."""
    keep, drop = merging.pair.keep, merging.pair.drop
    for member, kind in list(shop.belongs):
        if member != drop:
            continue
        number = shop.belongs.pop((drop, kind))
        group = shop.by_id.get(number)
        if (keep, kind) not in shop.belongs:
            shop.belongs[keep, kind] = number
            if group is not None and (own := group.household.find(drop)) is not None:
                own.person = keep
            continue
        assert group is not None
        before = _state_of(group)
        leaver, stayer = group.household.find(drop), group.household.find(keep)
        assert leaver is not None
        if stayer is not None and leaver.relationship == "head":
            group.household.make_head(stayer)
        recipient = leaver.recipient
        group.household.leave(leaver, context.today, REASON)
        if stayer is not None and recipient is not None and stayer.recipient != "primary":
            group.household.make_recipient(stayer, recipient)
        group.settle(context.today)
        after = _state_of(group)
        merging.members |= {key: (before[key], after[key]) for key in after if before[key] != after[key]}


# --- writing


def _move_all(context: Context, fine: Sequence[_Merging]) -> None:
    """Every column that follows, one statement each, and which rows moved."""
    if not fine:
        return
    by_dropped = {m.pair.drop: m for m in fine}
    pairs = {"kept": array_literal([m.pair.keep for m in fine]), "dropped": array_literal(list(by_dropped))}
    for move in person_moves(context):
        rows = context.execute(
            sa.text(
                f'UPDATE {move.table.fullname} t SET "{move.column}" = n.kept '
                "FROM unnest(CAST(:kept AS bigint[]), CAST(:dropped AS bigint[])) AS n(kept, dropped) "
                f'WHERE t."{move.column}" = n.dropped AND NOT ({move.unless}) RETURNING t.id, n.dropped'
            ),
            pairs,
        )
        for row in rows:
            by_dropped[row.dropped].moved.setdefault(move.name, []).append(row.id)


def _change_persons(context: Context, changes: Changes, fine: Sequence[_Merging]) -> None:
    write_changes(context, [m.changed for m in fine if m.changed.now != m.changed.before])
    fresh = [
        (m, pair)
        for m in fine
        for pair in m.changed.attributes.unique
        if pair not in changes.unique_of(m.changed.before)
    ]
    if fresh:
        # A value that the dropped person had goes over; the kept one's old values stay taken, for undoing.
        context.execute(
            sa.text(
                f"INSERT INTO {attribute_values.fullname} AS v (of, attribute, value, owner) "
                "SELECT 'person', * FROM unnest(CAST(:names AS text[]), CAST(:values AS text[]), "
                "CAST(:owners AS bigint[])) ON CONFLICT (of, attribute, value) DO UPDATE SET owner = excluded.owner"
            ),
            {
                "names": [pair[0] for _, pair in fresh],
                "values": [pair[1] for _, pair in fresh],
                "owners": [m.pair.keep for m, _ in fresh],
            },
        )
    if fine:
        context.execute(
            sa.text(
                "UPDATE core.persons p SET status = 'inactive', merged_into = n.kept "
                "FROM unnest(CAST(:kept AS bigint[]), CAST(:dropped AS bigint[])) AS n(kept, dropped) "
                "WHERE p.id = n.dropped"
            ),
            {"kept": [m.pair.keep for m in fine], "dropped": [m.pair.drop for m in fine]},
        )


def _keep(context: Context, fine: Sequence[_Merging]) -> None:
    for merging, key in zip(fine, take_ids(context.connection, merges, len(fine)), strict=True):
        merging.id = key
    insert_returning(
        context.connection,
        merges,
        {
            "id": [m.id for m in fine],
            "kept": [m.pair.keep for m in fine],
            "dropped": [m.pair.drop for m in fine],
            "state": ["done"] * len(fine),
            "merged_on": [context.today] * len(fine),
            "reason": [m.pair.reason for m in fine],
            "undo": [_undo_document(m) for m in fine],
        },
    )


def _undo_document(merging: _Merging) -> str:
    """What undoing needs: rows that moved by column, memberships before and after, the kept person's old values."""
    before, now = merging.changed.before, merging.changed.now
    fields = ("given_name", "family_name", "sex", "birth_date", "place", "attributes")
    values: Mapping[str, Any] = {
        name: [plain(getattr(before, name)), plain(getattr(now, name))]
        for name in fields
        if getattr(before, name) != getattr(now, name)
    }
    document = {
        "moved": merging.moved,
        "memberships": {str(key): states for key, states in merging.members.items()},
        "values": values,
        "status": merging.dropped.status,
    }
    return msgspec.json.encode(document).decode()
