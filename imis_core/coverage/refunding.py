"""How payments settle refunds, and what a refund does to its policy and to the ledger when it moves.

A credit stands in the receivable account, as less than nothing owed. Approved, it is owed like a benefit (receivable +,
payable -), so that payments pay it like one; whatever ends a refund without its money leaving gives the credit back.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from imis_core.beneficiaries.payees import payee
from imis_core.beneficiaries.tables import groups, persons
from imis_core.context import Context
from imis_core.coverage.accounts import given_up, load_accounts, settle_again
from imis_core.coverage.lookup import load_policies
from imis_core.coverage.states import OWED, REFUNDS, TAKES_CREDIT
from imis_core.coverage.tables import contribution_refunds, coverages, refund_batches
from imis_core.database.arrays import any_of
from imis_core.errors import Refusal
from imis_core.ledger.book import INCOME, PAYABLE, RECEIVABLE, post
from imis_core.payments.sources import Batch, Settled, SourceKind
from imis_core.values import Money

SOURCE: Final = "refunds"  # the kind of source under which payments know refunds
NOUN: Final = "contribution_refunds"
BATCHES: Final = "refund_batches"
# What an order's move makes of its refund; one that is held or released stays approved.
_BECOMES: Final[Mapping[str, str]] = {
    "paid": "paid", "failed": "failed", "returned": "failed", "cancelled": "cancelled", "reversed": "reversed",
    "approved": "approved",
}  # fmt: skip
_RETRIED: Final = ("failed", "returned")
_MOVE: Final = sa.text(
    """
    UPDATE core.contribution_refunds AS r
    SET state = n.state, batch = coalesce(n.batch, r.batch), rejection = coalesce(n.rejection, r.rejection),
        taken_on = CASE WHEN n.state = ANY(CAST(:taking AS text[])) AND r.state <> ALL(CAST(:taking AS text[]))
                        THEN :today ELSE r.taken_on END
    FROM unnest(CAST(:id AS bigint[]), CAST(:state AS text[]), CAST(:batch AS bigint[]), CAST(:rejection AS text[]))
         AS n(id, state, batch, rejection)
    WHERE r.id = n.id
    """
)


def above_credit(amount_minor: int, credit_minor: int, currency: str) -> Refusal:
    """`contributions.above_credit`: more than the policy has."""
    asked, left = Money(amount_minor, currency), Money(max(credit_minor, 0), currency)
    message = f"{asked} is more than the credit of the policy ({left}); refund at most that"
    return Refusal("contributions.above_credit", message)


def locked_refunds(context: Context, numbers: Iterable[int]) -> dict[int, Any]:
    """Refunds that the caller may see, by primary key, locked in their order."""
    r = contribution_refunds.c
    rows = context.execute(
        sa.select(contribution_refunds)
        .where(r.id == any_of(numbers), context.scoped(contribution_refunds))
        .order_by(r.id)
        .with_for_update(key_share=True)
    )
    return {row.id: row for row in rows}


def move_refunds(context: Context, moves: Sequence[tuple[int, str]], *, batch: int | None = None,
                 rejections: Mapping[int, str] | None = None) -> None:  # fmt: skip
    """Write the next state of distinct refunds, already judged under their locks. One statement."""
    if moves:
        context.execute(
            _MOVE,
            {
                "id": [number for number, _ in moves],
                "state": [state for _, state in moves],
                "batch": [batch] * len(moves),
                "rejection": [(rejections or {}).get(number) for number, _ in moves],
                "taking": list(TAKES_CREDIT),
                "today": context.today,
            },
        )


@contextmanager
def credits_change(context: Context, policies: Iterable[int]) -> Iterator[None]:
    """Lock policies whose refunds are moved within; then let them stand by what is left, and book what follows.

    Of a terminated policy less of the contribution is given up now, or more. Without policies nothing is read.
    """
    touched = set(policies)
    if not touched:
        yield
        return
    accounts = load_accounts(context, load_policies(context, touched, lock=True))
    before = {number: account.given_up for number, account in accounts.items()}
    yield
    settle_again(context, accounts, accounts)
    for scheme, more in sorted(given_up(accounts.values(), before).items()):
        post(context, scheme, context.command, {RECEIVABLE: -more, INCOME: more})


def post_owed(context: Context, sums: Mapping[str, int]) -> None:
    """Credits that are owed as payments from now on, by scheme; negative: they are credits again."""
    for scheme, minor in sorted(sums.items()):
        post(context, scheme, context.command, {RECEIVABLE: minor, PAYABLE: -minor})


def settle(context: Context, settled: Sequence[Settled]) -> None:
    """Refunds follow their orders; policies and ledger follow them, in the transaction of the move."""
    with context.seeing_all():
        refunds = locked_refunds(context, (s.entitlement for s in settled))
        states = {number: row.state for number, row in refunds.items()}
        owed: Counter[str] = Counter()
        for one in settled:
            state = _next(one, states[one.entitlement])
            if state != states[one.entitlement]:
                assert REFUNDS.allows(states[one.entitlement], state), f"a refund never becomes {state} so"
                owed[one.scheme] += one.amount_minor * ((state in OWED) - (states[one.entitlement] in OWED))
                states[one.entitlement] = state
        changed = [number for number, state in states.items() if state != refunds[number].state]
        moved = {n for n in changed if (states[n] in TAKES_CREDIT) != (refunds[n].state in TAKES_CREDIT)}
        with credits_change(context, {refunds[n].coverage for n in moved}):
            move_refunds(context, [(number, states[number]) for number in changed])
        post_owed(context, owed)


def _next(move: Settled, state: str) -> str:
    """The refund's state after a move of its order."""
    if move.state == "held" or (move.state == "approved" and move.was not in _RETRIED):
        return state
    return _BECOMES[move.state]


