"""What `imis doctor` sees of payments to providers with a service: lines, parked transmissions, missing secrets.

Everything is read as the application's own login. It asks no provider and repairs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from imis_core.gateway_settings import SECRET_MIN

if TYPE_CHECKING:
    from imis_core.deployment import Settings
    from imis_core.operations.doctor import Finding

LATE_SECONDS: Final = 900.0  # a transmission that should have been looked at so long ago has no worker
_THERE: Final = sa.text("SELECT to_regclass('core.transmission_current') IS NOT NULL")
_LINES: Final = sa.text(
    "SELECT p.code, l.until, l.reason FROM core.payment_lines l "
    "JOIN core.payment_providers p ON p.id = l.payment_provider WHERE l.state <> 'closed' ORDER BY p.code"
)
_OPEN: Final = sa.text(
    """
    SELECT p.code, count(*) FILTER (WHERE c.state = 'parked') AS parked,
           count(*) FILTER (WHERE c.state <> 'parked') AS under_way,
           count(*) FILTER (WHERE c.state <> 'parked'
                            AND c.due_at < clock_timestamp() - make_interval(secs => :late)) AS late
    FROM core.transmission_current c JOIN core.payment_providers p ON p.id = c.payment_provider
    WHERE c.state IN ('waiting', 'sending', 'unknown', 'accepted', 'parked') GROUP BY p.code ORDER BY p.code
    """
)


# Orders that wait for what came of them, in transmissions that nobody asks about any more.
_LEFT: Final = sa.text(
    """
    SELECT p.code, count(*) AS orders FROM core.transmission_orders m
    JOIN core.transmission_current c ON c.transmission = m.transmission
    JOIN core.order_current t ON t."order" = m."order"
    JOIN core.payment_providers p ON p.id = c.payment_provider
    WHERE t.state IN ('submitted', 'accepted', 'held') AND (m.left_out OR c.state IN ('reported', 'refused'))
    GROUP BY p.code ORDER BY p.code
    """
)


# A voucher that was made can be redeemed, whatever we think of its order.
_HELD: Final = sa.text(
    """
    SELECT p.code, count(*) AS orders FROM core.transmission_orders m
    JOIN core.transmission_current c ON c.transmission = m.transmission
    JOIN core.order_current t ON t."order" = m."order"
    JOIN core.payment_providers p ON p.id = c.payment_provider
    WHERE t.state = 'held' AND NOT m.left_out AND p.channel = 'voucher' AND c.state IN ('unknown', 'accepted', 'parked')
      AND NOT EXISTS (SELECT FROM core.voucher_cancellations x WHERE x."order" = m."order")
    GROUP BY p.code ORDER BY p.code
    """
)
_OTHERS: Final = sa.text(
    "SELECT code, channel FROM core.payment_providers "
    "WHERE code = ANY(CAST(:codes AS text[])) AND channel <> 'voucher' ORDER BY code"
)


def look_at_payments(connection: sa.Connection, settings: Settings) -> Iterator[Finding]:
    """Findings about providers with a service and about limits; none where there is none of either and never was."""
    from imis_core.operations.doctor import Finding

    if not connection.execute(_THERE).scalar_one():
        return  # an older schema: the migrations are told of
    found = [
        *_secrets(settings),
        *_limits(settings),
        *_unknown(connection, settings),
        *_lines(connection),
        *_transmissions(connection, settings),
    ]
    found += [*_left(connection), *_vouchers(connection, settings)]
    if settings.payment_gateways and not found:
        found = [Finding("payments", "ok", "payments.right", "every line is closed, no transmission is parked")]
    yield from found


def _secrets(settings: Settings) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    for code, table in sorted(settings.payment_gateways.items()):
        for variable, without in (
            (table.token_variable, "nothing is sent to it"),
            (table.secret_variable, "its messages are refused"),
        ):
            value = "" if variable is None else os.environ.get(variable, "")
            if variable is not None and variable == table.secret_variable and 0 < len(value) < SECRET_MIN:
                message = f"{variable} holds less than {SECRET_MIN} characters: the messages of {code} are refused"
                remedy = "agree on a longer secret with the provider: whoever guesses it speaks as the provider"
                yield Finding("payments", "warning", "payments.no_secret", message, remedy)
            elif variable is not None and not value:
                message = f"{variable} is not set here: for the payment provider {code}, {without}"
                remedy = "set it where `imis serve` and `imis worker` run, and where you run `imis doctor`"
                yield Finding("payments", "warning", "payments.no_secret", message, remedy)


def _limits(settings: Settings) -> Iterator[Finding]:
    """Limits are amounts in the deployment's currency: orders in another one are not held back by them."""
    from imis_core.operations.doctor import Finding

    ours = settings.deployment.currency
    others = sorted(code for code in settings.schemes if settings.currency_of(code) != ours)
    for code in sorted({*settings.payment_gateways, *settings.payment_limits}):
        table = settings.limits_of(code)
        if others and (table.order_amount_max is not None or table.day_amount_max is not None):
            message = f"the limits of {code} are in {ours} and do not hold for the schemes {', '.join(others)}"
            remedy = "pay those schemes through a provider of their own, whose limits are set where it is"
            yield Finding("payments", "warning", "payments.limit_currency", message, remedy)


