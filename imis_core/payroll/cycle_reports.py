"""Reports of a cycle as listings, to be exported as files: what to fund, by place and provider, credited and not.

Every debt counts with its latest attempt; what was cancelled is owed no more and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects import postgresql

from imis_core.beneficiaries.lookup import merged_persons
from imis_core.beneficiaries.tables import groups, persons
from imis_core.benefit_packages.tables import packages
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.payments.tables import order_current, order_states, orders, pay_points, payment_providers, recipients
from imis_core.payroll.owing import SOURCE
from imis_core.payroll.reporting import UNPAID, AskFunds, chosen_payrolls
from imis_core.payroll.tables import cycles, entitlement_current, entitlement_states, entitlements
from imis_core.places.tables import locations
from imis_core.queries import Listing, query
from imis_core.reports.reports import Report
from imis_core.values import Money

_TO_FUND: Final = ("approved", "submitted", "accepted")  # orders that a provider has no final word on yet


@frozen(kw_only=True)
class FundsRequested:
    """What one provider (absent: the recipients have none) needs for a package, at one of its pay points if it has any.

    `unsent`: what of `amount` was not submitted yet.
    """

    package: str
    provider: str | None
    pay_point: str | None
    orders: int
    amount: Money
    unsent: Money


@frozen(kw_only=True)
class AskResults:
    """One payroll, or all approved ones of a scheme's cycle. `level`: places of that level instead of the lowest."""

    payroll: str | None = None
    scheme: str | None = None
    cycle: str | None = None
    level: str | None = None


@frozen(kw_only=True)
class CycleResult:
    """What became of the orders of one place through one provider.

    `requested` = `credited` + `reversed` + `not_credited`; what was `reversed` had been credited, by mistake.
    `provider` is absent for what was not sent yet.
    """

    package: str
    location: str | None
    provider: str | None
    pay_point: str | None
    orders: int
    requested: Money
    credited: Money
    reversed: Money
    not_credited: Money


@frozen(kw_only=True)
class Credited:
    """A payment that arrived; `reference` is the provider's. One of 0 has no `provider`: nobody had to pay it."""

    cycle: str
    package: str
    beneficiary: str
    recipient: str
    location: str | None
    provider: str | None
    pay_point: str | None
    amount: Money
    order: str
    reference: str | None


@frozen(kw_only=True)
class NotCredited:
    """A payment that was owed and did not arrive: the state of the entitlement, and why, as far as it is known."""

    cycle: str
    package: str
    beneficiary: str
    recipient: str | None
    location: str | None
    provider: str | None
    pay_point: str | None
    amount: Money
    state: str
    reason: str


def _latest(context: Context, numbers: Sequence[int]) -> sa.Subquery:
    """The latest attempt of each debt of these payrolls that the caller may see."""
    return (
        sa.select(
            orders.c.id, orders.c.source, orders.c.entitlement, orders.c.scheme, orders.c.person,
            orders.c.amount_minor, order_current.c.state, order_current.c.reason, order_current.c.version,
            order_current.c.payment_provider, order_current.c.recipient,
        )
        .ext(postgresql.distinct_on(orders.c.source, orders.c.entitlement))
        .join(order_current, order_current.c.order == orders.c.id)
        .where(orders.c.source_kind == SOURCE, orders.c.source == any_of(numbers), context.scoped(orders))
        .order_by(orders.c.source, orders.c.entitlement, orders.c.attempt.desc())
        .subquery("latest")
    )  # fmt: skip


