"""What was paid for policies: contributions that were not taken back, credits moved from one policy to the next, and
those that are refunded.

Reads only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.coverage.standing import Payment
from imis_core.coverage.states import TAKES_CREDIT, TERMINATED


@frozen
class Paid:
    """What has been paid for a policy, in order of its dates. `installments`: in how many parts."""

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


_PAID: Final = sa.text(
    """
    SELECT p.coverage, p.paid_on, p.minor, p.part FROM (
        SELECT c.coverage, c.paid_on, c.amount_minor AS minor, true AS part, c.id FROM core.contributions c
        WHERE c.coverage = ANY(CAST(:ids AS bigint[]))
          AND NOT EXISTS (SELECT FROM core.contribution_reversals r WHERE r.contribution = c.id)
        UNION ALL
        SELECT t.taken_by, t.moved_on, t.minor, false, 0 FROM core.coverage_credits t
        WHERE t.taken_by = ANY(CAST(:ids AS bigint[]))
        UNION ALL
        SELECT t.given_by, t.moved_on, -t.minor, false, 0 FROM core.coverage_credits t
        WHERE t.given_by = ANY(CAST(:ids AS bigint[]))
        UNION ALL
        SELECT f.coverage, f.prepared_on, -f.amount_minor, false, 0 FROM core.contribution_refunds f
        WHERE f.coverage = ANY(CAST(:ids AS bigint[])) AND f.state = ANY(CAST(:taking AS text[]))) p
    ORDER BY p.coverage, p.paid_on, p.id
    """
)


def paid_for(context: Context, ids: Iterable[int]) -> dict[int, Paid]:
    """What has been paid, by policy; a policy without payments is left out. One statement."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    found: dict[int, tuple[list[Payment], int]] = {}
    rows: Iterable[Any] = context.execute(_PAID, {"ids": wanted, "taking": list(TAKES_CREDIT)})
    for coverage, on, minor, part in rows:
        payments, parts = found.get(coverage, ([], 0))
        payments.append(Payment(on, minor))
        found[coverage] = (payments, parts + part)
    return {number: Paid(tuple(payments), parts) for number, (payments, parts) in found.items()}
