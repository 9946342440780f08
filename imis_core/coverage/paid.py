"""What was paid for policies: contributions that were not taken back, credits moved from one policy to the next, and
those that are refunded.

Reads only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.coverage.standing import Payment
from imis_core.coverage.states import TAKES_CREDIT, TERMINATED


@frozen
class Paid:
    """What has been paid for a policy and not refunded, by date. `installments`: in how many parts it was paid."""

    payments: tuple[Payment, ...] = ()
    installments: int = 0

    @property
    def minor(self) -> int:
        return sum(payment.minor for payment in self.payments)

    def with_(self, payment: Payment) -> Paid:
        """With one more contribution."""
        return Paid((*self.payments, payment), self.installments + 1)


def given_up_minor(due: int, paid: int) -> int:
    """What a termination gives up, in minor units: the part of the contribution that was not paid.

    What was refunded and then was not paid after all (`paid` is negative) is no contribution, and stays owed.
    Source: contract.md, 'Ledger accounts of every scheme'.
    """
    return min(max(due - paid, 0), due)


def owed_minor(state: str, due: int, paid: int) -> int:
    """What a household owes for a policy in that state, in minor units; negative: a credit.

    A terminated policy owes what was refunded of it and not paid; its credit is told by `contributions.credits`.
    """
    return max(-paid, 0) if state == TERMINATED else due - paid


def less_refunds(payments: Iterable[Payment], refunds: Iterable[Payment]) -> tuple[Payment, ...]:
    """Payments less what was refunded of them, both in order of their dates; refunds say when they took their credit.

    A refund takes what was paid last by its day. A credit is what nobody needed, so that every day on which something
    was paid in full stays the same, and what is dated back before the refund finds no credit that is gone. What it
    takes more, since a contribution was taken back, counts as less than nothing from its day on.
    """
    left = list(payments)
    for refund in refunds:
        rest = refund.minor
        for place in range(len(left) - 1, -1, -1):
            one = left[place]
            if one.on <= refund.on and one.minor > 0 and rest:
                taken = min(rest, one.minor)
                left[place] = Payment(one.on, one.minor - taken)
                rest -= taken
        if rest:
            left.append(Payment(refund.on, -rest))
    return tuple(sorted((one for one in left if one.minor), key=lambda one: one.on))


# What was paid and taken, a row each: `what` is a contribution, a credit moved in or out, or a refund (both negative).
# `{chosen}` compares a policy's number with those that are asked for.
MOVEMENTS: Final = """
    SELECT c.coverage, c.paid_on AS day, c.amount_minor AS minor, 'contribution' AS what, c.id FROM core.contributions c
    WHERE c.coverage {chosen}
      AND NOT EXISTS (SELECT FROM core.contribution_reversals r WHERE r.contribution = c.id)
    UNION ALL
    SELECT t.taken_by, t.moved_on, t.minor, 'credit', 0 FROM core.coverage_credits t WHERE t.taken_by {chosen}
    UNION ALL
    SELECT t.given_by, t.moved_on, -t.minor, 'credit', 0 FROM core.coverage_credits t WHERE t.given_by {chosen}
    UNION ALL
    SELECT f.coverage, f.taken_on, -f.amount_minor, 'refund', f.id FROM core.contribution_refunds f
    WHERE f.coverage {chosen} AND f.state = ANY(CAST(:taking AS text[]))
"""
_PAID: Final = sa.text(
    f"""
    SELECT p.coverage, p.day, p.minor, p.what
    FROM ({MOVEMENTS.format(chosen="= ANY(CAST(:ids AS bigint[]))")}) p ORDER BY p.coverage, p.day, p.id
    """
)


def paid_for(context: Context, ids: Iterable[int]) -> dict[int, Paid]:
    """What has been paid, by policy; a policy without payments is left out. One statement."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows: Iterable[Any] = context.execute(_PAID, {"ids": wanted, "taking": list(TAKES_CREDIT)})
    return {coverage: _paid(list(of)) for coverage, of in groupby(rows, key=lambda row: int(row.coverage))}


def _paid(rows: Sequence[Any]) -> Paid:
    payments = [Payment(row.day, row.minor) for row in rows if row.what != "refund"]
    refunds = [Payment(row.day, -row.minor) for row in rows if row.what == "refund"]
    return Paid(less_refunds(payments, refunds), sum(row.what == "contribution" for row in rows))
