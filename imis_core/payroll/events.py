"""What payrolls tell subscribers after commit."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class PayrollApproved:
    """Payments of a payroll were agreed to: all of them at once, or single ones later.

    `audit` is the entry of the command, under which their orders stand in `core.orders` (of the source kind `payroll`
    and the source `payroll`, its number); `orders` and `amount_minor` are their number and sum.
    """

    scheme: str
    payroll: int
    audit: int
    orders: int
    amount_minor: int
