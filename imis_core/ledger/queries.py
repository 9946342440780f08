"""What the ledger says: balances per account of a scheme."""

from __future__ import annotations

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.ledger.tables import entries, postings
from imis_core.queries import query
from imis_core.values import Money


@frozen(kw_only=True)
class LedgerBalances:
    scheme: str


@frozen(kw_only=True)
class Balances:
    """`accounts`: debit positive, credit negative; an account that never moved is absent."""

    accounts: dict[str, Money]
    balanced: bool


@query("ledger.balances", input=LedgerBalances, result=Balances)
def ledger_balances(context: Context, asked: LedgerBalances) -> Balances | Refusal:
    """The balance of each account of a scheme, and whether they add up to 0."""
    known = context.settings.schemes
    if asked.scheme not in known:
        message = f"there is no scheme {asked.scheme!r}{suggestion(asked.scheme, known)}"
        return invalid(Problem("scheme", "unknown", message))
    rows = context.execute(
        sa.select(postings.c.account, sa.func.sum(postings.c.amount))
        .join(entries, entries.c.id == postings.c.entry)
        .where(entries.c.scheme == asked.scheme)
        .group_by(postings.c.account)
        .order_by(postings.c.account)
    ).all()
    sums: dict[str, int] = {account: int(total) for account, total in map(tuple, rows)}
    accounts = {account: context.money(total, asked.scheme) for account, total in sums.items()}
    return Balances(accounts=accounts, balanced=sum(sums.values()) == 0)


QUERIES = (ledger_balances,)
