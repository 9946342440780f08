"""Sending a batch's orders, each through its recipient's enrolment; it transmits nothing (see `channels`)."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from imis_core.beneficiaries.lookup import merged_persons
from imis_core.context import Context
from imis_core.payments.tables import order_current, order_states, orders, recipients

NO_ACCOUNT: Final = "no_account"


def submit_orders(context: Context, source_kind: str, source: int) -> tuple[int, int]:
    """Send a batch's approved orders through their recipients' enrolments, in one statement; (sent, without one).

    The recipient's own enrolment for the scheme wins over the one for every scheme. Who was merged into another person
    since is paid as that one. An order without any enrolment stays approved, with the reason `no_account`.
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
    sent = (
        sa.update(order_current)
        .where(order_current.c.order == chosen.c.id, chosen.c.recipient.is_not(None))
        .values(
            state="submitted",
            version=order_current.c.version + 1,
            reason=None,
            payment_provider=chosen.c.payment_provider,
            recipient=chosen.c.recipient,
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
        .where(order_current.c.order == chosen.c.id, chosen.c.recipient.is_(None))
        .values(reason=NO_ACCOUNT)
        .returning(order_current.c.order)
        .cte("waiting")
    )
    told: sa.Select[Any, Any] = sa.select(
        sa.select(sa.func.count()).select_from(sent).scalar_subquery(),
        sa.select(sa.func.count()).select_from(waiting).scalar_subquery(),
    ).add_cte(kept)
    counted: Any = context.execute(told).one()
    return counted[0], counted[1]
