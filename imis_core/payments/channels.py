"""Channels: how a payment provider is told to pay. The kernel brings four by name; plugins register others.

A channel that `transmits` calls the provider's service, if `imis.toml` says where that is
(`[payment_gateways.CODE]`). Without it, and for channels that do not transmit, submission marks the orders as sent;
whoever pays is told outside, with the files of a payment (`payments.cash_lists` for cash, `payments.bank_files` for
banks, `payments.orders` exported for the others), and answers with a file (`payments.reconcile_file`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

from imis_core.payments.transmitting.mobile_money import MOBILE_MONEY_SERVICE
from imis_core.payments.transmitting.vouchers import VOUCHER_SERVICE

if TYPE_CHECKING:
    from imis_core.payments.transmitting.service import Service


@frozen
class PaymentChannel:
    """A channel. `needs_account` and `needs_pay_point` say what a recipient must have with a provider of it.

    `transmits` is the service that providers of this channel offer.
    """

    name: str
    needs_account: bool
    needs_pay_point: bool
    transmits: Service | None = None


CASH_LIST: Final = PaymentChannel("cash_list", needs_account=False, needs_pay_point=False)
BANK_FILE: Final = PaymentChannel("bank_file", needs_account=True, needs_pay_point=False)
MOBILE_MONEY: Final = PaymentChannel(
    "mobile_money", needs_account=True, needs_pay_point=False, transmits=MOBILE_MONEY_SERVICE
)
VOUCHER: Final = PaymentChannel("voucher", needs_account=False, needs_pay_point=False, transmits=VOUCHER_SERVICE)
KERNEL_CHANNELS: Final = (CASH_LIST, BANK_FILE, MOBILE_MONEY, VOUCHER)
