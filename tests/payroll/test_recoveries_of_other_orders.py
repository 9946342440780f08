"""Orders of another source, which numbers its debts by itself: nothing of payrolls is meant by them."""

from __future__ import annotations

from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.payments.orders import Move, NewOrder, move_orders, place_orders
from tests.payroll.conftest import Office


def test_only_payments_of_payrolls_are_taken_back(office: Office) -> None:
    """A facility has the number of a household's entitlement by chance: the household does not owe its payment."""
    payroll = office.submitted()
    order = office.orders(payroll)[0]
    office.report("paid", order)
    app, caller = office.app, office.app.as_user("administrator")
    entitlement = app.rows("SELECT entitlement FROM core.orders ORDER BY id LIMIT 1")[0]["entitlement"]
    person = app.rows("SELECT min(id) AS id FROM core.persons")[0]["id"]
    with app.database.command(caller) as (connection, audit):
        context = Context(app, connection, caller, app.clock.now(), app.clock.today(), audit=audit)
        (number,) = place_orders(context, "g", "claims", 1, [NewOrder(entitlement, person, None, 1000)])
        move_orders(context, [Move(number, "submitted")])
        move_orders(context, [Move(number, "paid")])
        theirs = context.ids.encode("orders", number)
    opened = [
        {"scheme": "g", "code": f"R{n}", "reason": "x", "order": one, "instalment": "1"}
        for n, one in enumerate((order["id"], theirs))
    ]
    # In one batch: the payroll's own order makes the entitlement known.
    found = office.app.do_all("payroll.recover", opened)
    assert [isinstance(one, Refusal) and one.code for one in found] == [False, "not_found"]
