"""Payments that grievances keep back: held, released and cancelled by the kernel's own commands, never by hand.

Several grievances may keep one order back; it is let go with the last of them. A grievance never fails because a
payment cannot be held: an order that was sent or paid is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.api import Context, Refusal, insert_rows
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


def hold(context: Context, wanted: Sequence[Wanted]) -> tuple[dict[int, int], list[tuple[int, str]]]:
    """Keep orders back: the order that each grievance now holds, and notes about orders that were left alone."""
    if not wanted:
        return {}, []
    numbers = [one.order for one in wanted]
    _lock(context, numbers)
    answers = _perform(context, "payments.hold", [(one.order, one.code) for one in wanted])
    held = {order for order, answer in zip(numbers, answers, strict=True) if _is(answer, "held")}
    held |= _still_held(context, numbers)
    holding = {one.grievance: one.order for one in wanted if one.order in held}
    notes = [
        (one.grievance, _note("the payment is not held", answer))
        for one, answer in zip(wanted, answers, strict=True)
        if one.order not in held
    ]
    return holding, notes


def keep_holds(context: Context, holding: Mapping[int, int]) -> None:
    """Remember which grievance keeps which order back; the grievances are written already."""
    columns = {"grievance": list(holding), "order": list(holding.values())}
    insert_rows(context.connection, holds, columns)


def holds_of(context: Context, grievances: Iterable[int]) -> dict[int, int]:
    """The orders that these grievances keep back, by grievance."""
    rows = context.execute(sa.select(holds.c.grievance, holds.c.order).where(holds.c.grievance == _any(grievances)))
    return {row.grievance: row.order for row in rows}


def let_go(context: Context, resolved: Sequence[Wanted]) -> list[tuple[int, str]]:
    """End the holds of resolved grievances and release or cancel their orders; notes about what was refused.

    A cancelled order is cancelled whoever else keeps it back; any other is released with the last who keeps it back.
    """
    if not resolved:
        return []
    last = {one.order: one for one in resolved}
    _lock(context, last)
    context.execute(sa.delete(holds).where(holds.c.grievance == _any(one.grievance for one in resolved)))
    kept = _still_held(context, last)
    cancelled = {one.order for one in resolved if one.cancel}
    notes = _end(context, "payments.cancel", "cancelled", [last[order] for order in sorted(cancelled)])
    free = [last[order] for order in sorted(set(last) - cancelled - kept)]
    notes += _end(context, "payments.release", "approved", free)
    shared = [last[order] for order in sorted(kept - cancelled)]
    return notes + [(one.grievance, "the payment stays held: another grievance is about it") for one in shared]


def _end(context: Context, name: str, state: str, chosen: Sequence[Wanted]) -> list[tuple[int, str]]:
    answers = _perform(context, name, [(one.order, one.code) for one in chosen])
    return [
        (one.grievance, _note(f"the payment is not {state}", answer))
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


def _still_held(context: Context, numbers: Iterable[int]) -> set[int]:
    """Those of the orders that some grievance keeps back, whoever may see that one."""
    return set(context.execute(sa.select(holds.c.order).where(holds.c.order == _any(numbers))).scalars())


def _any(numbers: Iterable[int]) -> Any:
    return sa.any_(sa.literal(sorted(set(numbers)), ARRAY(sa.BigInteger)))


def _is(answer: Any, state: str) -> bool:
    return not isinstance(answer, Refusal) and answer.get("status") == state


def _note(what: str, answer: Any) -> str:
    if not isinstance(answer, Refusal):
        return f"{what} yet: that waits for a second person"  # the kernel's command is under [approvals]
    return f"{what}: {answer.message}" if answer.code == WRONG_STATE else f"{what} ({answer.code}): {answer.message}"
