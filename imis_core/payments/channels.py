"""Channels: how a payment provider is told to pay. The kernel brings `cash_list`; plugins register others."""

from __future__ import annotations

from attrs import frozen


@frozen
class PaymentChannel:
    """A channel. `needs` says what a recipient must have with a provider of this channel."""

    name: str
    needs_account: bool
    needs_pay_point: bool


CASH_LIST = PaymentChannel("cash_list", needs_account=False, needs_pay_point=False)
