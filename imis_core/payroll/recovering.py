"""What payrolls take of entitlements for what beneficiaries owe back: the deductions, and what they are in the ledger.

A recovery is taken from the entitlements of its scheme that are generated while it is open, whatever package they are
of: at most its instalment of each, at most what is left of it, never more than the entitlement. Of several recoveries
of one beneficiary the oldest is taken first, and the next one from the next payroll on after it. A deduction counts
while its entitlement stands: a cancelled or reversed one gives its instalment back. It opens and ends none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.payroll.states import GIVEN_UP_SQL

STEP: Final = "recovery "  # and the recovery's code: the name of a deduction among an entitlement's steps
SHARE_WHOLE: Final = 10_000  # hundredths of a percent


def lock_open(context: Context, scheme: str) -> bool:
    """Whether anything of this scheme is being recovered; if so, no other payroll takes it before this one ends.

    Payrolls of two packages at once would else each take what is left.
    """
    return bool(context.execute(_LOCK_OPEN, {"scheme": scheme}).scalar_one())


_LOCK_OPEN: Final = sa.text(
    """
    SELECT count(*) > 0 FROM (
        SELECT FROM core.recoveries WHERE scheme = :scheme AND state = 'open' ORDER BY id FOR NO KEY UPDATE) locked
    """
)
# What every deduction that stands took of a recovery so far.
TAKEN: Final = f"""
    SELECT d.recovery, CAST(sum(d.amount_minor) AS bigint) AS taken
    FROM core.recovery_deductions d
    JOIN core.entitlement_current t ON t.entitlement = d.entitlement AND t.payroll = d.payroll
    WHERE t.state NOT IN ({GIVEN_UP_SQL}) AND d.recovery IN ({{chosen}}) GROUP BY d.recovery
"""


@frozen
class Deducted:
    """The columns of an entitlement with its deduction: what is left of it, its steps, and of which recovery how much.

    `recovery` and `taken_minor` are NULL and 0 where nothing is taken.
    """

    clause: sa.FromClause
    amount_minor: sa.ColumnElement[Any]
    steps: sa.ColumnElement[Any]
    recovery: sa.ColumnElement[Any]
    taken_minor: sa.ColumnElement[Any]


def deducted(scheme: str, lines: sa.FromClause) -> Deducted:
    """Join lines (`group`, `person`, `position`, `source`, `amount_minor`, `steps`) to what is taken of each.

    Several lines of one beneficiary are taken from in their order, until nothing of the recovery is left.
    """
    owed = _oldest(scheme)
    line, back = lines.c, owed.c
    instalment = sa.func.least(
        line.amount_minor,
        sa.func.coalesce(back.instalment_minor, line.amount_minor),
        # A share is rounded down: at most so much is taken. In numeric, which no product overflows.
        sa.cast(
            sa.func.div(
                sa.cast(line.amount_minor, sa.Numeric) * sa.func.coalesce(back.share_hundredths, SHARE_WHOLE),
                SHARE_WHOLE,
            ),
            sa.BigInteger,
        ),
    )
    # Each takes its whole instalment until nothing is left, so what earlier lines took is what they could take at most.
    earlier = sa.func.coalesce(
        sa.func.sum(instalment).over(
            partition_by=(line.group, line.person), order_by=(line.position, line.source), rows=(None, -1)
        ),
        0,
    )
    taken = sa.cast(sa.func.greatest(0, sa.func.least(instalment, back.left_minor - earlier)), sa.BigInteger)
    computed = (
        sa.select(*lines.c, back.id.label("recovery"), back.code, sa.func.coalesce(taken, 0).label("taken_minor"))
        .select_from(
            lines.outerjoin(
                owed,
                sa.and_(
                    back.group_key == sa.func.coalesce(line.group, 0),
                    back.person_key == sa.func.coalesce(line.person, 0),
                ),
            )
        )
        .subquery("with_recoveries")
    )
    c = computed.c
    nothing = c.recovery.is_(None) | (c.taken_minor == 0)
    step = sa.func.jsonb_build_array(sa.func.jsonb_build_array(sa.literal(STEP, sa.Text) + c.code, -c.taken_minor))
    return Deducted(
        computed,
        sa.case((nothing, c.amount_minor), else_=c.amount_minor - c.taken_minor),
        sa.case((nothing, c.steps), else_=c.steps.op("||")(step)),
        sa.case((nothing, None), else_=c.recovery),
        sa.case((nothing, 0), else_=c.taken_minor),
    )


def undeducted(lines: sa.FromClause) -> Deducted:
    """Lines as they are, where nothing is taken back."""
    nothing = sa.cast(sa.null(), sa.BigInteger)
    return Deducted(lines, lines.c.amount_minor, lines.c.steps, nothing, sa.literal_column("0"))


def _oldest(scheme: str) -> sa.Subquery:
    """For each beneficiary the oldest recovery of which something is left, and how much: what payrolls take now."""
    open_ones = sa.text(_OLDEST).columns(
        sa.column("id", sa.BigInteger), sa.column("code", sa.Text), sa.column("group_key", sa.BigInteger),
        sa.column("person_key", sa.BigInteger), sa.column("instalment_minor", sa.BigInteger),
        sa.column("share_hundredths", sa.Integer), sa.column("left_minor", sa.BigInteger),
    ).bindparams(recovery_scheme=scheme)  # fmt: skip
    return open_ones.subquery("owed_back")


_OF_SCHEME: Final = "SELECT id FROM core.recoveries WHERE scheme = :recovery_scheme AND state = 'open'"
_OLDEST: Final = f"""
    SELECT DISTINCT ON (r."group", r.person) r.id, r.code, coalesce(r."group", 0) AS group_key,
           coalesce(r.person, 0) AS person_key, r.instalment_minor, r.share_hundredths,
           r.amount_minor - coalesce(t.taken, 0) AS left_minor
    FROM core.recoveries r
    LEFT JOIN ({TAKEN.format(chosen=_OF_SCHEME)}) t ON t.recovery = r.id
    WHERE r.scheme = :recovery_scheme AND r.state = 'open' AND r.amount_minor > coalesce(t.taken, 0)
    ORDER BY r."group", r.person, r.id
