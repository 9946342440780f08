"""What redeems vouchers: kept encrypted with the deployment's key, until it is worth nothing any more.

The provider tells each number once, by itself (Voucher Creation Response), and nobody can ask for it again. Whoever has
it can redeem the voucher, so it stands in no message that is kept, no log, and no answer but those of
`payments.vouchers` and `payments.voucher_lists`; and in one message to its holder, where that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.database.engine import retried
from imis_core.jobs_kinds import Job, NoInput
from imis_core.notifications.outbox import HOLE, Message, notify
from imis_core.notifications.texts import message_text
from imis_core.payments.order_names import order_number
from imis_core.payments.orders import AWAITED_SQL
from imis_core.payments.transmitting.cancelling import good_until, made_at_sql
from imis_core.payments.transmitting.gateways import Reached, reached
from imis_core.payments.transmitting.service import VoucherNumber
from imis_core.payments.transmitting.store import audited, transaction
from imis_core.values import Money

if TYPE_CHECKING:
    from imis_core.application import Application

TELL: Final = "payments.tell_holders"
PURPOSE: Final = "voucher"  # of what is encrypted, with the order's number: it opens for that order alone
AT_ONCE: Final = 500  # messages of one transaction
# Under the orders' locks: what is decided at the same moment gets no number any more. The first one told counts.
_KEEP: Final = sa.text(
    f"""
    WITH standing AS MATERIALIZED (
        SELECT t."order", n.serial, n.number
        FROM unnest(CAST(:orders AS bigint[]), CAST(:serials AS text[]), CAST(:numbers AS bytea[]))
             AS n("order", serial, number)
        JOIN core.transmission_orders m ON m."order" = n."order" AND NOT m.left_out
        JOIN core.transmissions b ON b.id = m.transmission AND b.payment_provider = :provider
        JOIN core.order_current t ON t."order" = n."order"
        WHERE t.state IN ({AWAITED_SQL}) ORDER BY t."order" FOR UPDATE OF t)
    INSERT INTO core.voucher_numbers ("order", serial, number, received_at)
    SELECT "order", serial, number, :now FROM standing ON CONFLICT ("order") DO NOTHING RETURNING "order"
    """
)


def keep_numbers(context: Context, one: Reached, told: Sequence[VoucherNumber]) -> int:
    """Keep what a provider's message tells of vouchers that wait to be redeemed, and have their holders told if wanted;
    how many were kept.

    What it says of orders that were not sent to this provider, or are decided, is left out.
    """
    numbers = {number: voucher for voucher in told if (number := order_number(voucher.order)) is not None}
    if not numbers:
        return 0
    kept = (
        context.execute(
            _KEEP,
            {
                "orders": list(numbers),
                "serials": [voucher.serial for voucher in numbers.values()],
                "numbers": [context.ids.wrap(v.number.encode(), f"{PURPOSE} {n}") for n, v in numbers.items()],
                "provider": one.provider,
                "now": context.now,
            },
        )
        .scalars()
        .all()
    )
    if one.gateway.settings.voucher_messages:
        context.defer(TELL, {}, lock=TELL)
    return len(kept)


def number_of(context: Context, order: int, sealed: Any) -> str | None:
    """The secret number of an order's voucher as it was kept; None if there is none, or it is under another key."""
    content = None if sealed is None else context.ids.unwrap(bytes(sealed), f"{PURPOSE} {order}")
    return None if content is None else content.decode()


# --- telling holders

# Only whose voucher stands: it is neither held nor about to be cancelled.
_STANDS: Final = """
    NOT v.told AND o.person IS NOT NULL AND t.state IN ('submitted', 'accepted')
    AND NOT EXISTS (SELECT FROM core.voucher_cancellations c WHERE c."order" = v."order")
"""
_CHOOSE: Final = sa.text(
    f"""
    SELECT v."order" FROM core.voucher_numbers v JOIN core.order_current t ON t."order" = v."order"
    JOIN core.orders o ON o.id = v."order"
    WHERE {_STANDS} AND t.payment_provider = ANY(CAST(:providers AS bigint[]))
    ORDER BY v."order" LIMIT :most FOR UPDATE OF t
    """
)
# A statement of its own, so that it sees what was held and cancelled before the orders' locks were had.
_TELL: Final = sa.text(
    f"""
    WITH chosen AS MATERIALIZED (
        SELECT v."order", o.person, o.amount_minor, o.currency, t.payment_provider,
               {made_at_sql("m.transmission")} AS made_at
        FROM core.voucher_numbers v JOIN core.order_current t ON t."order" = v."order"
        JOIN core.orders o ON o.id = v."order" JOIN core.transmission_orders m ON m."order" = v."order"
        WHERE v."order" = ANY(CAST(:orders AS bigint[])) AND {_STANDS}
        ORDER BY v."order" FOR UPDATE OF v)
    UPDATE core.voucher_numbers v SET told = true FROM chosen c WHERE v."order" = c."order"
    RETURNING c.*, v.serial, v.number
    """
)


def tell_holders(app: Application, _: NoInput) -> None:
    """Send the holders of vouchers that were not told yet a message with what redeems theirs, each once."""
    while retried(lambda: _tell(app)):
        pass


def _tell(app: Application) -> bool:
    with transaction(app, TELL) as context:
        providers = reached(context, _telling(app))
        orders = context.execute(_CHOOSE, {"providers": list(providers), "most": AT_ONCE}).scalars().all()
        found = context.execute(_TELL, {"orders": orders}).all()
        if found:
            messages = (_message(context, providers[row.payment_provider], row) for row in found)
            notify(context, [message for message in messages if message is not None])
            audited(context, len(found), vouchers=len(found))
        return len(orders) == AT_ONCE


def _message(context: Context, one: Reached, row: Any) -> Message | None:
    """What a holder is told: everything but the number, which is filled in as the message goes out."""
    secret = number_of(context, row.order, row.number)
    if secret is None:
        return None
    ends = good_until(context.settings, one.gateway.provider, row.made_at or context.now)
    said = {"amount": Money(row.amount_minor, row.currency), "currency": row.currency}
    numbers = {"serial": row.serial, "number": HOLE}
    text = (
        message_text(context.settings, "voucher.text", **said, **numbers)
        if ends is None
        else message_text(context.settings, "voucher_until.text", **said, **numbers, ends=ends)
    )
    subject = message_text(context.settings, "voucher.subject", **said)
    return Message(text=text, subject=subject, person=row.person, about=("orders", row.order), secret=secret)


def _telling(app: Application) -> list[str]:
    """The providers, by code, the holders of whose vouchers are sent messages."""
    return [code for code, table in app.settings.payment_gateways.items() if table.voucher_messages]


def _wanted(app: Application) -> bool:
    return bool(_telling(app))


JOBS: Final = (Job(TELL, NoInput, tell_holders, "Send holders of vouchers their numbers", daily=True, wanted=_wanted),)