def refusals(context: Context, wanted: Sequence[Settled]) -> Mapping[int, Refusal]:
    """`contributions.above_credit` for what is to be paid once more, where the credit was used meanwhile."""
    again = [move for move in wanted if move.state == "approved" and move.was in _RETRIED]
    if not again:
        return {}
    refused: dict[int, Refusal] = {}
    with context.seeing_all():
        refunds = locked_refunds(context, (move.entitlement for move in again))
        accounts = load_accounts(
            context, load_policies(context, {row.coverage for row in refunds.values()}, lock=True)
        )  # fmt: skip
    left: dict[int, int] = defaultdict(int)
    for move in again:
        refund = refunds[move.entitlement]
        credit = left.setdefault(refund.coverage, -accounts[refund.coverage].balance)
        if move.amount_minor > credit:
            refused[move.order] = above_credit(move.amount_minor, credit, refund.currency)
        else:
            left[refund.coverage] -= move.amount_minor
    return refused


def payees(chosen: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Refunds with whom to pay, as `place_orders_from` takes them; `person` is NULL where there is nobody."""
    r = contribution_refunds.c
    return (
        sa.select(
            r.id.label("entitlement"), payee(coverages).label("person"),
            sa.cast(sa.null(), sa.BigInteger).label("provider"), r.amount_minor,
        )
        .join(coverages, coverages.c.id == r.coverage)
        .where(chosen)
    )  # fmt: skip


def recipients(context: Context, wanted: Sequence[int]) -> Mapping[int, int]:
    """Whom refunds are paid to now: a household's primary recipient may have changed since the last order."""
    with context.seeing_all():
        rows = context.execute(payees(contribution_refunds.c.id == any_of(wanted))).all()
    return {row.entitlement: row.person for row in rows if row.person is not None}


def entitlements_sql() -> sa.Select[Any]:
    """Whose policy each refund is of: the household's code or the person's number."""
    return (
        sa.select(
            contribution_refunds.c.id.label("entitlement"),
            sa.func.coalesce(groups.c.code, persons.c.number).label("beneficiary"),
        )
        .join(coverages, coverages.c.id == contribution_refunds.c.coverage)
        .outerjoin(groups, groups.c.id == coverages.c.group)
        .outerjoin(persons, persons.c.id == coverages.c.person)
    )


def find_batch(context: Context, name: str) -> Batch | None:
    """The refunds that a caller names, which were approved together: he or she sees one of them at least."""
    number = context.ids.decode(BATCHES, name)
    r = contribution_refunds.c
    seen = sa.exists().where(r.batch == refund_batches.c.id, context.scoped(contribution_refunds))
    found = context.execute(sa.select(refund_batches.c.id).where(refund_batches.c.id == number, seen)).scalar()
    return None if found is None else Batch(found, approved=True)


REFUNDS_SOURCE: Final = SourceKind(
    SOURCE,
    find_batch,
    settle,
    recipients=recipients,
    entitlements_sql=entitlements_sql,
    entitlement_noun=NOUN,
    refusals=refusals,
)
