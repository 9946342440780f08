"""What approvals make and what cancellations take back: orders, reserved budgets and the expense in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core import hookspecs
from imis_core.beneficiaries.payees import payee
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.ledger.book import EXPENSE, PAYABLE, RECOVERIES, post
from imis_core.payments.orders import place_orders_from
from imis_core.payroll.runs import HoldRule, PayrollHolds
from imis_core.payroll.states import ENTITLEMENT_STATES
from imis_core.payroll.tables import entitlement_current, entitlement_states, entitlements

SOURCE: Final = "payroll"  # the kind of source under which payments know payrolls
NO_RECIPIENT: Final = "no_recipient"  # why an entitlement is held when nobody can be paid for it


def post_expense(context: Context, scheme: str, amount_minor: int, taken_minor: int = 0) -> None:
    """Benefits that are owed from now on; a negative amount takes them back (contract.md, ledger accounts).

    `taken_minor` was deducted before for recoveries: it is a benefit as well, which pays what the beneficiary owes.
    """
    benefit = amount_minor + taken_minor
    post(context, scheme, context.command, {EXPENSE: benefit, PAYABLE: -amount_minor, RECOVERIES: -taken_minor})


def paid_to(context: Context, wanted: Sequence[int]) -> dict[int, int]:
    """Whom these entitlements are paid to as things stand; those that nobody can be paid for are left out."""
    person = payee(entitlements).label("person")
    select = sa.select(entitlements.c.id, person).where(entitlements.c.id == any_of(wanted))
    return {row.id: row.person for row in context.execute(select) if row.person is not None}


def hold_rules(context: Context, scheme: str) -> tuple[HoldRule, ...]:
    """What keeps entitlements of a scheme from being approved now, as its plugins say; each is asked once."""
    app = context.app
    holds = PayrollHolds(
        scheme=scheme, currency=context.settings.currency_of(scheme), today=context.today, entitlements=entitlements,
        context=context,
    )  # fmt: skip
    spec = hookspecs.imis_payroll_hold_sql
    return tuple(
        rule for name in app.speaking(spec, scheme) for rule in app.plugins.call_for(name, HoldRule, spec, holds)
    )


def _held_for(rules: Sequence[HoldRule]) -> sa.ColumnElement[Any]:
    """Why an entitlement is held rather than approved: the first rule that holds; NULL: nothing speaks against it."""
    nothing = sa.cast(sa.null(), sa.Text)
    return sa.case(*[(rule.condition, rule.reason) for rule in rules], else_=nothing) if rules else nothing


def _owed(
    payroll: int, states: Sequence[str], chosen: Sequence[int] | None, rules: Sequence[HoldRule]
) -> sa.Select[Any]:
    """Entitlements of a payroll with whom to pay, and why not: `person` is NULL where `held_for` says a reason."""
    recipient, held_for = payee(entitlements), _held_for(rules)
    select = (
        sa.select(
            entitlements.c.id.label("entitlement"),
            (sa.case((held_for.is_(None), recipient), else_=None) if rules else recipient).label("person"),
            held_for.label("held_for"),
            entitlement_current.c.amount_minor,
        )
        .join(entitlement_current, entitlement_current.c.entitlement == entitlements.c.id)
        .where(
            entitlement_current.c.payroll == payroll,
            # Written out: the index of open entitlements answers only for states that the planner reads.
            entitlement_current.c.state.in_([sa.literal_column(f"'{state}'") for state in states]),
        )
    )
    return select if chosen is None else select.where(entitlements.c.id == any_of(chosen))


def payable(
    context: Context, payroll: int, states: Sequence[str], chosen: Sequence[int], rules: Sequence[HoldRule] = ()
) -> dict[int, int]:
    """Of the chosen entitlements those that somebody can be paid for and nothing holds, with their amounts."""
    owed = _owed(payroll, states, chosen, rules).subquery()
    rows = context.execute(sa.select(owed.c.entitlement, owed.c.amount_minor).where(owed.c.person.is_not(None)))
    return {row.entitlement: row.amount_minor for row in rows}


def owed_in_all(context: Context, payroll: int, states: Sequence[str], rules: Sequence[HoldRule]) -> int:
    """The sum of a payroll's entitlements in these states that would be ordered, in minor units."""
    owed = _owed(payroll, states, None, rules).subquery()
    total = sa.cast(sa.func.coalesce(sa.func.sum(owed.c.amount_minor), 0), sa.BigInteger)
    return int(context.execute(sa.select(total).where(owed.c.person.is_not(None))).scalar_one())


