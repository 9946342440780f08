"""How a payroll is shown: its state, how many it pays, how much, and how many stand in each state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.errors import not_found
from imis_core.payroll.tables import payrolls
from imis_core.values import Money


@frozen(kw_only=True)
class PayrollShown:
    """`beneficiaries` and `amount` leave out the cancelled; `by_state` counts every entitlement that it has had."""

    id: str
    status: str
    beneficiaries: int
    amount: Money
    by_state: dict[str, int]


def find_payroll(context: Context, name: str, *, lock: bool = False) -> Any:
    """The row of a payroll that the caller may see, by its outside id, or `not_found`.

    `lock`: until the transaction ends. Every move of a payroll's entitlements holds this lock; whoever also locks its
    orders does so before.
    """
    number = context.ids.decode("payrolls", name)
    statement = sa.select(payrolls).where(
        payrolls.c.id == number, payrolls.c.state != "deleted", context.scoped(payrolls)
    )
    row = None if number is None else context.execute(statement.with_for_update() if lock else statement).first()
    return not_found("payroll", "payroll", name) if row is None else row


def locked_payrolls(context: Context, numbers: Iterable[int]) -> dict[int, Any]:
    """Payrolls by primary key, locked in their order."""
    rows = context.execute(
        sa.text(
            "SELECT id, scheme, package, state, maker FROM core.payrolls "
            "WHERE id = ANY(CAST(:numbers AS bigint[])) ORDER BY id FOR UPDATE"
        ),
        {"numbers": sorted(set(numbers))},
    )
    return {row.id: row for row in rows}


def set_state(context: Context, numbers: Iterable[int], state: str, reason: str | None = None) -> None:
    """Move payrolls; their table of states was asked before."""
    context.execute(
        sa.text(
            "UPDATE core.payrolls SET state = :state, reason = coalesce(:reason, reason) "
            "WHERE id = ANY(CAST(:numbers AS bigint[]))"
        ),
        {"state": state, "reason": reason, "numbers": sorted(set(numbers))},
    )


# An entitlement that moved into a later payroll counts here as what this one left it: cancelled.
_SUMS: Final = sa.text(
    """
    WITH had AS (
        SELECT a.payroll, a.amount_minor, e."group", e.person,
               CASE WHEN t.payroll = a.payroll THEN t.state ELSE 'cancelled' END AS state
        FROM core.entitlement_amounts a JOIN core.entitlement_current t ON t.entitlement = a.entitlement
        JOIN core.entitlements e ON e.id = a.entitlement
        WHERE a.payroll = ANY(CAST(:payrolls AS bigint[])))
    SELECT payroll, state, count(*) AS entitlements, sum(amount_minor)::bigint AS amount_minor
    FROM had GROUP BY payroll, state
    UNION ALL
    SELECT payroll, NULL, count(*), 0
    FROM (SELECT DISTINCT payroll, "group", person FROM had WHERE state <> 'cancelled') beneficiaries GROUP BY payroll
    """
)


def show_all(context: Context, shown: Mapping[int, tuple[str, str]]) -> dict[int, PayrollShown]:
    """Payrolls as they stand: `shown` gives scheme and state by primary key. One statement."""
    by_state: dict[int, dict[str, int]] = {number: {} for number in shown}
    amounts = dict.fromkeys(shown, 0)
    beneficiaries = dict.fromkeys(shown, 0)
    rows: Iterable[Any] = context.execute(_SUMS, {"payrolls": list(shown)}) if shown else ()
    for row in rows:
        if row.state is None:
            beneficiaries[row.payroll] = row.entitlements
            continue
        by_state[row.payroll][row.state] = row.entitlements
        if row.state != "cancelled":
            amounts[row.payroll] += row.amount_minor
    ids = context.ids.encode_all("payrolls", list(shown))
    return {
        number: PayrollShown(
            id=identity, status=state, beneficiaries=beneficiaries[number],
            amount=context.money(amounts[number], scheme), by_state=dict(sorted(by_state[number].items())),
        )
        for identity, (number, (scheme, state)) in zip(ids, shown.items(), strict=True)
    }  # fmt: skip


def show(context: Context, number: int, scheme: str, state: str) -> PayrollShown:
    """One payroll as it stands."""
    return show_all(context, {number: (scheme, state)})[number]


__all__ = ["PayrollShown", "find_payroll", "locked_payrolls", "set_state", "show", "show_all"]
