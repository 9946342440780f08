"""Sending a batch's orders, each through its recipient's enrolment; it transmits nothing (see `transmitting`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from imis_core.beneficiaries.lookup import merged_persons
from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.payments.limits import Limit
from imis_core.payments.tables import order_current, order_states, orders, payment_days, recipients
from imis_core.places.tables import providers

NO_ACCOUNT: Final = "no_account"
PAYEE_TOO_LONG: Final = "payee_too_long"  # a number that the provider's service has no room for
ABOVE_LIMIT: Final = "above_limit"  # of one order, and of all of a day
ABOVE_DAY_LIMIT: Final = "above_day_limit"


def submit_orders(context: Context, source_kind: str, source: int, limits: Sequence[Limit] = ()) -> tuple[int, int]:
    """Send a batch's approved orders through their recipients' enrolments, in one statement; (sent, not sent).

    The recipient's own enrolment for the scheme wins over the one for every scheme. Who was merged into another person
    since is paid as that one. An order without any enrolment stays approved, with the reason `no_account`; one beyond a
    provider's limits with `above_limit` or, once the day's amount is reached, `above_day_limit`; one that its service
    cannot carry with `payee_too_long`.
    """
    merged = merged_persons()
    # Not `coalesce`: under row security PostgreSQL takes it for leaky, and finds no enrolment by an index then.
    person = sa.case((merged.c.id.is_(None), orders.c.person), else_=merged.c.merged_into)
    holders: dict[str, sa.ColumnElement[Any]] = {"person": person, "provider": orders.c.provider}
    joined: sa.FromClause = orders.join(order_current, order_current.c.order == orders.c.id).outerjoin(
        merged, merged.c.id == orders.c.person
    )
    enrolments = []
    # One join for each, on columns that an index leads with: a condition with OR would read every recipient per order.
    # Whoever sees the order sees the enrolment: both are scoped by the same person or facility.
    for holder, held_by in holders.items():
        for name, scheme in (("own", orders.c.scheme), ("general", sa.literal_column("''"))):
            enrolment = recipients.alias(f"{name}_{holder}")
            enrolments.append(enrolment)
            fits = (enrolment.c.active, enrolment.c[holder] == held_by, enrolment.c.scheme == scheme)
            joined = joined.outerjoin(enrolment, sa.and_(*fits))
    chosen = (
        sa.select(
            orders.c.id,
            orders.c.amount_minor,
            orders.c.currency,
            sa.func.coalesce(*[e.c.id for e in enrolments]).label("recipient"),
            sa.func.coalesce(*[e.c.payment_provider for e in enrolments]).label("payment_provider"),
        )
        .select_from(joined)
        .where(
            orders.c.source_kind == source_kind,
            orders.c.source == source,
            order_current.c.state == "approved",
            context.scoped(orders),
        )
        .order_by(orders.c.id)
        .with_for_update(of=order_current)
        .cte("chosen")
        .prefix_with("MATERIALIZED")
    )
    judged, why = _judged(context, chosen, limits)
    sent = (
        sa.update(order_current)
        .where(order_current.c.order == judged.c.id, why.is_(None))
        .values(
            state="submitted",
            version=order_current.c.version + 1,
            reason=None,
            payment_provider=judged.c.payment_provider,
            recipient=judged.c.recipient,
        )
        .returning(order_current.c.order, order_current.c.version)
        .cte("sent")
    )
    written: tuple[sa.ColumnElement[Any], ...] = (
        sent.c.order,
        sent.c.version,
        sa.literal_column("'submitted'"),
        sa.cast(context.audit, sa.BigInteger),
    )
    kept = sa.insert(order_states).from_select(["order", "version", "state", "audit"], sa.select(*written)).cte("kept")
    waiting = (
        sa.update(order_current)
        .where(order_current.c.order == judged.c.id, why.is_not(None))
        .values(reason=why)
        .returning(order_current.c.order)
        .cte("waiting")
    )
    told: sa.Select[Any, Any] = sa.select(
        sa.select(sa.func.count()).select_from(sent).scalar_subquery(),
        sa.select(sa.func.count()).select_from(waiting).scalar_subquery(),
    ).add_cte(kept, _counted_today(context, judged, why))
    counted: Any = context.execute(told).one()
    return counted[0], counted[1]


def _counted_today(context: Context, judged: sa.CTE, why: sa.ColumnElement[Any]) -> sa.CTE:
    """What is sent, added to what went through each provider today; in the order of the providers, as their limits
    are locked."""
    amount = sa.cast(sa.func.sum(judged.c.amount_minor), sa.BigInteger)
    gone = (
        sa.select(judged.c.payment_provider, sa.cast(context.today, sa.Date), judged.c.currency, amount)
        .where(why.is_(None))
        .group_by(judged.c.payment_provider, judged.c.currency)
        .order_by(judged.c.payment_provider, judged.c.currency)
    )
    day = insert(payment_days).from_select(["payment_provider", "day", "currency", "amount_minor"], gone)
    added = payment_days.c.amount_minor + day.excluded.amount_minor
    return day.on_conflict_do_update(constraint=payment_days.primary_key, set_={"amount_minor": added}).cte("counted")


def _judged(context: Context, chosen: sa.CTE, limits: Sequence[Limit]) -> tuple[sa.CTE, sa.ColumnElement[Any]]:
    """The chosen orders with why each is not sent: NULL for those that are."""
    nobody = sa.case((chosen.c.recipient.is_(None), NO_ACCOUNT))
    if not limits:
        return chosen, nobody
    bounds = (
        sa.func.unnest(
            sa.cast([one.provider for one in limits], ARRAY(sa.BigInteger)),
            sa.cast([one.order for one in limits], ARRAY(sa.BigInteger)),
            sa.cast([one.day for one in limits], ARRAY(sa.BigInteger)),
            sa.cast([one.payee_max for one in limits], ARRAY(sa.Integer)),
        )
        .table_valued("payment_provider", "most", "left", "payee_max", name="bounds")
        .render_derived()
    )
    enrolled, holder, facility = recipients.alias("enrolled"), persons.alias("holder"), providers.alias("facility")
    too_long = sa.func.length(sa.func.coalesce(holder.c.number, facility.c.code)) > bounds.c.payee_max
    # Only orders that could go count for the day, in the order in which they were made.
    too_large = sa.and_(
        chosen.c.currency == context.settings.deployment.currency, chosen.c.amount_minor > bounds.c.most
    )
    so_far = sa.func.sum(
        sa.case(
            (sa.or_(too_large, too_long), 0),
            (chosen.c.currency == context.settings.deployment.currency, chosen.c.amount_minor),
            else_=0,
        )
    ).over(partition_by=chosen.c.payment_provider, order_by=chosen.c.id, rows=(None, 0))
    judged = (
        sa.select(
            chosen,
            sa.case(
                (chosen.c.recipient.is_(None), NO_ACCOUNT),
                (too_long, PAYEE_TOO_LONG),
                (too_large, ABOVE_LIMIT),
                (so_far > bounds.c.left, ABOVE_DAY_LIMIT),
            ).label("why"),
        )
        .select_from(
            chosen.outerjoin(bounds, bounds.c.payment_provider == chosen.c.payment_provider)
            .outerjoin(enrolled, enrolled.c.id == chosen.c.recipient)
            .outerjoin(holder, holder.c.id == enrolled.c.person)
            .outerjoin(facility, facility.c.id == enrolled.c.provider)
        )
        .cte("judged")
        .prefix_with("MATERIALIZED")
    )
    return judged, judged.c.why
