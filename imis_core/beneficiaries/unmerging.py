"""Undoing a merge: the dropped person comes back with what was moved, as far as nobody changed it since.

A role in a group that somebody else was given since stays with him or her. Set-based, like the merge itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import msgspec
import sqlalchemy as sa
from attrs import evolve, frozen

from imis_core.beneficiaries.attributes import CheckedAttributes
from imis_core.beneficiaries.changing import ChangedPerson, Changes, FullPerson, locked_persons, write_changes
from imis_core.beneficiaries.groups import Workshop, hidden_members
from imis_core.beneficiaries.merging import MERGE_STATES
from imis_core.beneficiaries.tables import attribute_values, memberships, merges
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import array_literal
from imis_core.errors import Refusal
from imis_core.parsing import plain


@frozen
class MergeRow:
    """A merge, locked. `undo` is its document (see `merging.py`)."""

    id: int
    kept: int
    dropped: int
    state: str
    undo: dict[str, Any]

    @property
    def roles(self) -> list[int]:
        """The memberships whose role or end the merge changed."""
        return [int(key) for key in self.undo["memberships"]]


def locked_merges(context: Context, ids: Iterable[int]) -> dict[int, MergeRow]:
    """Merges by key, locked in the order of their keys; those outside the scope are left out."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    m = merges.c
    rows = context.execute(
        sa.select(m.id, m.kept, m.dropped, m.state, m.undo)
        .where(m.id == any_of(wanted), context.scoped(merges))
        .order_by(m.id)
        .with_for_update()
    )
    return {row.id: MergeRow(row.id, row.kept, row.dropped, row.state, row.undo) for row in rows}


def undo_merges(context: Context, rows: Sequence[MergeRow]) -> list[Refusal | None]:
    """Undo merges of whom no two name the same person; None, or why not."""
    groups_of = _groups_of(context, [key for row in rows for key in row.roles])
    group_ids = sorted(set(groups_of.values()))
    refs = context.ids.encode_all("groups", group_ids) if group_ids else []
    shop = Workshop.load(context, refs, ())
    people = locked_persons(context, [key for row in rows for key in (row.kept, row.dropped)])
    refusals = [_refusal(shop, row, people, [groups_of[key] for key in row.roles]) for row in rows]
    fine = [row for row, refusal in zip(rows, refusals, strict=True) if refusal is None]
    if fine:
        _move_back(context, fine)
        _restore_roles(context, fine)
        _settle(context, fine, refs)
        _restore_values(context, fine, people)
        _end(context, fine)
    return refusals


def _groups_of(context: Context, members: Sequence[int]) -> dict[int, int]:
    if not members:
        return {}
    m = memberships.c
    rows = context.execute(sa.select(m.id, m.group).where(m.id == any_of(members), context.scoped(memberships)))
    return {row.id: row.group for row in rows}


def _refusal(shop: Workshop, row: MergeRow, people: dict[int, FullPerson], groups: Sequence[int]) -> Refusal | None:
    if not MERGE_STATES.allows(row.state, "undone"):
        return MERGE_STATES.refusal("the merge", row.state, "undone")
    kept = people[row.kept]
    if kept.merged_into is not None:
        message = f"person {kept.number!r} was merged into another one since; undo that merge first"
        return Refusal("registry.wrong_state", message)
    for number in groups:
        group = shop.by_id.get(number)
        if group is None:
            message = "the merge changed a group that you do not see; ask somebody who sees it"
            return Refusal("beneficiaries.hidden_members", message)
        if group.hidden_members:
            return hidden_members(group)
    return None


def _move_back(context: Context, fine: Sequence[MergeRow]) -> None:
    """The rows that moved and still name the kept person, one statement for each column."""
    by_column: dict[str, list[tuple[int, int, int]]] = {}
    for row in fine:
        for name, keys in row.undo["moved"].items():
            by_column.setdefault(name, []).extend((key, row.kept, row.dropped) for key in keys)
    for name, moved in sorted(by_column.items()):
        schema, table, column = name.split(".")
        context.execute(
            sa.text(
                f'UPDATE "{schema}"."{table}" t SET "{column}" = n.dropped FROM unnest(CAST(:ids AS bigint[]), '
                "CAST(:kept AS bigint[]), CAST(:dropped AS bigint[])) AS n(id, kept, dropped) "
                f'WHERE t.id = n.id AND t."{column}" = n.kept'
            ),
            {
                "ids": array_literal([m[0] for m in moved]),
                "kept": array_literal([m[1] for m in moved]),
                "dropped": array_literal([m[2] for m in moved]),
            },
        )