def _unknown(connection: sa.Connection, settings: Settings) -> Iterator[Finding]:
    """Limits of a provider that is not there hold nothing back."""
    from imis_core.operations.doctor import Finding

    if settings.payment_limits:
        there = connection.execute(sa.text("SELECT code FROM core.payment_providers")).scalars().all()
        for code in sorted({*settings.payment_limits} - {*there}):
            message = f"[payment_limits.{code}] limits nothing: there is no payment provider {code}"
            remedy = "mend the code, or register the provider (payments.register_provider)"
            yield Finding("payments", "warning", "payments.unknown_limits", message, remedy)


def _lines(connection: sa.Connection) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    for row in connection.execute(_LINES):
        message = f"nothing goes out to {row.code} before {row.until:%Y-%m-%d %H:%M} UTC: {row.reason}"
        remedy = "it is tried again by itself; if it stays so, ask the provider, or mend [payment_gateways]"
        yield Finding("payments", "warning", "payments.line_open", message, remedy)


def _transmissions(connection: sa.Connection, settings: Settings) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    for row in connection.execute(_OPEN, {"late": LATE_SECONDS}):
        if row.parked:
            message = f"{row.parked} transmissions to {row.code} are parked: nobody knows what became of their orders"
            remedy = '`imis run payments.transmissions --data \'{"state": "parked"}\'` says what to do'
            yield Finding("payments", "error", "payments.parked", message, remedy)
        if row.code not in settings.payment_gateways:
            count = row.parked + row.under_way
            message = f"{count} transmissions to {row.code} are open, and imis.toml does not say where its service is"
            remedy = f"put [payment_gateways.{row.code}] back until they are reported"
            yield Finding("payments", "error", "payments.no_gateway", message, remedy)
        elif row.late:
            message = f"{row.late} transmissions to {row.code} should have been looked at long ago"
            yield Finding("payments", "error", "payments.late", message, "start a worker (`imis worker`)")


def _left(connection: sa.Connection) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    for row in connection.execute(_LEFT):
        message = f"{row.orders} orders through {row.code} are open, and nobody asks about their transmissions any more"
        remedy = "compare the books (payments.compare_books), and report them as the provider says (payments.reconcile)"
        yield Finding("payments", "error", "payments.left_open", message, remedy)


def _vouchers(connection: sa.Connection, settings: Settings) -> Iterator[Finding]:
    from imis_core.operations.doctor import Finding

    for row in connection.execute(_HELD):
        message = f"{row.orders} orders through {row.code} are held, and their vouchers can be redeemed all the same"
        remedy = "have those cancelled that are not to be paid (payments.cancel_vouchers)"
        yield Finding("payments", "warning", "payments.held_vouchers", message, remedy)
    codes = [code for code, table in settings.payment_gateways.items() if table.voucher_days is not None]
    for row in connection.execute(_OTHERS, {"codes": codes}):
        message = f"[payment_gateways.{row.code}] has voucher_days, and its channel is {row.channel}: it means nothing"
        yield Finding("payments", "warning", "payments.voucher_days", message, "take it out: only vouchers have days")