"""


def taken_by_orders_of(context: Context, payroll: int) -> int:
    """What was taken of a payroll's entitlements whose payment the running command ordered, in minor units."""
    return int(context.execute(_ORDERED, {"payroll": payroll, "audit": context.audit}).scalar_one())


_ORDERED: Final = sa.text(
    """
    SELECT CAST(coalesce(sum(d.amount_minor), 0) AS bigint) FROM core.recovery_deductions d
    WHERE d.payroll = :payroll AND EXISTS (
        SELECT FROM core.orders o WHERE o.source_kind = 'payroll' AND o.source = d.payroll
           AND o.entitlement = d.entitlement AND o.attempt = 1 AND o.audit = :audit)
    """
)


def taken_of(context: Context, chosen: Iterable[tuple[str, int, int]]) -> Counter[str]:
    """What was taken of entitlements, by scheme and in minor units; each is (scheme, payroll, entitlement)."""
    named = sorted(set(chosen))
    if not named:
        return Counter()
    rows: Sequence[Any] = context.execute(
        _TAKEN_OF,
        {
            "schemes": [scheme for scheme, _, _ in named],
            "payrolls": [payroll for _, payroll, _ in named],
            "entitlements": [entitlement for _, _, entitlement in named],
        },
    ).all()
    return Counter({row.scheme: row.taken for row in rows})


_TAKEN_OF: Final = sa.text(
    """
    SELECT n.scheme, CAST(sum(d.amount_minor) AS bigint) AS taken
    FROM unnest(CAST(:schemes AS text[]), CAST(:payrolls AS bigint[]), CAST(:entitlements AS bigint[]))
         AS n(scheme, payroll, entitlement)
    JOIN core.recovery_deductions d ON d.payroll = n.payroll AND d.entitlement = n.entitlement GROUP BY n.scheme
    """
)


def recovered_orders(context: Context, orders: Sequence[int]) -> set[int]:
    """Those of the orders of which something is being recovered, or was: not where all of it was given up."""
    return set(context.execute(_RECOVERED, {"orders": list(orders)}).scalars())


_RECOVERED: Final = sa.text(
    f"""
    SELECT DISTINCT r."order" FROM core.recoveries r
    WHERE r."order" = ANY(CAST(:orders AS bigint[])) AND (
        r.state <> 'ended' OR r.repaid_minor > 0 OR EXISTS (
        SELECT FROM core.recovery_deductions d
        JOIN core.entitlement_current t ON t.entitlement = d.entitlement AND t.payroll = d.payroll
        WHERE d.recovery = r.id AND t.state NOT IN ({GIVEN_UP_SQL})))
    """
)
