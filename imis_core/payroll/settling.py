"""How payments settle payrolls: what becomes of entitlements, budgets and payrolls when their orders move.

Payments post the movements of cash (paid, returned); the expense that a cancelled or reversed order takes back is
posted here. All of it runs in the transaction of the move itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from imis_core.beneficiaries.tables import groups, persons
from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.payments.sources import Batch, Settled, SourceKind
from imis_core.payroll.budgets import move_budgets
from imis_core.payroll.ending import end_for_returned
from imis_core.payroll.owing import SOURCE, move_entitlements, paid_to, post_expense
from imis_core.payroll.reach import whole_payrolls
from imis_core.payroll.recovering import recovered_orders, taken_of
from imis_core.payroll.showing import find_payroll, locked_payrolls, set_state
from imis_core.payroll.states import AGREED, OPEN_SQL, PAYROLL_STATES
from imis_core.payroll.tables import entitlements

RETRIED: Final = ("failed", "returned")  # the states of an order that another one may try again
# What an order's move does to its entitlement, and to what its package has reserved and spent.
_BECOMES: Final[Mapping[str, str]] = {
    "paid": "paid", "failed": "failed", "returned": "failed", "held": "held", "approved": "approved",
    "cancelled": "cancelled", "reversed": "reversed",
}  # fmt: skip
_RESERVED_AND_SPENT: Final[Mapping[str, tuple[int, int]]] = {
    "paid": (-1, 1), "failed": (-1, 0), "cancelled": (-1, 0), "returned": (0, -1), "reversed": (0, -1),
}  # fmt: skip
# The states of a payroll in which a user may move an order; what providers report is taken in any.
_MAY_MOVE: Final[Mapping[str, tuple[str, ...]]] = {
    "approved": ("approved", "paying"),
    "held": ("approved", "paying"),
    "cancelled": ("approved", "paying"),
    "reversed": (*AGREED, "rejected"),
}
_MAY_RETRY: Final = ("approved", "paying", "reconciled")


def settle(context: Context, settled: Sequence[Settled]) -> None:
    """Entitlements follow their orders; budgets, ledger and payrolls follow them (contract-kernel.md, payroll)."""
    with whole_payrolls(context):
        payrolls = locked_payrolls(context, {s.source for s in settled})
        # A return is kept as the reason why its entitlement failed.
        reasons = {"returned": "returned"}
        move_entitlements(context, [(s.entitlement, _BECOMES[s.state], reasons.get(s.state)) for s in settled])
        budgets: dict[int, tuple[int, int]] = {}
        taken_back: Counter[str] = Counter()
        given_up: list[tuple[str, int, int]] = []
        for one in settled:
            package = payrolls[one.source].package
            reserved, spent = (1, 0) if _retry(one) else _RESERVED_AND_SPENT.get(one.state, (0, 0))
            before = budgets.get(package, (0, 0))
            budgets[package] = (before[0] + reserved * one.amount_minor, before[1] + spent * one.amount_minor)
            if one.state in ("cancelled", "reversed"):
                taken_back[one.scheme] += one.amount_minor
                given_up.append((one.scheme, one.source, one.entitlement))
        move_budgets(context, budgets)
        taken = taken_of(context, given_up)
        for scheme, amount in sorted(taken_back.items()):
            post_expense(context, scheme, -amount, -taken[scheme])
        came_back = [s.order for s in settled if s.state == "returned"]
        if came_back:
            end_for_returned(context, came_back)
        again = {s.source for s in settled if _retry(s) and payrolls[s.source].state == "reconciled"}
        if again:
            set_state(context, again, "paying")
        reconcile(context, payrolls)


def _retry(move: Settled) -> bool:
    return move.state == "approved" and move.was in RETRIED


def reconcile(context: Context, payrolls: Iterable[int]) -> None:
    """Those of the payrolls are reconciled that somebody agreed to and of which nothing is open any more."""
    context.execute(_RECONCILE, {"payrolls": sorted(payrolls), "states": list(PAYROLL_STATES.before("reconciled"))})


_RECONCILE: Final = sa.text(
    f"""
    UPDATE core.payrolls p SET state = 'reconciled'
    WHERE p.id = ANY(CAST(:payrolls AS bigint[])) AND p.state = ANY(CAST(:states AS text[])) AND NOT EXISTS (
        SELECT FROM core.entitlement_current t WHERE t.payroll = p.id AND t.state IN ({OPEN_SQL}))
    """
)


def submitted(context: Context, payroll: int) -> None:
    """An approved payroll is being paid from its first submission on."""
    with whole_payrolls(context):
        row = locked_payrolls(context, (payroll,))[payroll]
        if row.state == "approved":
            set_state(context, (payroll,), "paying")


def recipients(context: Context, wanted: Sequence[int]) -> Mapping[int, int]:
    """Whom entitlements are paid to now: a household's primary recipient may have changed since the last order."""
    with whole_payrolls(context):
        return paid_to(context, wanted)


def refusals(context: Context, wanted: Sequence[Settled]) -> Mapping[int, Refusal]:
    """`payroll.wrong_state` for moves that a payroll does not allow any more: it is closed, or was rejected."""
    with whole_payrolls(context):
        payrolls = locked_payrolls(context, {move.source for move in wanted})
        reversals = [move.order for move in wanted if move.state == "reversed"]
        recovered = recovered_orders(context, reversals) if reversals else set()
    refused: dict[int, Refusal] = {}
    for move in wanted:
        if move.order in recovered:
            message = "the order is being taken back from later payments already; it cannot be reversed as well"
            refused[move.order] = Refusal("payroll.wrong_state", message)
            continue
        state = payrolls[move.source].state
        if state not in (_MAY_RETRY if _retry(move) else _MAY_MOVE[move.state]):
            message = f"the payroll is {state}; its orders cannot become {move.state} any more"
            refused[move.order] = Refusal("payroll.wrong_state", message)
    return refused


def find_batch(context: Context, name: str) -> Batch | None:
    """The payroll that a caller names; its orders may be sent once it is approved."""
    payroll = find_payroll(context, name)
    return None if isinstance(payroll, Refusal) else Batch(payroll.id, payroll.state in AGREED)


def entitlements_sql() -> sa.Select[Any]:
    """Whom each entitlement is for: the household's code or the person's number."""
    return (
        sa.select(
            entitlements.c.id.label("entitlement"),
            sa.func.coalesce(groups.c.code, persons.c.number).label("beneficiary"),
        )
        .outerjoin(groups, groups.c.id == entitlements.c.group)
        .outerjoin(persons, persons.c.id == entitlements.c.person)
    )


PAYROLL_SOURCE: Final = SourceKind(
    SOURCE,
    find_batch,
    settle,
    submitted=submitted,
    recipients=recipients,
    entitlements_sql=entitlements_sql,
    entitlement_noun="entitlements",
    refusals=refusals,
)
