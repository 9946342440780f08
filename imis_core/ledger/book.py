"""Posting to the ledger: every money movement is one balanced entry; the database refuses one that is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.database.bulk import insert_returning
from imis_core.ledger.tables import entries, postings

EXPENSE: Final = "benefits_expense"
PAYABLE: Final = "benefits_payable"
CASH: Final = "cash"
RECEIVABLE: Final = "contributions_receivable"
SUBSIDIES: Final = "subsidies_receivable"
INCOME: Final = "contributions_income"


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
    entry: int = context.execute(
        sa.insert(entries)
        .values(
            scheme=scheme,
            currency=context.settings.currency_of(scheme),
            booked_on=context.today,
            purpose=purpose,
            audit=context.audit,
        )
        .returning(entries.c.id)
    ).scalar_one()
    # All postings of an entry in one statement: the trigger sums what the statement added.
    insert_returning(
        context.connection,
        postings,
        {"entry": [entry] * len(moved), "account": list(moved), "amount": list(moved.values())},
    )
    return entry
