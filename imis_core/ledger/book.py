"""Posting to the ledger: every money movement is one balanced entry; the database refuses one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from imis_core.context import Context

EXPENSE: Final = "benefits_expense"
PAYABLE: Final = "benefits_payable"
CASH: Final = "cash"
RECEIVABLE: Final = "contributions_receivable"
SUBSIDIES: Final = "subsidies_receivable"
INCOME: Final = "contributions_income"
RECOVERIES: Final = "recoveries_receivable"  # what beneficiaries were paid too much and owe back


def post(context: Context, scheme: str, purpose: str, amounts: Mapping[str, int]) -> int | None:
    """Post one entry in minor units of the scheme's currency: debit positive, credit negative, the sum 0.

    Zero amounts are left out; an entry of nothing is not written. Returns the entry's number.
    Source: contract.md, 'Ledger accounts of every scheme'.
    """
    moved = {account: amount for account, amount in amounts.items() if amount}
    if not moved:
        return None
    if sum(moved.values()) != 0:
        raise AssertionError(f"{purpose} posts an entry that does not balance: {moved}")
    # All postings of an entry in one statement: the trigger sums what the statement added.
    entry = context.execute(
        _POST,
        {
            "scheme": scheme,
            "currency": context.settings.currency_of(scheme),
            "booked_on": context.today,
            "purpose": purpose,
            "audit": context.audit,
            "accounts": list(moved),
            "amounts": list(moved.values()),
        },
    ).scalars()
    return int(entry.all()[0])


_POST: Final = sa.text(
    """
    WITH entry AS (
        INSERT INTO core.ledger_entries (scheme, currency, booked_on, purpose, audit)
        VALUES (:scheme, :currency, :booked_on, :purpose, :audit) RETURNING id)
    INSERT INTO core.ledger_postings (entry, account, amount)
    SELECT entry.id, p.account, p.amount
    FROM entry, unnest(CAST(:accounts AS text[]), CAST(:amounts AS bigint[])) AS p(account, amount) RETURNING entry
    """
)
