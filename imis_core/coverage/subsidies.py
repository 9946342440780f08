"""What others owe for households, settled by category: `contributions.record_subsidy`.

Source: contract-health.md, 'Subsidies'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.enrolment import coverage_type
from imis_core.coverage.receipts import (
    Method,
    Receipt,
    duplicate_receipt,
    form_problems,
    used_receipts,
    write_receipts,
)
from imis_core.coverage.tables import subsidy_accounts
from imis_core.database.arrays import any_of
from imis_core.errors import Refusal, invalid, not_found
from imis_core.ledger.book import CASH, SUBSIDIES, post
from imis_core.values import Amount, Money


@frozen(kw_only=True)
class RecordSubsidy:
    """`category`: the category of households, or the rule, for which the subsidy is paid."""

    scheme: str
    category: str
    amount: Amount
    receipt: str
    on: date | None = None
    method: Method = "bank"
    payer: str | None = None


@frozen(kw_only=True)
class SubsidyRecorded:
    """`balance`: what is still owed for the category."""

    id: str
    category: str
    balance: Money


@define
class _Owed:
    """What is owed for a category after the items of the batch so far."""

    minor: int
    taken: int = 0


@command("contributions.record_subsidy", input=RecordSubsidy, result=SubsidyRecorded)
def record_subsidy(context: Context, items: tuple[RecordSubsidy, ...]) -> list[SubsidyRecorded | Refusal]:
    """Record what was paid of the subsidies that are owed for a category of households."""
    owed = _owed(context, items)
    used = used_receipts(context, [(item.scheme, item.receipt) for item in items])
    outcomes: list[Any] = []
    accepted: list[Receipt] = []
    for item in items:
        outcome = _judge(context, item, owed, used)
        if isinstance(outcome, Receipt):
            owed[item.scheme, item.category].taken += outcome.minor
            used.add((item.scheme, item.receipt))
            accepted.append(outcome)
            left = owed[item.scheme, item.category].minor - owed[item.scheme, item.category].taken
            outcomes.append(SubsidyRecorded(id="", category=item.category, balance=Money(left, outcome.currency)))
        else:
            outcomes.append(outcome)
    identities = iter(write_receipts(context, accepted))
    _settle(context, owed)
    sums: dict[str, int] = {}
    for one in accepted:
        sums[one.scheme] = sums.get(one.scheme, 0) + one.minor
    for scheme, minor in sums.items():
        post(context, scheme, "contributions.record_subsidy", {CASH: minor, SUBSIDIES: -minor})
    return [
        o if isinstance(o, Refusal) else SubsidyRecorded(id=next(identities), category=o.category, balance=o.balance)
        for o in outcomes
    ]


def _owed(context: Context, items: Sequence[RecordSubsidy]) -> dict[tuple[str, str], _Owed]:
    """The accounts of the categories, locked in one order. One statement."""
    s = subsidy_accounts.c
    rows = context.execute(
        sa.select(s.scheme, s.category, s.owed_minor, s.settled_minor)
        .where(
            s.scheme == any_of({i.scheme for i in items}, sa.Text),
            s.category == any_of({i.category for i in items}, sa.Text),
        )
        .order_by(s.scheme, s.category)
        .with_for_update()
    )
    return {(row.scheme, row.category): _Owed(row.owed_minor - row.settled_minor) for row in rows}


def _judge(
    context: Context, item: RecordSubsidy, owed: dict[tuple[str, str], _Owed], used: set[tuple[str, str]]
) -> Receipt | Refusal:
    kind = coverage_type(context, item.scheme)
    if isinstance(kind, Refusal):
        return kind
    currency = context.settings.currency_of(item.scheme)
    read = form_problems(context, item.amount, item.receipt, item.on, currency)
    if not isinstance(read, int):
        return invalid(*read)
    account = owed.get((item.scheme, item.category))
    if account is None:
        return not_found("category", "subsidy of the category", item.category)
    if (item.scheme, item.receipt) in used:
        return duplicate_receipt(item.scheme, item.receipt)
    left = account.minor - account.taken
    if read > left:
        message = (
            f"{Money(read, currency)} is more than is owed for {item.category!r} ({Money(max(left, 0), currency)})"
        )
        return Refusal("contributions.overpaid", f"{message}; record at most that")
    return Receipt(
        scheme=item.scheme, minor=read, currency=currency, on=item.on or context.today, receipt=item.receipt,
        method=item.method, payer=item.payer, category=item.category,
    )  # fmt: skip


def _settle(context: Context, owed: dict[tuple[str, str], _Owed]) -> None:
    taken = [(key, account.taken) for key, account in sorted(owed.items()) if account.taken]
    if taken:
        context.execute(
            SETTLE,
            {
                "schemes": [scheme for (scheme, _), _ in taken],
                "categories": [category for (_, category), _ in taken],
                "amounts": [minor for _, minor in taken],
            },
        )


# Adds to what was settled of categories; negative when a receipt is taken back.
SETTLE: Final = sa.text(
    """
    UPDATE core.subsidy_accounts AS a SET settled_minor = a.settled_minor + n.minor
    FROM unnest(CAST(:schemes AS text[]), CAST(:categories AS text[]), CAST(:amounts AS bigint[]))
         AS n(scheme, category, minor)
    WHERE a.scheme = n.scheme AND a.category = n.category
    """
)
