"""Recoveries that end before all is taken: given up by a person, repaid in cash, or their payment itself came back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.ledger.book import CASH, EXPENSE, RECOVERIES, post
from imis_core.payroll.recovering import TAKEN
from imis_core.payroll.states import RECOVERY_STATES
from imis_core.payroll.tables import recoveries
from imis_core.values import Money

CAME_BACK: Final = "the payment came back"  # what is kept as the reason


@frozen(kw_only=True)
class EndRecovery:
    """`repaid`: what is left came back as cash, so that it is no loss; else it is given up, as an expense."""

    recovery: str
    reason: str
    repaid: bool = False


@frozen(kw_only=True)
class RecoveryEnded:
    """`written_off`: what is left of it now, given up or repaid, and taken of no payment any more."""

    id: str
    code: str
    written_off: Money
    status: str


@frozen
class _End:
    """A recovery that ends: what is left of it, in minor units, and the account that this moves to."""

    id: int
    scheme: str
    state: str
    left: int
    reason: str
    account: str


@command("payroll.end_recovery", input=EndRecovery, result=RecoveryEnded)
def end_recovery(context: Context, items: tuple[EndRecovery, ...]) -> list[RecoveryEnded | Refusal]:
    """Take no more of a recovery: what is left is given up, or was repaid. What payrolls took already stays taken."""
    rows = _locked(context, items)
    outcomes: list[RecoveryEnded | Refusal] = []
    ends: dict[int, _End] = {}
    for item in items:
        row = rows.get(item.recovery)
        if row is None:
            outcomes.append(not_found("recovery", "recovery", item.recovery))
            continue
        state = "returned" if row.state == "returned" else "ended"
        if row.id in ends or row.left_minor <= 0 or not RECOVERY_STATES.allows(row.state, state):
            message = "nothing is left of the recovery that could be given up"
            outcomes.append(Refusal("payroll.wrong_state", message))
            continue
        account = CASH if item.repaid else EXPENSE
        ends[row.id] = _End(row.id, row.scheme, state, row.left_minor, item.reason, account)
        outcomes.append(
            RecoveryEnded(
                id=context.ids.encode("recoveries", row.id), code=row.code, status=state,
                written_off=context.money(row.left_minor, row.scheme),
            )
        )  # fmt: skip
    _end(context, list(ends.values()))
    return outcomes


def end_for_returned(context: Context, orders: Iterable[int]) -> None:
    """Take no more for paid orders that came back: who has nothing of a payment owes nothing of it back.

    What is left is an expense again, as the payment is owed again; the recoveries are `returned` from then on, also
    those of which nothing is left. What payrolls took before that stays taken: it is listed under that status.
    """
    numbers = list(context.execute(_LOCK_OF, {"orders": sorted(orders)}).scalars())
    ends = [
        _End(row.id, row.scheme, "returned", row.left_minor, CAME_BACK, EXPENSE)
        for row in (_standing(context, numbers) if numbers else ())
        if RECOVERY_STATES.allows(row.state, "returned")
    ]
    _end(context, ends)


def _end(context: Context, ends: Sequence[_End]) -> None:
    """Write that recoveries end, and post what is left of them."""
    if not ends:
        return
    context.execute(
        _END,
        {
            "ids": [one.id for one in ends],
            "states": [one.state for one in ends],
            "amounts": [one.left for one in ends],
            "repaid": [one.left if one.account == CASH else 0 for one in ends],
            "reasons": [one.reason for one in ends],
        },
    )
    sums: Counter[tuple[str, str]] = Counter()
    for one in ends:
        sums[one.scheme, one.account] += one.left
    for (scheme, account), amount in sorted(sums.items()):
        post(context, scheme, context.command, {account: amount, RECOVERIES: -amount})


def _locked(context: Context, items: Sequence[EndRecovery]) -> dict[str, Any]:
    """The recoveries that are named and that the caller may see, locked, with what is left of each."""
    named = context.named(recoveries, {item.recovery for item in items}, recoveries.c.id, recoveries.c.code)
    numbers = sorted({row.id for _, row in named})
    if not numbers:
        return {}
    context.execute(_LOCK, {"ids": numbers})
    rows = {row.id: row for row in _standing(context, numbers)}
    return {name: rows[row.id] for name, row in named}


def _standing(context: Context, numbers: Sequence[int]) -> Sequence[Any]:
    """What is left of locked recoveries. Only a statement after the locks sees what payrolls took before those."""
    return context.execute(_STANDING, {"ids": list(numbers)}).all()


_LOCK: Final = sa.text(
    "SELECT FROM core.recoveries WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE"
)
_LOCK_OF: Final = sa.text(
    'SELECT id FROM core.recoveries WHERE "order" = ANY(CAST(:orders AS bigint[])) ORDER BY id FOR NO KEY UPDATE'
)
_STANDING: Final = sa.text(
    f"""
    SELECT r.id, r.scheme, r.code, r.state, r.amount_minor - r.written_off_minor - coalesce(t.taken, 0) AS left_minor
    FROM core.recoveries r
    LEFT JOIN ({TAKEN.format(chosen="SELECT unnest(CAST(:ids AS bigint[]))")}) t ON t.recovery = r.id
    WHERE r.id = ANY(CAST(:ids AS bigint[])) ORDER BY r.id
    """
)
_END: Final = sa.text(
    "UPDATE core.recoveries r SET state = n.state, written_off_minor = r.written_off_minor + n.minor, "
    "repaid_minor = r.repaid_minor + n.repaid, reason = r.reason || '; ended: ' || n.reason "
    "FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:amounts AS bigint[]), "
    "CAST(:repaid AS bigint[]), CAST(:reasons AS text[])) AS n(id, state, minor, repaid, reason) WHERE r.id = n.id"
)

COMMANDS: Final = (end_recovery,)
