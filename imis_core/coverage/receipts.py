"""Receipts: what all payments into a scheme have in common, whoever pays and whatever for. A receipt counts once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.coverage.enrolment import future
from imis_core.coverage.tables import contributions
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning
from imis_core.database.engine import lost_race
from imis_core.errors import Problem, Refusal
from imis_core.values import NotExact, to_minor

Method = Literal["cash", "bank", "mobile", "funding"]
RECEIPT_MAX: Final = 200  # characters


@frozen(kw_only=True)
class Receipt:
    """A payment to be written: for a policy, for an employer's month, or for a category of subsidies."""

    scheme: str
    minor: int
    currency: str
    on: date
    receipt: str
    method: str
    payer: str | None
    coverage: int | None = None
    employer: int | None = None
    month: date | None = None
    category: str | None = None
    override_reason: str | None = None


def form_problems(
    context: Context, amount: Decimal, receipt: str, on: date | None, currency: str
) -> int | list[Problem]:
    """The amount in minor units, or what is wrong: nothing paid, more decimals than the currency, a day to come."""
    problems = []
    minor = 0
    try:
        minor = to_minor(amount, currency)
        if minor == 0:
            problems.append(Problem("amount", "range", "a contribution is more than 0"))
    except NotExact as error:
        problems.append(Problem("amount", "not_exact", str(error)))
    if not receipt.strip() or len(receipt) > RECEIPT_MAX:
        problems.append(Problem("receipt", "format", f"a receipt has 1 to {RECEIPT_MAX} characters"))
    if on is not None and on > context.today:
        problems.append(future(context.today))
    return problems or minor


def used_receipts(context: Context, asked: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which (scheme, receipt) are recorded already. One statement."""
    pairs = sorted(set(asked))
    c = contributions.c
    receipts = any_of([receipt for _, receipt in pairs], sa.Text)
    schemes = any_of({scheme for scheme, _ in pairs}, sa.Text)
    rows = context.execute(sa.select(c.scheme, c.receipt).where(c.scheme == schemes, c.receipt == receipts))
    return {(row.scheme, row.receipt) for row in rows}


def duplicate_receipt(scheme: str, receipt: str) -> Refusal:
    message = f"the receipt {receipt!r} was recorded before in {scheme!r}; use the number of this payment"
    return Refusal("contributions.duplicate_receipt", message)


def write_receipts(context: Context, receipts: Sequence[Receipt]) -> list[str]:
    """Write payments; their ids outside, in order. A receipt that somebody takes at this moment: `lost_race`."""
    names = (
        "scheme", "coverage", "employer", "month", "category", "currency", "receipt", "method", "payer",
        "override_reason",
    )  # fmt: skip
    rows = insert_returning(
        context.connection,
        contributions,
        {
            **{name: [getattr(one, name) for one in receipts] for name in names},
            "amount_minor": [one.minor for one in receipts],
            "paid_on": [one.on for one in receipts],
            "audit": [context.audit] * len(receipts),
        },
        conflict="(scheme, receipt) DO NOTHING",
        returning="scheme, receipt, id",
    )
    written = {(row[0], row[1]): row[2] for row in rows}
    if {(one.scheme, one.receipt) for one in receipts} - set(written):
        # A receipt that somebody else uses at the same moment shows only now: the door runs the whole batch again.
        raise lost_race("a receipt")
    return context.ids.encode_all("contributions", [written[one.scheme, one.receipt] for one in receipts])
