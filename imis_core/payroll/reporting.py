"""Reports of cycles: what was asked of payment providers, what arrived, what did not and why, who is never paid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from attrs import field, frozen
from sqlalchemy.dialects import postgresql

from imis_core.beneficiaries.tables import groups, persons
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.payments.tables import order_current, orders, pay_points, payment_providers, recipients
from imis_core.payroll.owing import SOURCE
from imis_core.payroll.showing import find_payroll
from imis_core.payroll.states import AGREED
from imis_core.payroll.tables import cycles, entitlement_current, entitlements, payrolls
from imis_core.queries import query
from imis_core.values import Money

MISSED_MAX: Final = 100  # cycles in a row
# What is owed but did not arrive. A reversed one was paid by mistake, a cancelled one is owed no more.
UNPAID: Final = ("awaiting_approval", "approved", "held", "failed")


@frozen(kw_only=True)
class AskMissed:
    scheme: str
    cycles: int = 3


@frozen(kw_only=True)
class Missed:
    """A beneficiary (a household's code or a person's number) and the codes of the cycles in which nothing arrived."""

    beneficiary: str
    cycles: tuple[str, ...] = field(factory=tuple)


@query("payments.missed", input=AskMissed, result=Missed, listing=True)
def missed(context: Context, asked: AskMissed) -> list[Missed] | Refusal:
    """Who was owed something in each of the last cycles with an approved payroll, and was paid in none of them."""
    kind = scheme_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    if not 1 <= asked.cycles <= MISSED_MAX:
        return invalid(Problem("cycles", "range", f"expected 1 to {MISSED_MAX}, found {asked.cycles}"))
    agreed = _agreed(asked.scheme)
    latest = _latest(agreed, asked.cycles)
    state = entitlement_current.c.state
    of_cycle = (
        sa.select(
            latest.c.line, latest.c.code, latest.c.starts, entitlements.c.group, entitlements.c.person,
            sa.func.bool_or(sa.and_(state.in_(UNPAID), agreed.c.stands)).label("unpaid"),
            sa.func.bool_or(state == "paid").label("paid"),
        )
        .select_from(latest)
        .join(agreed, sa.and_(agreed.c.line == latest.c.line, agreed.c.cycle == latest.c.cycle))
        .join(entitlement_current, entitlement_current.c.payroll == agreed.c.payroll)
        .join(entitlements, entitlements.c.id == entitlement_current.c.entitlement)
        .where(context.scoped(entitlements))
        .group_by(
            latest.c.line, latest.c.cycle, latest.c.code, latest.c.starts, entitlements.c.group, entitlements.c.person
        )
        .subquery("of_cycle")
    )  # fmt: skip
    rows: Iterable[Any] = context.execute(_never_paid(of_cycle, asked.cycles))
    return [Missed(beneficiary=row.beneficiary, cycles=tuple(row.codes)) for row in rows]


def _agreed(scheme: str) -> sa.CTE:
    """The payrolls of a scheme that paid or may pay, each in its row of cycles: `line`, `cycle`, `payroll`, `stands`.

    A package that has cycles of its own goes through those and through the scheme's in one row of them; all others
    share the row of the scheme (`line` 0). `stands`: approved and not rejected; a rejected one may have paid somebody.
    """
    own = sa.select(cycles.c.package).where(cycles.c.scheme == scheme, cycles.c.package.is_not(None))
    return (
        sa.select(
            sa.case((payrolls.c.package.in_(own), payrolls.c.package), else_=0).label("line"),
            payrolls.c.cycle, cycles.c.code, cycles.c.starts, payrolls.c.id.label("payroll"),
            payrolls.c.state.in_(AGREED).label("stands"),
        )
        .join(cycles, cycles.c.id == payrolls.c.cycle)
        .where(payrolls.c.scheme == scheme, payrolls.c.state.in_((*AGREED, "rejected")))
        .cte("agreed")
    )  # fmt: skip


def _latest(agreed: sa.CTE, count: int) -> sa.Subquery:
    """The last cycles, by their starts, that have an approved payroll, in each row of cycles."""
    a = agreed.c
    newest = sa.func.row_number().over(partition_by=a.line, order_by=(a.starts.desc(), a.cycle.desc()))
    ranked = (
        sa.select(a.line, a.cycle, a.code, a.starts, newest.label("n"))
        .where(a.stands)
        .group_by(a.line, a.cycle, a.code, a.starts)
        .subquery("ranked")
    )
    return sa.select(ranked).where(ranked.c.n <= count).subquery("latest")


def _never_paid(of_cycle: sa.Subquery, count: int) -> sa.Select[Any]:
    """Beneficiaries with something unpaid and nothing paid in as many cycles as were asked for."""
    codes: sa.ColumnElement[Any] = sa.func.array_agg(
        postgresql.aggregate_order_by(of_cycle.c.code, of_cycle.c.starts.asc())
    )
    beneficiary = sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text)
    return (
        sa.select(beneficiary.label("beneficiary"), codes.label("codes"))
        .select_from(of_cycle)
        .outerjoin(groups, groups.c.id == of_cycle.c.group)
        .outerjoin(persons, persons.c.id == of_cycle.c.person)
        .where(of_cycle.c.unpaid, sa.not_(of_cycle.c.paid))
        .group_by(beneficiary, of_cycle.c.line)
        .having(sa.func.count() == count)
        .order_by(beneficiary, of_cycle.c.line)
    )


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


QUERIES = (missed, funds)
