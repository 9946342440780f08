"""What redeems vouchers is forgotten once their orders are decided, whoever decides them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from imis_core.context import Context
from imis_core.notifications.outbox import forget_secrets

_FORGET: Final = sa.text(
    'DELETE FROM core.voucher_numbers WHERE "order" = ANY(CAST(:orders AS bigint[])) RETURNING "order"'
)


def forget_numbers(context: Context, orders: Sequence[int]) -> None:
    """Forget what redeems the vouchers of orders that are decided; nothing where no provider has a service."""
    if orders and context.settings.payment_gateways:
        gone = context.execute(_FORGET, {"orders": list(orders)}).scalars().all()
        forget_secrets(context, "orders", gone)
