"""Deciding about pairs of possible duplicates, merging two persons, and undoing a merge.

What a merge moves and how it is undone is in `imis_core.beneficiaries.merging` and `unmerging`.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.changing import PersonValues
from imis_core.beneficiaries.merging import Pair, merge_persons
from imis_core.beneficiaries.tables import persons
from imis_core.beneficiaries.unmerging import MergeRow, locked_merges, undo_merges
from imis_core.beneficiaries.waves import in_waves
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.queries import Listing, query
from imis_core.registry.tables import duplicates
from imis_core.states import StateTable

# A merge that is undone opens its pair again; a pair whose person was merged elsewhere is obsolete.
STATES: Final = StateTable(
    "registry",
    {
        "open": ("same", "different", "obsolete"),
        "same": ("open",),
        "different": (),
        "obsolete": ("open",),
    },
)


# --- deciding


@frozen(kw_only=True)
class DecideDuplicate:
    """`values`: fields that the person who is kept is to have, such as those of the other one."""

    duplicate: str
    decision: Literal["same", "different"]
    values: PersonValues | None = None
    reason: str | None = None


@frozen(kw_only=True)
class DuplicateDecided:
    """`kept`: the number of the person who is kept; `merge`: what `registry.undo_merge` takes."""

    status: str
    kept: str | None = None
    merge: str | None = None


@command("registry.decide_duplicate", input=DecideDuplicate, result=DuplicateDecided)
def decide_duplicates(context: Context, items: tuple[DecideDuplicate, ...]) -> list[DuplicateDecided | Refusal]:
    """Say that a pair is one person (the earlier is kept, the other merged into it) or two different ones."""
    numbers = [context.ids.decode("duplicates", item.duplicate) for item in items]
    pairs = _locked_pairs(context, [n for n in numbers if n is not None])
    touched = [() if (row := pairs.get(n or 0)) is None else (row.first, row.second) for n in numbers]
    outcomes: list[DuplicateDecided | Refusal] = [
        not_found("duplicate", "pair of duplicates", item.duplicate) for item in items
    ]
    for wave in in_waves(touched):
        known = [i for i in wave if numbers[i] in pairs]
        rows = _locked_pairs(context, [numbers[i] or 0 for i in known])
        answers = _decide_wave(context, [(items[i], rows[numbers[i] or 0]) for i in known])
        for position, answer in zip(known, answers, strict=True):
            outcomes[position] = answer
    return outcomes


def _locked_pairs(context: Context, ids: Sequence[int]) -> dict[int, Any]:
    if not ids:
        return {}
    d = duplicates.c
    rows = context.execute(
        sa.select(d.id, d.first, d.second, d.state)
        .where(d.id == any_of(ids), context.scoped(duplicates))
        .order_by(d.id)
        .with_for_update()
    )
    return {row.id: row for row in rows}


def _decide_wave(context: Context, items: Sequence[tuple[DecideDuplicate, Any]]) -> list[DuplicateDecided | Refusal]:
    outcomes: list[DuplicateDecided | Refusal] = []
    same: list[tuple[int, Pair]] = []
    different: list[tuple[int, str | None]] = []
    for position, (item, row) in enumerate(items):
        outcomes.append(DuplicateDecided(status=item.decision))
        if not STATES.allows(row.state, item.decision):
            outcomes[position] = STATES.refusal("the pair", row.state, item.decision)
        elif item.decision == "same":
            same.append((position, Pair(row.first, row.second, item.values, item.reason)))
        elif item.values is not None:
            outcomes[position] = invalid(Problem("values", "different", "two different persons keep their own values"))
        else:
            different.append((row.id, item.reason))
    merged = _merge(context, [pair for _, pair in same])
    kept = _numbers(context, [pair.keep for _, pair in same])
    for (position, pair), merge in zip(same, merged, strict=True):
        outcomes[position] = (
            merge
            if isinstance(merge, Refusal)
            else DuplicateDecided(status="same", kept=kept[pair.keep], merge=context.ids.encode("merges", merge))
        )
    if different:
        context.execute(
            sa.text(
                "UPDATE core.duplicates d SET state = 'different', reason = n.reason "
                "FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS n(id, reason) WHERE d.id = n.id"
            ),
            {"ids": [key for key, _ in different], "reasons": [reason for _, reason in different]},
        )
    return outcomes


def _numbers(context: Context, ids: Sequence[int]) -> dict[int, str]:
    if not ids:
        return {}
    wanted = any_of(ids)
    rows = context.execute(
        sa.select(persons.c.id, persons.c.number).where(persons.c.id == wanted, context.scoped(persons))
    )
    return {row.id: row.number for row in rows}


_FOLLOW: Final = sa.text(
    """
    UPDATE core.duplicates d SET merge = n.merge, reason = n.reason,
        state = CASE WHEN n.kept IN (d."first", d."second") THEN 'same' ELSE 'obsolete' END
    FROM unnest(CAST(:merges AS bigint[]), CAST(:kept AS bigint[]), CAST(:dropped AS bigint[]),
        CAST(:reasons AS text[])) AS n(merge, kept, dropped, reason)
    WHERE d.state = 'open' AND n.dropped IN (d."first", d."second")
    """
)


def _merge(context: Context, pairs: Sequence[Pair]) -> list[int | Refusal]:
    """Merge, and say so on every open pair that the dropped persons are part of."""
    merged = merge_persons(context, pairs)
    done = [(merge, pair) for merge, pair in zip(merged, pairs, strict=True) if not isinstance(merge, Refusal)]
    if done:
        context.execute(
            _FOLLOW,
            {
                "merges": [merge for merge, _ in done],
                "kept": [pair.keep for _, pair in done],
                "dropped": [pair.drop for _, pair in done],
                "reasons": [pair.reason for _, pair in done],
            },
        )
    return merged


# --- merging without a pair


@frozen(kw_only=True)
class MergePersons:
    """`keep` and `drop` are numbers or ids; `values`: fields that the kept person is to have."""

    keep: str
    drop: str
    values: PersonValues | None = None
    reason: str | None = None


@frozen
class PersonsMerged:
    """`merge`: what `registry.undo_merge` takes."""

    merge: str


@command("beneficiaries.merge", input=MergePersons, result=PersonsMerged)
def merge(context: Context, items: tuple[MergePersons, ...]) -> list[PersonsMerged | Refusal]:
    """Merge one person into another: memberships and identifiers go over, and the dropped number finds the kept one."""
    named = context.named(
        persons, {name for item in items for name in (item.keep, item.drop)}, persons.c.id, persons.c.number,
        by="number",
    )  # fmt: skip
    known = {name: row.id for name, row in named}
    outcomes: list[PersonsMerged | Refusal] = []
    pairs: dict[int, Pair] = {}
    for position, item in enumerate(items):
        unknown = next((name for name in ("keep", "drop") if getattr(item, name) not in known), None)
        same = invalid(Problem("drop", "same", "a person is not merged into himself or herself; name another one"))
        outcomes.append(same)
        if unknown is not None:
            outcomes[position] = not_found(unknown, "person", getattr(item, unknown))
        elif known[item.keep] != known[item.drop]:
            pairs[position] = Pair(known[item.keep], known[item.drop], item.values, item.reason)
    positions = list(pairs)
    for wave in in_waves([(pairs[i].keep, pairs[i].drop) for i in positions]):
        chosen = [positions[i] for i in wave]
        for position, merged in zip(chosen, _merge(context, [pairs[i] for i in chosen]), strict=True):
            outcomes[position] = (
                merged if isinstance(merged, Refusal) else PersonsMerged(context.ids.encode("merges", merged))
            )
    return outcomes


# --- undoing


@frozen(kw_only=True)
class UndoMerge:
    merge: str


@frozen
class MergeUndone:
    """`kept` and `restored` are numbers of persons."""

    status: str
    kept: str
    restored: str


@command("registry.undo_merge", input=UndoMerge, result=MergeUndone)
def undo(context: Context, items: tuple[UndoMerge, ...]) -> list[MergeUndone | Refusal]:
    """Undo a merge: the dropped person comes back with his or her number, memberships and identifiers."""
    numbers = [context.ids.decode("merges", item.merge) for item in items]
    rows = locked_merges(context, [n for n in numbers if n is not None])
    touched = [() if (row := rows.get(n or 0)) is None else (row.kept, row.dropped) for n in numbers]
    outcomes: list[MergeUndone | Refusal] = [not_found("merge", "merge", item.merge) for item in items]
    for wave in in_waves(touched):
        known = [i for i in wave if numbers[i] in rows]
        current = locked_merges(context, [numbers[i] or 0 for i in known])
        chosen = [current[numbers[i] or 0] for i in known]
        refusals = undo_merges(context, chosen)
        _open_again(context, [row for row, refusal in zip(chosen, refusals, strict=True) if refusal is None])
        names = _numbers(context, [key for row in chosen for key in (row.kept, row.dropped)])
        for position, row, refusal in zip(known, chosen, refusals, strict=True):
            outcomes[position] = refusal or MergeUndone("undone", names[row.kept], names[row.dropped])
    return outcomes


def _open_again(context: Context, undone: Sequence[MergeRow]) -> None:
    """The pairs that a merge decided or made obsolete wait for a decision again."""
    if undone:
        merges = any_of([row.id for row in undone])
        context.execute(
            sa.update(duplicates).where(duplicates.c.merge == merges).values(state="open", merge=None, reason=None)
        )


# --- the list


@frozen(kw_only=True)
class ListDuplicates:
    status: Literal["open", "same", "different", "obsolete"] = "open"


@frozen(kw_only=True)
class DuplicateShown:
    """`first` (registered earlier) and `second` are numbers; `score` 0 to 100, 100 for an equal identifier."""

    id: str
    first: str
    second: str
    score: Decimal
    reasons: tuple[str, ...]
    status: str


@query("registry.duplicates", input=ListDuplicates, result=DuplicateShown, listing=True)
def list_duplicates(context: Context, asked: ListDuplicates) -> Listing:
    """Pairs of persons who may be one, by the number of the first, then the second."""
    first, second, d = persons.alias("first_person"), persons.alias("second_person"), duplicates.c
    select = (
        sa.select(
            d.id, first.c.number.label("first"), second.c.number.label("second"), d.score, d.reasons, d.state
        )
        .join(first, first.c.id == d.first)
        .join(second, second.c.id == d.second)
        .where(d.state == asked.status, context.scoped(duplicates))
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[DuplicateShown]:
        ids = context.ids.encode_all("duplicates", [row.id for row in rows])
        return [
            DuplicateShown(
                id=identity, first=row.first, second=row.second, score=row.score, reasons=tuple(row.reasons),
                status=row.state,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (first.c.number, second.c.number, d.id), build, {"score": d.score})


COMMANDS = (decide_duplicates, merge, undo)
QUERIES = (list_duplicates,)
