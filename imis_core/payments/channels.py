"""Channels: how a payment provider is told to pay. The kernel brings four by name; plugins register others.

The kernel itself transmits nothing yet. Submission through any of its channels marks the orders as sent; whoever pays
is told outside, with the files of a payment (`payments.cash_lists` for cash, `payments.bank_files` for banks,
`payments.orders` exported for the others), and answers with a file (`payments.reconcile_file`). A channel that calls
an operator's service comes as a plugin under a name of its own.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class PaymentChannel:
    """A channel. `needs_account` and `needs_pay_point` say what a recipient must have with a provider of it."""

    name: str
    needs_account: bool
    needs_pay_point: bool


CASH_LIST: Final = PaymentChannel("cash_list", needs_account=False, needs_pay_point=False)
BANK_FILE: Final = PaymentChannel("bank_file", needs_account=True, needs_pay_point=False)
MOBILE_MONEY: Final = PaymentChannel("mobile_money", needs_account=True, needs_pay_point=False)
VOUCHER: Final = PaymentChannel("voucher", needs_account=False, needs_pay_point=False)
KERNEL_CHANNELS: Final = (CASH_LIST, BANK_FILE, MOBILE_MONEY, VOUCHER)