_RESTORE_ROLES = sa.text(
    """
    UPDATE core.memberships m SET relationship = n.relationship, recipient = n.recipient, left_on = n.left_on,
        left_reason = n.left_reason
    FROM unnest(CAST(:ids AS bigint[]), CAST(:relationship AS text[]), CAST(:recipient AS text[]),
        CAST(:left_on AS date[]), CAST(:left_reason AS text[]), CAST(:old_relationship AS text[]),
        CAST(:old_recipient AS text[]), CAST(:old_left_on AS date[]))
        AS n(id, relationship, recipient, left_on, left_reason, old_relationship, old_recipient, old_left_on)
    WHERE m.id = n.id AND m.relationship = n.old_relationship AND m.recipient IS NOT DISTINCT FROM n.old_recipient
        AND m.left_on IS NOT DISTINCT FROM n.old_left_on
    """
)


def _restore_roles(context: Context, fine: Sequence[MergeRow]) -> None:
    """Memberships that are as the merge left them become what they were."""
    states = [(int(key), before, after) for row in fine for key, (before, after) in row.undo["memberships"].items()]
    if not states:
        return
    columns: dict[str, list[Any]] = {
        "ids": [key for key, _, _ in states],
        "relationship": [before[0] for _, before, _ in states],
        "recipient": [before[1] for _, before, _ in states],
        "left_on": [before[2] for _, before, _ in states],
        "left_reason": [before[3] for _, before, _ in states],
        "old_relationship": [after[0] for _, _, after in states],
        "old_recipient": [after[1] for _, _, after in states],
        "old_left_on": [after[2] for _, _, after in states],
    }
    context.execute(_RESTORE_ROLES, {name: array_literal(values) for name, values in columns.items()})


def _settle(context: Context, fine: Sequence[MergeRow], refs: Sequence[str]) -> None:
    """One head and one recipient of each kind: who came back yields to whoever was named since."""
    if not refs:
        return
    back = {row.dropped for row in fine}
    shop = Workshop.load(context, refs, ())
    for group in shop.by_id.values():
        members = group.household.members
        for member in [m for m in members if m.person in back]:
            others = [m for m in members if m is not member]
            if member.relationship == "head" and any(m.relationship == "head" for m in others):
                member.relationship = "other"
            if member.recipient is not None and any(m.recipient == member.recipient for m in others):
                member.recipient = None
        group.settle(context.today)
    shop.write()


def _restore_values(context: Context, fine: Sequence[MergeRow], people: dict[int, FullPerson]) -> None:
    changes = Changes(context, ())
    changed: list[ChangedPerson] = []
    gone: list[tuple[int, str, str]] = []
    for row in fine:
        kept = people[row.kept]
        fields: dict[str, Any] = {
            name: date.fromisoformat(before) if name == "birth_date" else before
            for name, (before, after) in row.undo["values"].items()
            if plain(getattr(kept, name)) == after
        }
        if not fields:
            continue
        restored = evolve(kept, **fields)
        json = msgspec.json.encode(restored.attributes).decode() if "attributes" in fields else ""
        changed.append(ChangedPerson(kept, restored, CheckedAttributes(json)))
        gone += [(kept.id, *pair) for pair in sorted(changes.unique_of(kept) - changes.unique_of(restored))]
    write_changes(context, changed)
    if gone:
        v = attribute_values.c
        context.execute(
            sa.delete(attribute_values).where(v.of == "person", sa.tuple_(v.owner, v.attribute, v.value).in_(gone))
        )
    theirs = [(*pair, row.dropped) for row in fine for pair in sorted(changes.unique_of(people[row.dropped]))]
    if theirs:
        context.execute(
            sa.text(
                f"INSERT INTO {attribute_values.fullname} (of, attribute, value, owner) "
                "SELECT 'person', * FROM unnest(CAST(:names AS text[]), CAST(:values AS text[]), "
                "CAST(:owners AS bigint[])) ON CONFLICT DO NOTHING"
            ),
            {"names": [t[0] for t in theirs], "values": [t[1] for t in theirs], "owners": [t[2] for t in theirs]},
        )


def _end(context: Context, fine: Sequence[MergeRow]) -> None:
    context.execute(
        sa.text(
            "UPDATE core.persons p SET status = n.status, merged_into = NULL "
            "FROM unnest(CAST(:ids AS bigint[]), CAST(:statuses AS text[])) AS n(id, status) WHERE p.id = n.id"
        ),
        {"ids": [row.dropped for row in fine], "statuses": [row.undo["status"] for row in fine]},
    )
    context.execute(sa.update(merges).where(merges.c.id == any_of([row.id for row in fine])).values(state="undone"))
