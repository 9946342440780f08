"""What may go through each payment provider now: its limits of `imis.toml`, whatever its channel, and of its service.

What went on a day is counted as orders are submitted (`submitting`), for every provider, so that a limit that is set in
the middle of a day knows what went before. An order that fails later stays counted: it did go out on that day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.limit_settings import LimitsTable
from imis_core.payments.tables import payment_providers
from imis_core.payments.transmitting.gateways import Reached
from imis_core.values import to_minor


@frozen
class Limit:
    """What may go to a provider, in minor units: of one order, and today altogether from now on; None: any amount.

    `payee_max`: what its service can carry (`Service`).
    """

    provider: int
    order: int | None
    day: int | None
    payee_max: int | None = None


# Of two that submit at once, the second one waits here, and sees what the first one sent.
_TODAY: Final = sa.text(
    """
    INSERT INTO core.payment_days AS d (payment_provider, day, currency, amount_minor)
    SELECT n.provider, :today, :currency, 0 FROM unnest(CAST(:providers AS bigint[])) AS n(provider) ORDER BY n.provider
    ON CONFLICT (payment_provider, day, currency) DO UPDATE SET amount_minor = d.amount_minor
    RETURNING payment_provider, amount_minor
    """
)


def limits(context: Context, reached: Sequence[Reached]) -> list[Limit]:
    """The limits as they stand, in the order of the providers; those of a day are locked until the transaction ends."""
    settings, currency = context.settings, context.settings.deployment.currency
    payees = {one.provider: one.service.payee_max for one in reached if one.service.payee_max is not None}
    tables = {number: settings.limits_of(code) for number, code in _named(context).items()}
    of_order = _minor_by_number(tables, "order_amount_max", currency)
    days = _minor_by_number(tables, "day_amount_max", currency)
    gone = {}
    if days:
        today = {"today": context.today, "currency": currency, "providers": list(days)}
        gone = {row.payment_provider: row.amount_minor for row in context.execute(_TODAY, today)}
    return [
        Limit(
            number,
            # What is more than a whole day's amount never goes, and must not keep the others back day by day.
            min((most[number] for most in (of_order, days) if number in most), default=None),
            days[number] - gone[number] if number in days else None,
            payees.get(number),
        )
        for number in sorted(tables)
    ]


def _named(context: Context) -> Mapping[int, str]:
    """The payment providers that `imis.toml` speaks of, by number; no statement where there is none."""
    codes = sorted({*context.settings.payment_limits, *context.settings.payment_gateways})
    if not codes:
        return {}
    p = payment_providers.c
    return {
        row.id: row.code for row in context.execute(sa.select(p.id, p.code).where(p.code == any_of(codes, sa.Text)))
    }


def _minor_by_number(tables: Mapping[int, LimitsTable], name: str, currency: str) -> dict[int, int]:
    """One of the amounts of the tables that have it; the settings were checked when they were read."""
    amounts = {number: getattr(table, name) for number, table in tables.items()}
    return {number: to_minor(amount, currency) for number, amount in amounts.items() if amount is not None}