@query("payroll.funds_request", input=AskFunds, result=FundsRequested, listing=True)
def funds_request(context: Context, asked: AskFunds) -> Listing | Refusal:
    """What payment providers need for a payroll or a cycle: orders without a final word, through present enrolments."""
    chosen = chosen_payrolls(context, asked)
    if isinstance(chosen, Refusal):
        return chosen
    numbers, currency = chosen
    latest = _latest(context, numbers)
    unsent = latest.c.payment_provider.is_(None)
    amount = sa.cast(sa.func.sum(latest.c.amount_minor), sa.BigInteger)
    waiting = sa.cast(sa.func.coalesce(sa.func.sum(latest.c.amount_minor).filter(unsent), 0), sa.BigInteger)
    summed = (
        sa.select(
            packages.c.code.label("package"), payment_providers.c.code.label("provider"),
            pay_points.c.code.label("pay_point"), sa.func.count().label("orders"), amount.label("amount_minor"),
            waiting.label("unsent_minor"),
        )
        .select_from(
            through_whom(
                latest.join(entitlements, entitlements.c.id == latest.c.entitlement).join(
                    packages, packages.c.id == entitlements.c.package
                ),
                latest,
            )
        )
        .where(latest.c.state.in_(_TO_FUND))
        .group_by(packages.c.code, payment_providers.c.code, pay_points.c.code)
        .subquery("summed")
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[FundsRequested]:
        return [
            FundsRequested(
                package=row.package, provider=row.provider, pay_point=row.pay_point, orders=row.orders,
                amount=Money(row.amount_minor, currency), unsent=Money(row.unsent_minor, currency),
            )
            for row in rows
        ]  # fmt: skip

    return Listing(sa.select(summed), by_texts(summed, "package", "provider", "pay_point"), build)


def through_whom(clause: sa.FromClause, latest: sa.Subquery) -> sa.FromClause:
    """`clause` (`latest` orders among it) joined to the payment provider and the pay point of each order.

    They are those that it was sent through; of one that was not sent, those of its recipient's enrolment as it is now.
    `latest` has the columns `person`, `scheme`, `payment_provider` and `recipient`.
    """
    merged = merged_persons()
    # Who was merged into another person since is paid as that one; the own enrolment wins (payments.submitting).
    person = sa.case((merged.c.id.is_(None), latest.c.person), else_=merged.c.merged_into)
    own, general = recipients.alias("own"), recipients.alias("general")
    sent, unsent = recipients.alias("sent"), latest.c.payment_provider.is_(None)
    point = sa.case((unsent, sa.func.coalesce(own.c.pay_point, general.c.pay_point)), else_=sent.c.pay_point)
    # An enrolment of one's own without a pay point is not that of another scheme with one.
    point = sa.case((sa.and_(unsent, own.c.id.is_not(None)), own.c.pay_point), else_=point)
    through = sa.func.coalesce(latest.c.payment_provider, own.c.payment_provider, general.c.payment_provider)
    return (
        clause.outerjoin(merged, merged.c.id == latest.c.person)
        .outerjoin(own, sa.and_(own.c.active, own.c.person == person, own.c.scheme == latest.c.scheme))
        .outerjoin(general, sa.and_(general.c.active, general.c.person == person, general.c.scheme == ""))
        .outerjoin(sent, sent.c.id == latest.c.recipient)
        .outerjoin(payment_providers, payment_providers.c.id == through)
        .outerjoin(pay_points, pay_points.c.id == point)
    )


@query("payroll.results", input=AskResults, result=CycleResult, listing=True)
def results(context: Context, asked: AskResults) -> Listing | Refusal:
    """What was requested, credited and not credited of a payroll or a cycle, by place, provider and pay point."""
    chosen = chosen_payrolls(context, AskFunds(payroll=asked.payroll, scheme=asked.scheme, cycle=asked.cycle))
    if isinstance(chosen, Refusal):
        return chosen
    numbers, currency = chosen
    latest = _latest(context, numbers)
    placed = with_places(context, latest.join(entitlements, entitlements.c.id == latest.c.entitlement), asked.level)
    if isinstance(placed, Refusal):
        return placed
    credited, reversed_ = (
        sa.cast(sa.func.coalesce(sa.func.sum(latest.c.amount_minor).filter(latest.c.state == state), 0), sa.BigInteger)
        for state in ("paid", "reversed")
    )
    summed = (
        sa.select(
            packages.c.code.label("package"), locations.c.code.label("location"),
            payment_providers.c.code.label("provider"), pay_points.c.code.label("pay_point"),
            sa.func.count().label("orders"),
            sa.cast(sa.func.sum(latest.c.amount_minor), sa.BigInteger).label("requested_minor"),
            credited.label("credited_minor"), reversed_.label("reversed_minor"),
        )
        .select_from(placed)
        .join(packages, packages.c.id == entitlements.c.package)
        .outerjoin(payment_providers, payment_providers.c.id == latest.c.payment_provider)
        .outerjoin(recipients, recipients.c.id == latest.c.recipient)
        .outerjoin(pay_points, pay_points.c.id == recipients.c.pay_point)
        .where(latest.c.state != "cancelled")
        .group_by(packages.c.code, locations.c.code, payment_providers.c.code, pay_points.c.code)
        .subquery("summed")
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[CycleResult]:
        return [
            CycleResult(
                package=row.package, location=row.location, provider=row.provider, pay_point=row.pay_point,
                orders=row.orders, requested=Money(row.requested_minor, currency),
                credited=Money(row.credited_minor, currency), reversed=Money(row.reversed_minor, currency),
                not_credited=Money(row.requested_minor - row.credited_minor - row.reversed_minor, currency),
            )
            for row in rows
        ]  # fmt: skip

    return Listing(sa.select(summed), by_texts(summed, "package", "location", "provider", "pay_point"), build)


def by_texts(rows: sa.Subquery, *names: str) -> list[sa.ColumnElement[Any]]:
    """An order in which what is absent comes first, and which pages compare without nulls."""
    return [sa.func.coalesce(rows.c[name], "", type_=sa.Text) for name in names]


# Each place with the one of a level that it lies in.
_ABOVE: Final = """
    WITH RECURSIVE up AS (
        SELECT id AS place, id AS above, parent, level FROM core.locations
        UNION ALL SELECT up.place, l.id, l.parent, l.level FROM up JOIN core.locations l ON l.id = up.parent)
    SELECT place, above FROM up WHERE level = :level
"""


def with_places(context: Context, clause: sa.FromClause, level: str | None) -> sa.FromClause | Refusal:
    """`clause` (entitlements among it) joined to the place of each, or to the one of `level` that it lies in."""
    if level is None:
        return clause.outerjoin(locations, locations.c.id == entitlements.c.place)
    levels = context.execute(sa.select(locations.c.level).distinct()).scalars().all()
    if level not in levels:
        message = f"there is no place of the level {level!r}{suggestion(level, levels)}"
        return invalid(Problem("level", "unknown", message))
    above = sa.text(_ABOVE).bindparams(level=level).columns(
        sa.column("place", sa.BigInteger), sa.column("above", sa.BigInteger)
    ).subquery("places_above")  # fmt: skip
    return clause.outerjoin(above, above.c.place == entitlements.c.place).outerjoin(
        locations, locations.c.id == above.c.above
    )


@query("payroll.credited", input=AskFunds, result=Credited, listing=True)
def credited(context: Context, asked: AskFunds) -> Listing | Refusal:
    """The payments of a payroll or a cycle that arrived, by beneficiary."""
    chosen = chosen_payrolls(context, asked)
    if isinstance(chosen, Refusal):
        return chosen
    numbers, currency = chosen
    latest = _latest(context, numbers)
    paid = sa.and_(order_states.c.order == latest.c.id, order_states.c.version == latest.c.version)
    clause, columns, beneficiary = _told(latest.join(entitlements, entitlements.c.id == latest.c.entitlement), latest)
    select = (
        sa.select(*columns, latest.c.id, latest.c.amount_minor, order_states.c.reference)
        .select_from(clause.outerjoin(order_states, paid))
        .where(latest.c.state == "paid", context.scoped(entitlements))
    )

    def build(rows: Sequence[Any]) -> list[Credited]:
        return [
            Credited(**_texts(row), amount=Money(row.amount_minor, currency), order=order, reference=row.reference)
            for order, row in zip(context.ids.encode_all("orders", [row.id for row in rows]), rows, strict=True)
        ]

    return Listing(select, (beneficiary, latest.c.id), build)


@query("payroll.not_credited", input=AskFunds, result=NotCredited, listing=True)
def not_credited(context: Context, asked: AskFunds) -> Listing | Refusal:
    """What is owed of a payroll or a cycle and did not arrive, with the reason, also what was never ordered."""
    chosen = chosen_payrolls(context, asked)
    if isinstance(chosen, Refusal):
        return chosen
    numbers, currency = chosen
    latest = _latest(context, numbers)
    c, s = entitlement_current.c, entitlement_states.c
    same = sa.and_(latest.c.source == c.payroll, latest.c.entitlement == c.entitlement)
    clause, columns, beneficiary = _told(
        entitlement_current.join(entitlements, entitlements.c.id == c.entitlement)
        .join(entitlement_states, sa.and_(s.entitlement == c.entitlement, s.version == c.version))
        .outerjoin(latest, same),
        latest,
    )
    reason = sa.func.coalesce(latest.c.reason, s.reason, latest.c.state, c.state, type_=sa.Text)
    select = (
        sa.select(*columns, entitlements.c.id, c.amount_minor, c.state, reason.label("reason"))
        .select_from(clause)
        .where(c.payroll == any_of(numbers), c.state.in_(UNPAID), context.scoped(entitlements))
    )

    def build(rows: Sequence[Any]) -> list[NotCredited]:
        return [
            NotCredited(
                **_texts(row), amount=Money(row.amount_minor, currency), state=row.state, reason=row.reason
            )
            for row in rows
        ]  # fmt: skip

    return Listing(select, (beneficiary, entitlements.c.id), build)


def _told(clause: Any, latest: sa.Subquery) -> tuple[Any, list[Any], sa.ColumnElement[Any]]:
    """`clause` (entitlements and `latest` orders) with who and where; the columns of that, and the beneficiary's."""
    payee = persons.alias("payee")
    beneficiary = sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text)
    clause = (
        clause.join(cycles, cycles.c.id == entitlements.c.cycle)
        .join(packages, packages.c.id == entitlements.c.package)
        .outerjoin(groups, groups.c.id == entitlements.c.group)
        .outerjoin(persons, persons.c.id == entitlements.c.person)
        .outerjoin(payee, payee.c.id == latest.c.person)
        .outerjoin(locations, locations.c.id == entitlements.c.place)
        .outerjoin(payment_providers, payment_providers.c.id == latest.c.payment_provider)
        .outerjoin(recipients, recipients.c.id == latest.c.recipient)
        .outerjoin(pay_points, pay_points.c.id == recipients.c.pay_point)
    )
    columns = [
        cycles.c.code.label("cycle"), packages.c.code.label("package"), beneficiary.label("beneficiary"),
        payee.c.number.label("payee"), locations.c.code.label("location"),
        payment_providers.c.code.label("provider"), pay_points.c.code.label("pay_point"),
    ]  # fmt: skip
    return clause, columns, beneficiary


def _texts(row: Any) -> dict[str, Any]:
    names = ("cycle", "package", "beneficiary", "location", "provider", "pay_point")
    return {"recipient": row.payee, **{name: getattr(row, name) for name in names}}


QUERIES: Final = (funds_request, results, credited, not_credited)
REPORTS: Final = (
    Report("funds_request", "Funds that payment providers need for a cycle", "payroll.funds_request"),
    Report("cycle_results", "Payments of a cycle by place and provider", "payroll.results"),
    Report("payments_credited", "Payments of a cycle that arrived", "payroll.credited"),
    Report("payments_not_credited", "Payments of a cycle that did not arrive, and why", "payroll.not_credited"),
)
