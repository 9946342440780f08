"""Reports of cycles: what was asked of payment providers, what arrived, what did not and why."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects import postgresql

from imis_core.benefit_packages.lookup import scheme_type
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.payments.tables import order_current, orders, pay_points, payment_providers, recipients
from imis_core.payroll.owing import SOURCE
from imis_core.payroll.showing import find_payroll
from imis_core.payroll.states import AGREED
from imis_core.payroll.tables import cycles, payrolls
from imis_core.queries import query
from imis_core.values import Money

# What is owed but did not arrive. A reversed one was paid by mistake, a cancelled one is owed no more.
UNPAID: Final = ("awaiting_approval", "approved", "held", "failed")


@frozen(kw_only=True)
class AskFunds:
    """One payroll, or all approved ones of a scheme's cycle."""

    payroll: str | None = None
    scheme: str | None = None
    cycle: str | None = None


@frozen(kw_only=True)
class FundsLine:
    """Orders through one provider and pay point (absent: not sent yet), as far as each debt's latest attempt got."""

    provider: str | None
    pay_point: str | None
    orders: int
    requested: Money
    credited: Money
    not_credited: Money
    reasons: dict[str, Money]


@frozen(kw_only=True)
class Funds:
    """`requested` = `credited` + `not_credited`; `reasons` say why the rest has not arrived."""

    orders: int
    requested: Money
    credited: Money
    not_credited: Money
    lines: tuple[FundsLine, ...]


@query("payroll.funds", input=AskFunds, result=Funds)
def funds(context: Context, asked: AskFunds) -> Funds | Refusal:
    """What was asked of payment providers, what was credited and what was not, with reasons, per provider and place."""
    chosen = chosen_payrolls(context, asked)
    if isinstance(chosen, Refusal):
        return chosen
    numbers, currency = chosen
    lines: dict[tuple[str | None, str | None], list[Any]] = {}
    for row in context.execute(_funds_of(context, numbers)):
        lines.setdefault((row.provider, row.pay_point), []).append(row)
    built = [_line(key, rows, currency) for key, rows in lines.items()]
    total = _line((None, None), [row for rows in lines.values() for row in rows], currency)
    return Funds(
        orders=total.orders, requested=total.requested, credited=total.credited, not_credited=total.not_credited,
        lines=tuple(built),
    )  # fmt: skip


def chosen_payrolls(context: Context, asked: AskFunds) -> tuple[list[int], str] | Refusal:
    """The payrolls that are asked for, and their currency."""
    if asked.payroll is not None and asked.scheme is None and asked.cycle is None:
        payroll = find_payroll(context, asked.payroll)
        return payroll if isinstance(payroll, Refusal) else ([payroll.id], payroll.currency)
    if asked.payroll is not None or asked.scheme is None or asked.cycle is None:
        return invalid(Problem("payroll", "required", "name a payroll, or a scheme and its cycle"))
    kind = scheme_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    number = context.ids.decode("cycles", asked.cycle)
    named = sa.or_(cycles.c.code == asked.cycle, cycles.c.id == number)
    cycle = context.execute(sa.select(cycles.c.id).where(cycles.c.scheme == asked.scheme, named)).scalar()
    if cycle is None:
        return not_found("cycle", "cycle", asked.cycle)
    rows = context.execute(
        sa.select(payrolls.c.id).where(
            payrolls.c.cycle == cycle, payrolls.c.state.in_(AGREED), context.scoped(payrolls)
        )
    )
    return list(rows.scalars()), context.settings.currency_of(asked.scheme)


def _funds_of(context: Context, numbers: list[int]) -> sa.Select[Any]:
    """Sums of the latest attempts by provider, pay point and what became of them."""
    latest = (
        sa.select(
            orders.c.amount_minor, order_current.c.state, order_current.c.reason, order_current.c.payment_provider,
            order_current.c.recipient,
        )
        .ext(postgresql.distinct_on(orders.c.source, orders.c.entitlement))
        .join(order_current, order_current.c.order == orders.c.id)
        .where(
            orders.c.source_kind == SOURCE,
            orders.c.source == any_of(numbers),
            context.scoped(orders),
        )
        .order_by(orders.c.source, orders.c.entitlement, orders.c.attempt.desc())
        .subquery("latest")
    )  # fmt: skip
    credited = latest.c.state == "paid"
    reason = sa.case((credited, None), else_=sa.func.coalesce(latest.c.reason, latest.c.state))
    return (
        sa.select(
            payment_providers.c.code.label("provider"), pay_points.c.code.label("pay_point"),
            credited.label("credited"), reason.label("reason"), sa.func.count().label("orders"),
            sa.cast(sa.func.sum(latest.c.amount_minor), sa.BigInteger).label("amount_minor"),
        )
        .select_from(latest)
        .outerjoin(payment_providers, payment_providers.c.id == latest.c.payment_provider)
        .outerjoin(recipients, recipients.c.id == latest.c.recipient)
        .outerjoin(pay_points, pay_points.c.id == recipients.c.pay_point)
        .where(latest.c.state != "cancelled")
        .group_by(payment_providers.c.code, pay_points.c.code, credited, reason)
        .order_by(payment_providers.c.code, pay_points.c.code, credited.desc(), reason)
    )  # fmt: skip


def _line(key: tuple[str | None, str | None], rows: list[Any], currency: str) -> FundsLine:
    credited = sum(row.amount_minor for row in rows if row.credited)
    reasons: dict[str, int] = {}
    for row in rows:
        if not row.credited:
            reasons[row.reason] = reasons.get(row.reason, 0) + row.amount_minor
    rest = sum(reasons.values())
    return FundsLine(
        provider=key[0], pay_point=key[1], orders=sum(row.orders for row in rows),
        requested=Money(credited + rest, currency), credited=Money(credited, currency),
        not_credited=Money(rest, currency),
        reasons={reason: Money(amount, currency) for reason, amount in sorted(reasons.items())},
    )  # fmt: skip


QUERIES = (funds,)