def order(
    context: Context,
    scheme: str,
    payroll: int,
    states: Sequence[str],
    *,
    chosen: Mapping[int, str | None] | None = None,
    available: int | None = None,
    rules: Sequence[HoldRule] = (),
) -> int:
    """Approve a payroll's entitlements in `states` (or the chosen ones) and order their payment; what they sum up to.

    One statement, whatever their number; `chosen` gives the reason that is kept with each. An entitlement that nobody
    can be paid for, or that one of `rules` holds, is held instead, with that reason. If the sum is above `available`
    nothing is written. Amounts in minor units. Subscribers of `payroll_approved` are told after commit.
    Raises ValueError for a state from which the state table does not lead to `approved`.
    """
    wrong = [state for state in states if not ENTITLEMENT_STATES.allows(state, "approved")]
    if wrong:
        raise ValueError(f"an entitlement that is {wrong[0]} cannot become approved")
    owed = (
        _owed(payroll, states, None if chosen is None else list(chosen), rules).cte("owed").prefix_with("MATERIALIZED")
    )
    total = sa.func.coalesce(sa.func.sum(owed.c.amount_minor).filter(owed.c.person.is_not(None)), 0)
    fits: sa.ColumnElement[bool] = sa.true()
    if available is not None:
        fits = sa.select(total <= available).select_from(owed).scalar_subquery()
    nobody = owed.c.person.is_(None)
    moved = (
        sa.update(entitlement_current)
        .where(entitlement_current.c.entitlement == owed.c.entitlement, fits)
        .values(
            state=sa.case((nobody, sa.literal_column("'held'")), else_=sa.literal_column("'approved'")),
            version=entitlement_current.c.version + 1,
        )
        .returning(
            entitlement_current.c.entitlement,
            entitlement_current.c.version,
            entitlement_current.c.state,
            owed.c.held_for,
        )
        .cte("approved_now")
    )
    given = _reasons(chosen or {})
    unpaid = sa.case((moved.c.state == "held", NO_RECIPIENT), else_=given.c.reason)
    why = sa.func.coalesce(moved.c.held_for, unpaid)
    history = sa.select(
        moved.c.entitlement, moved.c.version, moved.c.state, why, sa.cast(context.audit, sa.BigInteger)
    ).select_from(moved.outerjoin(given, given.c.entitlement == moved.c.entitlement))
    kept = (
        sa.insert(entitlement_states)
        .from_select(["entitlement", "version", "state", "reason", "audit"], history)
        .cte("approved_history")
    )
    select = (
        sa.select(
            owed.c.entitlement, owed.c.person, sa.cast(sa.null(), sa.BigInteger).label("provider"), owed.c.amount_minor
        )
        .where(owed.c.person.is_not(None), fits)
        .add_cte(kept)
    )
    orders, amount = place_orders_from(context, scheme, SOURCE, payroll, select)
    if orders:
        told = {"scheme": scheme, "payroll": payroll, "audit": context.audit, "orders": orders, "amount_minor": amount}
        context.emit("payroll_approved", scheme, told, scheme=scheme)
    return amount


def _reasons(chosen: Mapping[int, str | None]) -> sa.TableValuedAlias:
    """The reasons by `entitlement` as a table."""
    columns = sa.column("entitlement", sa.BigInteger), sa.column("reason", sa.Text)
    arrays = _array(list(chosen)), sa.literal(list(chosen.values()), ARRAY(sa.Text))
    return sa.func.unnest(*arrays).table_valued(*columns, name="given").render_derived()


def move_entitlements(context: Context, moves: Sequence[tuple[int, str, str | None]]) -> None:
    """Move single entitlements, judged already: (entitlement, state, reason); the history in the same statement.

    Raises ValueError if the state table does not list one of the moves.
    """
    if not moves:
        return
    allowed = [(before, after) for before, following in ENTITLEMENT_STATES.moves.items() for after in following]
    moved = context.execute(
        _MOVE,
        {
            "entitlements": [number for number, _, _ in moves],
            "states": [state for _, state, _ in moves],
            "reasons": [reason for _, _, reason in moves],
            "before": [before for before, _ in allowed],
            "after": [after for _, after in allowed],
            "audit": context.audit,
        },
    ).scalar_one()
    if moved != len(moves):
        wanted = ", ".join(sorted({state for _, state, _ in moves}))
        raise ValueError(f"{len(moves) - moved} of {len(moves)} entitlements cannot become {wanted} from their states")


_MOVE: Final = sa.text(
    """
    WITH moved AS (
        UPDATE core.entitlement_current t SET state = n.state, version = t.version + 1
        FROM unnest(CAST(:entitlements AS bigint[]), CAST(:states AS text[]), CAST(:reasons AS text[]))
             AS n(entitlement, state, reason),
             unnest(CAST(:before AS text[]), CAST(:after AS text[])) AS allowed(before, after)
        WHERE t.entitlement = n.entitlement AND t.state = allowed.before AND n.state = allowed.after
        RETURNING t.entitlement, t.version, n.state, n.reason),
    kept AS (
        INSERT INTO core.entitlement_states (entitlement, version, state, reason, audit)
        SELECT entitlement, version, state, reason, :audit FROM moved)
    SELECT count(*) FROM moved
    """
)


def _array(numbers: Sequence[int]) -> sa.ColumnElement[Any]:
    return sa.literal(list(numbers), ARRAY(sa.BigInteger))
