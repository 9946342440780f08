"""Missed payments: who was owed something in each of the last cycles and was never paid; also by place and provider."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import field, frozen
from sqlalchemy.dialects import postgresql

from imis_core.beneficiaries.tables import groups, persons
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid
from imis_core.payments.tables import order_current, orders, pay_points, payment_providers
from imis_core.payroll.cycle_reports import by_texts, through_whom, with_places
from imis_core.payroll.owing import SOURCE
from imis_core.payroll.reporting import UNPAID
from imis_core.payroll.states import AGREED
from imis_core.payroll.tables import cycles, entitlement_current, entitlements, payrolls
from imis_core.places.tables import locations
from imis_core.queries import Listing, query
from imis_core.reports.reports import Report
from imis_core.values import Money

MISSED_MAX: Final = 100  # cycles in a row


@frozen(kw_only=True)
class AskMissed:
    scheme: str
    cycles: int = 3


@frozen(kw_only=True)
class Missed:
    """A beneficiary (a household's code or a person's number) and the codes of the cycles in which nothing arrived."""

    beneficiary: str
    cycles: tuple[str, ...] = field(factory=tuple)


@frozen(kw_only=True)
class AskMissedBy:
    """`level`: places of that level instead of the lowest."""

    scheme: str
    cycles: int = 3
    level: str | None = None


@frozen(kw_only=True)
class MissedBy:
    """How many of `payments.missed` are of one place and provider, and what did not arrive in those cycles altogether.

    The place and the provider are those of the last of the cycles: whom the payment was sent through, or, of one that
    was not sent, whom the recipient is enrolled with now (absent: nobody, or there is no order yet).
    """

    location: str | None
    provider: str | None
    pay_point: str | None
    beneficiaries: int
    owed: Money


@query("payments.missed", input=AskMissed, result=Missed, listing=True)
def missed(context: Context, asked: AskMissed) -> list[Missed] | Refusal:
    """Who was owed something in each of the last cycles with an approved payroll, and was paid in none of them."""
    never = _never_paid(context, asked.scheme, asked.cycles)
    if isinstance(never, Refusal):
        return never
    beneficiary = sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text)
    rows: Iterable[Any] = context.execute(
        sa.select(beneficiary.label("beneficiary"), never.c.codes)
        .select_from(never)
        .outerjoin(groups, groups.c.id == never.c.group)
        .outerjoin(persons, persons.c.id == never.c.person)
        .order_by(beneficiary, never.c.line)
    )
    return [Missed(beneficiary=row.beneficiary, cycles=tuple(row.codes)) for row in rows]


@query("payments.missed_by", input=AskMissedBy, result=MissedBy, listing=True)
def missed_by(context: Context, asked: AskMissedBy) -> Listing | Refusal:
    """How many beneficiaries missed the last cycles, by place, provider and pay point."""
    never = _never_paid(context, asked.scheme, asked.cycles)
    if isinstance(never, Refusal):
        return never
    placed = with_places(context, never.join(entitlements, entitlements.c.id == never.c.newest), asked.level)
    if isinstance(placed, Refusal):
        return placed
    latest = _orders_of(context, never)
    currency = context.settings.currency_of(asked.scheme)
    summed = (
        sa.select(
            locations.c.code.label("location"), payment_providers.c.code.label("provider"),
            pay_points.c.code.label("pay_point"), sa.func.count().label("beneficiaries"),
            sa.cast(sa.func.sum(never.c.owed_minor), sa.BigInteger).label("owed_minor"),
        )
        .select_from(through_whom(placed.outerjoin(latest, latest.c.entitlement == never.c.newest), latest))
        .group_by(locations.c.code, payment_providers.c.code, pay_points.c.code)
        .subquery("summed")
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[MissedBy]:
        return [
            MissedBy(
                location=row.location, provider=row.provider, pay_point=row.pay_point, beneficiaries=row.beneficiaries,
                owed=Money(row.owed_minor, currency),
            )
            for row in rows
        ]  # fmt: skip

    return Listing(sa.select(summed), by_texts(summed, "location", "provider", "pay_point"), build)


def _never_paid(context: Context, scheme: str, count: int) -> sa.CTE | Refusal:
    """Beneficiaries with something unpaid and nothing paid in each of the last `count` cycles, in each row of them.

    Columns: `line`, `group`, `person`, `codes` of the cycles, `owed_minor` in them, `newest`: the last entitlement.
    """
    kind = scheme_type(context, scheme)
    if isinstance(kind, Refusal):
        return kind
    if not 1 <= count <= MISSED_MAX:
        return invalid(Problem("cycles", "range", f"expected 1 to {MISSED_MAX}, found {count}"))
    agreed = _agreed(scheme)
    latest = _latest(agreed, count)
    state = entitlement_current.c.state
    unpaid = sa.and_(state.in_(UNPAID), agreed.c.stands)
    of_cycle = (
        sa.select(
            latest.c.line, latest.c.code, latest.c.starts, entitlements.c.group, entitlements.c.person,
            sa.func.max(entitlements.c.id).filter(unpaid).label("newest"),
            sa.func.sum(entitlement_current.c.amount_minor).filter(unpaid).label("owed_minor"),
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
    o = of_cycle.c
    newest: sa.ColumnElement[Any] = sa.func.array_agg(
        postgresql.aggregate_order_by(o.newest, o.starts.desc(), o.newest.desc()),
        type_=postgresql.ARRAY(sa.BigInteger),
    )
    codes: sa.ColumnElement[Any] = sa.func.array_agg(postgresql.aggregate_order_by(o.code, o.starts.asc()))
    return (
        sa.select(
            o.line, o.group, o.person, codes.label("codes"), sa.func.sum(o.owed_minor).label("owed_minor"),
            newest[1].label("newest"),
        )
        .where(o.newest.is_not(None), sa.not_(o.paid))
        .group_by(o.line, o.group, o.person)
        .having(sa.func.count() == count)
        .cte("never_paid")
    )  # fmt: skip


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


def _orders_of(context: Context, never: sa.CTE) -> sa.Subquery:
    """The latest attempt of the last entitlement of each beneficiary, as far as the caller may see it."""
    e = entitlement_current.c
    of_entitlement = sa.and_(
        orders.c.source_kind == SOURCE, orders.c.source == e.payroll, orders.c.entitlement == e.entitlement
    )
    return (
        sa.select(
            orders.c.entitlement, orders.c.scheme, orders.c.person, order_current.c.payment_provider,
            order_current.c.recipient,
        )
        .ext(postgresql.distinct_on(orders.c.entitlement))
        .select_from(never)
        .join(entitlement_current, e.entitlement == never.c.newest)
        .join(orders, of_entitlement)
        .join(order_current, order_current.c.order == orders.c.id)
        .where(context.scoped(orders))
        .order_by(orders.c.entitlement, orders.c.attempt.desc())
        .subquery("ordered")
    )  # fmt: skip


QUERIES: Final = (missed, missed_by)
REPORTS: Final = (
    Report("payments_missed", "Who was not paid in several cycles in a row", "payments.missed"),
    Report(
        "payments_missed_by", "How many were not paid in several cycles, by place and provider", "payments.missed_by"
    ),
)
