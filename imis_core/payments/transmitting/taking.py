"""What a provider says of orders goes to reconciliation: the same path that files take, and only what is new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import evolve

from imis_core.database.engine import retried
from imis_core.errors import ImisError, Refusal
from imis_core.payments.order_names import order_number
from imis_core.payments.reconciling import Report, ReportedPayment, take_report
from imis_core.payments.transmitting.cancelling import reasons_of
from imis_core.payments.transmitting.service import Told
from imis_core.payments.transmitting.store import audited, transaction
from imis_core.values import Amount

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.context import Context

CHUNK: Final = 5_000  # rows of one transaction
_NEWS: Final = sa.text(
    """
    UPDATE core.transmission_orders m SET told = n.told
    FROM unnest(CAST(:orders AS bigint[]), CAST(:told AS text[])) AS n("order", told)
    WHERE m."order" = n."order" AND m.transmission = :number AND m.told IS DISTINCT FROM n.told
    RETURNING m."order"
    """
)
_MEMBERS: Final = sa.text(
    'SELECT "order" FROM core.transmission_orders WHERE "order" = ANY(CAST(:orders AS bigint[])) '
    "AND transmission = :number"
)
_ALIEN: Final = sa.text(
    "SELECT order_named FROM core.reconciliation_rows WHERE payment_provider = :provider AND file = :file "
    "AND order_named = ANY(CAST(:named AS text[]))"
)


def take_told(app: Application, row: Any, rows: Iterable[Told], command: str) -> Counter[str]:
    """Reconcile what a provider's list says about a transmission, in transactions of at most 5,000 rows.

    Rows that say what they said before are left out: a list that is asked for again brings only what is new.
    """
    counted: Counter[str] = Counter()
    reading = iter(rows)
    while chunk := list(islice(reading, CHUNK)):
        counted += retried(lambda chunk=chunk: _take_chunk(app, row, chunk, command))  # type: ignore[misc]
    return counted


def _take_chunk(app: Application, row: Any, chunk: Sequence[Told], command: str) -> Counter[str]:
    with transaction(app, command) as context:
        new = _new_rows(context, row, [one for one in chunk if one.status != "pending"])
        if not new:
            return Counter()
        name = context.ids.encode("transmissions", row.id)
        counted = report_told(context, row.code, _with_reasons(context, new), name)
        audited(context, len(new), transmission=row.id, **counted)
        return counted


def _new_rows(context: Context, row: Any, told: Sequence[Told]) -> list[Told]:
    """The rows that say something new; those about orders of other transmissions once."""
    numbers = [order_number(one.order) for one in told]
    texts = {n: _said(one) for n, one in zip(numbers, told, strict=True) if n is not None}
    named = {"orders": list(texts), "number": row.id}
    members = set(context.execute(_MEMBERS, named).scalars())
    news = set(context.execute(_NEWS, named | {"told": list(texts.values())}).scalars())
    aliens = [one.order for one, n in zip(told, numbers, strict=True) if n not in members]
    known: set[str] = set()
    if aliens:
        file = context.ids.encode("transmissions", row.id)
        seen = {"provider": row.payment_provider, "file": file, "named": [_outside(context, a) for a in aliens]}
        known = set(context.execute(_ALIEN, seen).scalars())
    return [
        one
        for one, n in zip(told, numbers, strict=True)
        if (n in news if n in members else _outside(context, one.order) not in known)
    ]


def _with_reasons(context: Context, told: Sequence[Told]) -> list[Told]:
    """What we had the provider cancel has failed for our reason, whatever the provider calls it."""
    failed = [n for one in told if one.status == "failed" and (n := order_number(one.order)) is not None]
    reasons = reasons_of(context, failed)
    ours = [reasons.get(order_number(one.order) or 0) if one.status == "failed" else None for one in told]
    return [one if reason is None else evolve(one, reason=reason) for one, reason in zip(told, ours, strict=True)]


def _said(one: Told) -> str:
    return "|".join(str(part or "") for part in (one.status, one.amount, one.currency, one.reference))


def _outside(context: Context, named: str) -> str:
    """What a row names, as it stands in the reconciliation: an order by its id."""
    number = order_number(named)
    return named if number is None else context.ids.encode("orders", number)


def report_told(context: Context, provider: str, told: Sequence[Told], file: str) -> Counter[str]:
    """Reconcile decided rows; how many of each outcome."""
    numbers = [order_number(one.order) for one in told]
    outside = iter(context.ids.encode_all("orders", [n for n in numbers if n is not None]))
    rows = []
    for one, number in zip(told, numbers, strict=True):
        assert one.status != "pending"
        assert one.amount is not None
        rows.append(
            ReportedPayment(
                order=one.order if number is None else next(outside), status=one.status, amount=Amount(one.amount),
                reference=one.reference, reason=one.reason, currency=one.currency,
            )
        )  # fmt: skip
    counted = take_report(context, provider, Report(enumerate(rows, start=1), file))
    if isinstance(counted, Refusal):
        raise ImisError(counted)
    return counted
