"""Vouchers that are to be worth nothing any more: their days are over, or somebody cancels them.

Here it is only written down, before anything leaves. Whoever looks at their transmission has the provider cancel them
(`asking`), again and again until its list says what came of each: cancelled, and the order fails with the reason; or
redeemed before, and it is paid. An order never fails before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.engine import retried
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.jobs_kinds import Job, NoInput
from imis_core.notifications.outbox import forget_secrets
from imis_core.payments.orders import AWAITED_SQL, locked_orders
from imis_core.payments.transmitting.gateways import reached
from imis_core.payments.transmitting.placing import transmit_later
from imis_core.payments.transmitting.states import OPEN
from imis_core.payments.transmitting.store import audited, transaction, wake

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.deployment import Settings

CANCELLED: Final = "voucher_cancelled"  # why an order failed
EXPIRED: Final = "voucher_expired"
CANCELLABLE: Final = ("accepted", "held")  # a voucher was made, or may have been; nobody has said what came of it
EXPIRE: Final = "payments.expire_vouchers"
AT_ONCE: Final = 100  # transmissions of one transaction


# --- what is to be cancelled

_STOPPED: Final = sa.text(
    f"""
    SELECT m."order", x."order" IS NOT NULL AS cancelled
    FROM core.transmission_orders m JOIN core.order_current t ON t."order" = m."order"
    LEFT JOIN core.voucher_cancellations x ON x."order" = m."order"
    WHERE m.transmission = :number AND NOT m.left_out AND t.state IN ({AWAITED_SQL})
      AND (x."order" IS NOT NULL OR t.state = 'held')
    """
)
_REASONS: Final = sa.text(
    'SELECT "order", reason FROM core.voucher_cancellations WHERE "order" = ANY(CAST(:orders AS bigint[]))'
)


@frozen
class Stopped:
    """Orders of which nobody knows what came of them, and by which nobody is to be paid any more, as providers name
    them: their vouchers are to be `cancelled`, or they are `held`."""

    cancelled: frozenset[str]
    held: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.cancelled | self.held


def stopped_orders(app: Application, transmission: int) -> Stopped:
    """The orders of a transmission by which nobody is to be paid any more."""
    with app.database.query(app.system) as connection:
        rows = connection.execute(_STOPPED, {"number": transmission}).all()
    return Stopped(
        frozenset(str(row.order) for row in rows if row.cancelled),
        frozenset(str(row.order) for row in rows if not row.cancelled),
    )


def reasons_of(context: Context, orders: Sequence[int]) -> Mapping[int, str]:
    """Why orders fail whose vouchers we had cancelled."""
    if not orders:
        return {}
    return {row.order: row.reason for row in context.execute(_REASONS, {"orders": list(orders)})}


# --- by somebody


@frozen(kw_only=True)
class CancelVouchers:
    orders: tuple[str, ...]
    reason: str


@frozen(kw_only=True)
class VouchersCancelled:
    """`orders`: how many of them the provider is told to cancel; each fails once the provider has confirmed it."""

    orders: int


_MADE: Final = sa.text(
    'SELECT m."order", m.transmission, c.payment_provider, c.state FROM core.transmission_orders m '
    "JOIN core.transmission_current c ON c.transmission = m.transmission "
    'WHERE m."order" = ANY(CAST(:orders AS bigint[])) AND NOT m.left_out'
)
_CANCEL: Final = sa.text(
    """
    INSERT INTO core.voucher_cancellations ("order", transmission, reason, note, asked_at, audit)
    SELECT n."order", n.transmission, :reason, n.note, :now, :audit
    FROM unnest(CAST(:orders AS bigint[]), CAST(:transmissions AS bigint[]), CAST(:notes AS text[]))
         AS n("order", transmission, note)
    ORDER BY n."order" ON CONFLICT ("order") DO NOTHING
    """
)


@command("payments.cancel_vouchers", input=CancelVouchers, result=VouchersCancelled)
def cancel_vouchers(context: Context, items: tuple[CancelVouchers, ...]) -> list[VouchersCancelled | Refusal]:
    """Have vouchers cancelled that nobody has redeemed yet; their orders fail once the provider has confirmed it."""
    numbers = [[context.ids.decode("orders", order) for order in item.orders] for item in items]
    known = locked_orders(context, sorted({n for own in numbers for n in own if n is not None}))
    made = {row.order: row for row in context.execute(_MADE, {"orders": list(known)})}
    able = {provider for provider, one in reached(context).items() if one.service.cancel is not None}
    outcomes: list[VouchersCancelled | Refusal] = []
    chosen: dict[int, str] = {}  # order -> note
    for item, own in zip(items, numbers, strict=True):
        refusal = _refused(item, own, known, made, able)
        outcomes.append(refusal or VouchersCancelled(orders=len(set(own))))
        if refusal is None:
            chosen = {**{number: item.reason for number in own if number is not None}, **chosen}
    if chosen:
        _write(context, chosen, made)
    return outcomes


def _refused(
    item: CancelVouchers, numbers: Sequence[int | None], known: Mapping[int, Any], made: Mapping[int, Any],
    able: set[int],
) -> Refusal | None:  # fmt: skip
    """Why an item is refused, all of it: the first of its orders that has no voucher which could be cancelled."""
    if not item.orders:
        return invalid(Problem("orders", "required", "name the orders whose vouchers are to be cancelled"))
    for place, (name, number) in enumerate(zip(item.orders, numbers, strict=True)):
        order = None if number is None else known.get(number)
        if order is None:
            return not_found(f"orders[{place}]", "order", name)
        if order.id not in made or made[order.id].payment_provider not in able:
            message = f"the order {name} was not sent to a provider of vouchers that is told over HTTP"
            return Refusal("payments.wrong_state", f"{message}: there is no voucher of it that could be cancelled")
        if order.state not in CANCELLABLE:
            return Refusal("payments.wrong_state", f"the order {name} is {order.state}: {_REMEDY[order.state]}")
        if made[order.id].state not in (*OPEN, "parked"):
            message = f"the order {name} is {order.state}, and its provider is not asked about it any more"
            return Refusal("payments.wrong_state", f"{message}: compare the books (payments.compare_books)")
    return None


_REMEDY: Final = {
    "submitted": "nobody knows yet whether its voucher was made; try again once it is accepted",
    "paid": "its voucher was redeemed; payments.reverse declares the payment wrong",
    **dict.fromkeys(("failed", "returned", "reversed"), "its voucher is worth nothing any more"),
}


def _write(context: Context, chosen: Mapping[int, str], made: Mapping[int, Any]) -> None:
    context.execute(
        _CANCEL,
        {
            "orders": list(chosen),
            "transmissions": [made[number].transmission for number in chosen],
            "notes": list(chosen.values()),
            "reason": CANCELLED,
            "now": context.now,
            "audit": context.audit,
        },
    )
    forget_secrets(context, "orders", list(chosen))  # no message tells them any more
    _look(context, sorted({made[number].transmission for number in chosen}))


def _look(context: Context, transmissions: Sequence[int]) -> None:
    """Have transmissions looked at now, also parked ones; what is being sent is left to whoever sends it."""
    for number in wake(context, transmissions, "vouchers of it are to be cancelled", heard=False):
        transmit_later(context, number)


# --- when their days are over


def voucher_days(settings: Settings) -> Mapping[str, int]:
    """How many days vouchers are good after the day on which they were made, by their provider's code."""
    return {
        code: table.voucher_days for code, table in settings.payment_gateways.items() if table.voucher_days is not None
    }


