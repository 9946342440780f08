"""Where orders come from: a kind of debt, and how it is settled when its orders reach an end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from imis_core.context import Context


@frozen
class Settled:
    """An order that reached an end in this reconciliation: paid, failed or returned."""

    order: int
    scheme: str
    source: int
    entitlement: int
    state: str
    amount_minor: int


@frozen
class Batch:
    """A batch of debts that a caller named: its number in the source, and whether it was approved."""

    number: int
    approved: bool


@frozen
class SourceKind:
    """A kind of debt. `find(context, name)` gives the batch that a caller names.

    `settle(context, settled)` runs set-based, in the transaction of the reconciliation itself: what must hold together
    never goes through an event.
    """

    name: str
    find: Callable[[Context, str], Batch | None]
    settle: Callable[[Context, Sequence[Settled]], None]
