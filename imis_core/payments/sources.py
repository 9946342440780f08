"""Where orders come from: a kind of debt, and how it is settled when its orders move. Payments know no more of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from imis_core.errors import Problem, Refusal, invalid, not_found

if TYPE_CHECKING:
    import sqlalchemy as sa

    from imis_core.context import Context


@frozen
class Settled:
    """An order that moves to `state`: paid, failed, returned, held, approved, cancelled or reversed.

    `approved` is an order that was released, or a new one that tries a failed one again. `returned` is one that had
    been paid; to its source, one that came back before it was paid has `failed`. `was` is the state before (a retry's:
    that of the order which it tries again).
    """

    order: int
    scheme: str
    source: int
    entitlement: int
    state: str
    amount_minor: int
    was: str = ""


@frozen
class Batch:
    """A batch of debts that a caller named: its number in the source, and whether its orders may be sent now."""

    number: int
    approved: bool


@frozen
class SourceKind:
    """A kind of debt. `find(context, name)` gives the batch that a caller names.

    `settle(context, settled)` runs set-based, in the transaction of the move itself: what must hold together never goes
    through an event. It is called for every move but submission, also for moves of one order after another in one file.
    The cash movements (paid, returned) are posted by payments; the expense that a cancelled or reversed order takes
    back is posted here. Moves that the source makes itself (`move_orders_of`) it settles itself.
    `submitted(context, source)` is called whenever orders of a batch are sent, at first and again.
    `refusals(context, wanted)` says which of the moves that a user asks for (release, cancel, reverse, retry, hold) the
    source does not allow, by order: a batch that is closed. It is not asked about what providers report.
    `recipients(context, entitlements)` says who is paid for them now, by entitlement, for a retry; who is left out, and
    with a source that does not say, is paid as before.
    `entitlements_sql()` is a select with the columns `entitlement` (bigint, unique) and `beneficiary` (text), and
    `entitlement_noun` numbers the entitlements outside; both are for sources whose orders pay entitlements.
    """

    name: str
    find: Callable[[Context, str], Batch | None]
    settle: Callable[[Context, Sequence[Settled]], None]
    submitted: Callable[[Context, int], None] | None = None
    recipients: Callable[[Context, Sequence[int]], Mapping[int, int]] | None = None
    entitlements_sql: Callable[[], sa.Select[Any]] | None = None
    entitlement_noun: str | None = None
    refusals: Callable[[Context, Sequence[Settled]], Mapping[int, Refusal]] | None = None


# The fields in which a caller names a batch, with the kind of its source.
BATCHES: Final[Mapping[str, str]] = {"claims_batch": "claims", "payroll": "payroll", "refunds": "refunds"}


def batch_name(asked: object) -> str | None:
    """How a caller names a batch in one of the fields of `BATCHES`; None: in none of them."""
    return next((name for field in BATCHES if (name := getattr(asked, field, None)) is not None), None)


def batch_of(context: Context, asked: object) -> tuple[str, Batch] | Refusal:
    """The batch that a caller names in one of the fields of `BATCHES`, with the kind of its source."""
    named = [field for field in BATCHES if getattr(asked, field, None) is not None]
    if len(named) != 1:
        fields = [field for field in BATCHES if hasattr(asked, field)]
        return invalid(Problem(fields[0], "required", f"name one of {', '.join(fields)}"))
    kind, name = BATCHES[named[0]], getattr(asked, named[0])
    source = context.app.sources.get(kind)
    found = None if source is None else source.find(context, name)
    return not_found(named[0], "batch", name) if found is None else (kind, found)