def made_at_sql(transmission: str) -> str:
    """When a provider took the vouchers of a transmission first, from when on their days count: an expression of SQL.

    `transmission` names the column with its number.
    """
    return (
        "(SELECT min(taken.at) FROM core.transmission_states taken "
        f"WHERE taken.transmission = {transmission} AND taken.state = 'accepted')"
    )


def good_until(settings: Settings, provider: str, made_at: datetime) -> date | None:
    """The last day of a voucher that was made then; None: it has none."""
    days = voucher_days(settings).get(provider)
    zone = ZoneInfo(settings.deployment.timezone)
    return None if days is None else made_at.astimezone(zone).date() + timedelta(days=days)


# Which transmissions are over and have vouchers that nobody has cancelled yet, a few at once; then their orders, under
# whose locks nobody tells their holders the numbers.
_EXPIRE: Final = sa.text(
    f"""
    WITH ended AS (
        SELECT c.transmission FROM core.transmission_current c
        JOIN core.payment_providers p ON p.id = c.payment_provider
        JOIN unnest(CAST(:providers AS bigint[]), CAST(:days AS integer[])) AS n(provider, days) ON n.provider = p.id
        WHERE c.state = 'accepted'
          AND CAST({made_at_sql("c.transmission")} AT TIME ZONE :zone AS date) + n.days < :today
          AND EXISTS (
              SELECT FROM core.transmission_orders m JOIN core.order_current t ON t."order" = m."order"
              WHERE m.transmission = c.transmission AND NOT m.left_out AND t.state = ANY(CAST(:states AS text[]))
                AND NOT EXISTS (SELECT FROM core.voucher_cancellations x WHERE x."order" = m."order"))
        ORDER BY c.transmission LIMIT :most),
    marked AS (
        INSERT INTO core.voucher_cancellations ("order", transmission, reason, asked_at, audit)
        SELECT m."order", m.transmission, :reason, :now, :audit
        FROM ended JOIN core.transmission_orders m ON m.transmission = ended.transmission
        JOIN core.order_current t ON t."order" = m."order"
        WHERE NOT m.left_out AND t.state = ANY(CAST(:states AS text[]))
        ORDER BY m."order" FOR UPDATE OF t ON CONFLICT ("order") DO NOTHING RETURNING transmission, "order")
    SELECT transmission, array_agg("order") AS orders FROM marked GROUP BY transmission ORDER BY transmission
    """
)


def expire_vouchers(app: Application, _: NoInput) -> None:
    """Have the vouchers cancelled whose days are over."""
    while retried(lambda: _expire(app)):
        pass


def _expire(app: Application) -> bool:
    with transaction(app, EXPIRE) as context:
        days = voucher_days(app.settings)
        providers = {
            number: days[one.gateway.provider]
            for number, one in reached(context, list(days)).items()
            if one.service.cancel is not None
        }
        if not providers:
            return False
        ended = context.execute(
            _EXPIRE,
            {
                "providers": list(providers),
                "days": list(providers.values()),
                "zone": app.settings.deployment.timezone,
                "today": context.today,
                "states": list(CANCELLABLE),
                "most": AT_ONCE,
                "reason": EXPIRED,
                "now": context.now,
                "audit": context.audit,
            },
        ).all()
        if ended:
            _look(context, [row.transmission for row in ended])
            orders = [number for row in ended for number in row.orders]
            forget_secrets(context, "orders", orders)
            audited(context, len(orders), transmissions=len(ended), reason=EXPIRED)
        return len(ended) == AT_ONCE


def _wanted(app: Application) -> bool:
    return bool(voucher_days(app.settings))


JOBS: Final = (
    Job(EXPIRE, NoInput, expire_vouchers, "Have vouchers cancelled whose days are over", daily=True, wanted=_wanted),
)
COMMANDS: Final = (cancel_vouchers,)
