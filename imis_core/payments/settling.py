"""What moved orders mean outside payments: cash in the ledger, and their sources settled, in the same transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.ledger.book import CASH, PAYABLE, post
from imis_core.payments.orders import LockedOrder
from imis_core.payments.sources import Settled


def settled_order(order: LockedOrder, state: str, *, number: int | None = None, was: str | None = None) -> Settled:
    """A locked order that moves to `state`.

    `number` is another order that takes up its debt (a retry); `was` its state, if it moved since it was locked.
    """
    return Settled(
        order.id if number is None else number, order.scheme, order.source, order.entitlement, state,
        order.amount_minor, order.state if was is None else was,
    )  # fmt: skip


def refusals_of(context: Context, wanted: Sequence[tuple[str, Settled]]) -> Mapping[int, Refusal]:
    """Which moves their sources do not allow, by order; `wanted` are pairs of source kind and move."""
    refused: dict[int, Refusal] = {}
    for kind, moves in sorted(_by_kind(wanted).items()):
        ask = context.app.sources[kind].refusals
        if ask is not None:
            refused.update(ask(context, moves))
    return refused


def settle(context: Context, moved: Sequence[tuple[str, Settled]], purpose: str) -> None:
    """Post what was paid or came back, and tell the sources; `moved` are pairs of source kind and move.

    One ledger entry per scheme and direction. Source: contract.md, 'Ledger accounts of every scheme'.
    """
    sums: Counter[tuple[str, str]] = Counter()
    for _, move in moved:
        sums[move.scheme, move.state] += move.amount_minor
    for (scheme, state), amount in sorted(sums.items()):
        if state == "paid":
            post(context, scheme, purpose, {PAYABLE: amount, CASH: -amount})
        elif state == "returned":
            post(context, scheme, purpose, {CASH: amount, PAYABLE: -amount})
    for kind, moves in sorted(_by_kind(moved).items()):
        context.app.sources[kind].settle(context, moves)


def _by_kind(moves: Sequence[tuple[str, Settled]]) -> dict[str, list[Settled]]:
    kinds: dict[str, list[Settled]] = {}
    for kind, move in moves:
        kinds.setdefault(kind, []).append(move)
    return kinds
