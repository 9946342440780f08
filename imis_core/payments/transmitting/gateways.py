"""Which payment providers have a service: those of a channel that transmits, with a table in `imis.toml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.database.arrays import any_of
from imis_core.payments.tables import payment_providers
from imis_core.payments.transmitting.service import Gateway, Service

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.context import Context


@frozen
class Reached:
    """A provider that can be reached: its number, its gateway, and the service that its channel speaks."""

    provider: int
    gateway: Gateway
    service: Service


def reached(context: Context, codes: Sequence[str] | None = None) -> Mapping[int, Reached]:
    """The providers with a service, by number; of these codes only, if given. No statement where there is none."""
    wanted = [code for code in context.settings.payment_gateways if codes is None or code in codes]
    if not wanted:
        return {}
    rows = context.execute(
        sa.select(payment_providers.c.id, payment_providers.c.code, payment_providers.c.channel).where(
            payment_providers.c.code == any_of(wanted, sa.Text)
        )
    )
    found = (reach(context.app, row) for row in rows)
    return {one.provider: one for one in found if one is not None}


def reach(app: Application, provider: Any) -> Reached | None:
    """A row of a payment provider (id, code, channel) as it is reached; None: it is told outside."""
    settings = app.settings.payment_gateways.get(provider.code)
    channel = app.channels.get(provider.channel)
    if settings is None or channel is None or channel.transmits is None:
        return None
    return Reached(provider.id, Gateway(provider.code, settings), channel.transmits)
