"""Payments that grievances keep back: held, released and cancelled by the kernel's own commands, never by hand.

Several grievances may keep one order back; it is let go with the last of them, unless somebody else has moved it since:
then it is not theirs any more. A grievance never fails because a payment cannot be held: an order that was sent or paid
is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.api import Context, Refusal, insert_rows, order_current
from imis_grievance.columns import any_of
from imis_grievance.tables import holds

WRONG_STATE: Final = "payments.wrong_state"
# Those who hold and those who let go of one order follow each other, so that neither overlooks the other.
_LOCK: Final = sa.text(
    "SELECT pg_advisory_xact_lock(hashtextextended('grievance.order:' || number, 0)) "
    "FROM (SELECT unnest(CAST(:orders AS bigint[])) AS number ORDER BY 1) AS wanted"
)


@frozen
class Wanted:
    """A grievance that wants something of an order; `code`, the grievance's, is the reason that the order keeps."""

    grievance: int
    order: int
    code: str
    cancel: bool = False


@frozen
class Held:
    """An order as a grievance keeps it back: `version` of its state."""

    order: int
    version: int


def hold(context: Context, wanted: Sequence[Wanted]) -> tuple[dict[int, Held], list[tuple[int, str]]]:
    """Keep orders back: the order that each grievance now holds, and notes about orders that were left alone."""
    if not wanted:
        return {}, []
    numbers = [one.order for one in wanted]
    _lock(context, numbers)
    answers = _perform(context, "payments.hold", [(one.order, one.code) for one in wanted])
    now = {order for order, answer in zip(numbers, answers, strict=True) if _is(answer, "held")}
    held = _held(context, numbers, now)
    holding = {one.grievance: held[one.order] for one in wanted if one.order in held}
    notes = [
        (one.grievance, _note("the payment is not held", answer))
        for one, answer in zip(wanted, answers, strict=True)
        if one.order not in held
    ]
    return holding, notes


def _held(context: Context, numbers: Iterable[int], now: Iterable[int]) -> dict[int, Held]:
    """Those of the orders that are held `now`, or were by a grievance, whoever may see that one."""
    c = order_current.c
    rows: Iterable[Any] = context.execute(
        sa.select(c.order, c.version).where(c.order == any_of(numbers), sa.or_(c.order == any_of(now), _kept()))
    )
    return {row.order: Held(row.order, row.version) for row in rows}


def keep_holds(context: Context, holding: Mapping[int, Held]) -> None:
    """Remember which grievance keeps which order back; the grievances are written already."""
    columns: dict[str, list[Any]] = {
        "grievance": list(holding),
        "order": [held.order for held in holding.values()],
        "version": [held.version for held in holding.values()],
        "decided": [False] * len(holding),
    }
    insert_rows(context.connection, holds, columns)


def holds_of(context: Context, grievances: Iterable[int]) -> dict[int, int]:
    """The orders that these grievances keep back, by grievance."""
    rows = context.execute(sa.select(holds.c.grievance, holds.c.order).where(holds.c.grievance == any_of(grievances)))
    return {row.grievance: row.order for row in rows}


def held_by(grievance: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether an order is kept back by a grievance and stands as that left it; for a select over grievances."""
    return sa.exists().where(holds.c.grievance == grievance, order_current.c.order == holds.c.order, _stands())


def let_go(context: Context, resolved: Sequence[Wanted]) -> list[tuple[int, str]]:
    """End the holds of resolved grievances and release or cancel their orders; notes about what was not done.

    A cancelled order is cancelled whoever else keeps it back; any other is released with the last who keeps it back.
    An order that somebody else has moved since is theirs. Where letting go is refused, the hold stays, decided.
    """
    if not resolved:
        return []
    orders = {one.order for one in resolved}
    _lock(context, orders)
    rows = _holds(context, orders)
    standing = {row.grievance for row in rows if row.stands}
    ours = [one for one in resolved if one.grievance in standing]
    last = {one.order: one for one in ours}
    deciding = {one.grievance for one in resolved}
    others = {row.order for row in rows if row.stands and not row.decided and row.grievance not in deciding}
    cancelled = {one.order for one in ours if one.cancel}
    refused = _end(context, "payments.cancel", "cancelled", [last[order] for order in sorted(cancelled)])
    free = [last[order] for order in sorted(set(last) - cancelled - others)]
    refused += _end(context, "payments.release", "approved", free)
    _forget(context, resolved, {one.grievance for one in ours}, {one.order for one, _ in refused})
    moved = [one.grievance for one in resolved if one.grievance not in standing]
    shared = [last[order].grievance for order in sorted(set(last) & others - cancelled)]
    return [
        *((one.grievance, note) for one, note in refused),
        *((grievance, "the payment is left as it is: somebody else has moved it since") for grievance in moved),
        *((grievance, "the payment stays held: another grievance is about it") for grievance in shared),
    ]


def _holds(context: Context, orders: Iterable[int]) -> Sequence[Any]:
    """Who keeps these orders back, and whether an order `stands` as that grievance left it; the orders stay locked."""
    return context.execute(
        sa.select(holds.c.grievance, holds.c.order, holds.c.decided, _stands().label("stands"))
        .join(order_current, order_current.c.order == holds.c.order)
        .where(holds.c.order == any_of(orders))
        .order_by(holds.c.order)
        .with_for_update(of=order_current)
    ).all()


def _stands() -> sa.ColumnElement[bool]:
    return order_current.c.version == holds.c.version


def _kept() -> sa.ColumnElement[bool]:
    return sa.exists().where(holds.c.order == order_current.c.order, _stands())


def _forget(context: Context, resolved: Sequence[Wanted], standing: set[int], stuck: set[int]) -> None:
    """Holds end, but for those on orders that could not be let go (`stuck`): these wait, and bind nobody else."""
    waiting = {one.grievance for one in resolved if one.grievance in standing and one.order in stuck}
    ended = {one.grievance for one in resolved} - waiting
    context.execute(sa.delete(holds).where(holds.c.grievance == any_of(ended)))
    context.execute(sa.update(holds).where(holds.c.grievance == any_of(waiting)).values(decided=True))


def _end(context: Context, name: str, state: str, chosen: Sequence[Wanted]) -> list[tuple[Wanted, str]]:
    """Those whose orders did not become that state, each with a note why."""
    answers = _perform(context, name, [(one.order, one.code) for one in chosen])
    return [
        (one, _note(f"the payment is not {state}", answer))
        for one, answer in zip(chosen, answers, strict=True)
        if not _is(answer, state)
    ]


def _perform(context: Context, name: str, wanted: Sequence[tuple[int, str]]) -> list[Any]:
    if not wanted:
        return []
    ids = context.ids.encode_all("orders", [order for order, _ in wanted])
    items = [{"order": i, "reason": f"grievance {code}"} for i, (_, code) in zip(ids, wanted, strict=True)]
    return context.perform(name, items)


def _lock(context: Context, numbers: Iterable[int]) -> None:
    context.execute(_LOCK, {"orders": sorted(set(numbers))})


def _is(answer: Any, state: str) -> bool:
    return not isinstance(answer, Refusal) and answer.get("status") == state


def _note(what: str, answer: Any) -> str:
    if not isinstance(answer, Refusal):
        return f"{what} yet: that waits for a second person"  # the kernel's command is under [approvals]
    return f"{what}: {answer.message}" if answer.code == WRONG_STATE else f"{what} ({answer.code}): {answer.message}"
