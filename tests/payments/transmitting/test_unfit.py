"""Orders that a provider's service cannot carry stay approved: sent, one of them would have all others refused."""

from __future__ import annotations

from typing import Any

from tests.payments.debts import Debts
from tests.payments.transmitting.operator import Operator


def test_a_payee_whose_number_a_voucher_has_no_room_for_is_not_sent(make_app: Any, operator: Operator) -> None:
    """Vouchers name their payee with 20 characters at most; a longer number stays, the others go."""
    app = make_app(settings={"payment_gateways": {"V": operator.settings()}})
    fits, long = "P" * 20, "Q" * 21
    debts = Debts(app, (fits, long))
    app.do("payments.register_provider", {"code": "V", "name": "Vouchers", "channel": "voucher"})
    app.do_all("payments.enrol_recipient", [{"number": number, "provider": "V"} for number in (fits, long)])
    debts.order()
    assert app.do("payments.submit", {"payroll": "B7"}) == {"submitted": 1, "failed": 1}
    assert {o["recipient"]: (o["status"], o.get("reason")) for o in debts.orders()} == {
        fits: ("submitted", None), long: ("approved", "payee_too_long"),
    }  # fmt: skip
