"""Taking contributions back: the receipt stays with its reversal, the policy stands as if it had not been paid.

Not by who recorded it. Source: contract-kernel.md, `contributions.reverse`; health_insurance.md 2.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.accounts import Account, given_up, load_accounts, settle_again
from imis_core.coverage.lookup import NOUN, load_policies
from imis_core.coverage.states import state_on
from imis_core.coverage.subsidies import SETTLE
from imis_core.coverage.tables import contribution_reversals
from imis_core.database.bulk import insert_returning
from imis_core.database.engine import lost_race
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.ledger.book import CASH, INCOME, RECEIVABLE, SUBSIDIES, post
from imis_core.values import Money


@frozen(kw_only=True)
class Reverse:
    """`scheme`: needed where two schemes have the receipt."""

    scheme: str | None = None
    receipt: str
    reason: str


@frozen(kw_only=True)
class Reversed:
    """`coverage`: the policy that was paid, with its balance and status now; null for other payments."""

    id: str
    scheme: str
    receipt: str
    amount: Money
    coverage: str | None
    balance: Money | None
    status: str
    effective_from: date | None


_FOUND: Final = sa.text(
    """
    SELECT c.id, c.scheme, c.receipt, c.coverage, c.category, c.amount_minor, c.currency, a.actor,
           EXISTS (SELECT FROM core.contribution_reversals r WHERE r.contribution = c.id) AS reversed
    FROM core.contributions c LEFT JOIN core.audit_entries a ON a.id = c.audit
    WHERE c.receipt = ANY(CAST(:receipts AS text[]))
      AND (c.coverage IS NULL OR EXISTS (SELECT FROM core.coverages v WHERE v.id = c.coverage))  -- under row security
    ORDER BY c.id
    """
)


@command("contributions.reverse", input=Reverse, result=Reversed)
def reverse(context: Context, items: tuple[Reverse, ...]) -> list[Reversed | Refusal]:
    """Take a recorded contribution back, because it was never paid or belongs elsewhere; by another person."""
    rows: dict[str, list[Any]] = defaultdict(list)
    found: Iterable[Any] = context.execute(_FOUND, {"receipts": sorted({i.receipt for i in items})})
    for one in found:
        rows[one.receipt].append(one)
    coverages = {row.coverage for of in rows.values() for row in of if row.coverage is not None}
    policies = load_policies(context, coverages, lock=True)
    accounts = load_accounts(context, policies)
    outcomes: list[Any] = []
    taken: list[tuple[int, Any]] = []
    done: set[int] = set()
    for position, item in enumerate(items):
        row = _found(context, item, rows[item.receipt], policies, done)
        outcomes.append(row if isinstance(row, Refusal) else None)
        if not isinstance(row, Refusal):
            done.add(row.id)
            taken.append((position, row))
    if not taken:
        return outcomes
    _write(context, [(row, items[position].reason) for position, row in taken])
    before = {number: account.given_up for number, account in accounts.items()}
    settle_again(context, accounts, {row.coverage for _, row in taken if row.coverage is not None})
    _book(context, [row for _, row in taken], accounts, before)
    identities = context.ids.encode_all("contributions", [row.id for _, row in taken])
    for (position, row), identity in zip(taken, identities, strict=True):
        outcomes[position] = _shown(context, row, identity, accounts)
    return outcomes


def _found(
    context: Context, item: Reverse, rows: Sequence[Any], policies: Mapping[int, Any], done: set[int]
) -> Any | Refusal:
    """The contribution that an item names, or why it cannot be taken back."""
    if not item.reason.strip():
        return invalid(Problem("reason", "required", "say why the contribution is taken back"))
    seen = [
        row
        for row in rows
        if item.scheme in (None, row.scheme)
        and (context.caller.everywhere if row.coverage is None else row.coverage in policies)
    ]
    if not seen:
        return not_found("receipt", "receipt", item.receipt)
    if len(seen) > 1:
        schemes = ", ".join(sorted(row.scheme for row in seen))
        return invalid(Problem("scheme", "required", f"several schemes have this receipt: {schemes}; name one"))
    row = seen[0]
    if row.reversed or row.id in done:
        return Refusal("contributions.wrong_state", f"the receipt {item.receipt!r} was taken back already")
    if row.actor in (context.caller.user, None):  # none yet: it was recorded in this very transaction
        message = "whoever recorded the contribution does not take it back; ask somebody else"
        return Refusal("contributions.same_person", message)
    return row


def _write(context: Context, taken: Sequence[tuple[Any, str]]) -> None:
    written = insert_returning(
        context.connection,
        contribution_reversals,
        {
            "contribution": [row.id for row, _ in taken],
            "reason": [reason for _, reason in taken],
            "reversed_on": [context.today] * len(taken),
            "audit": [context.audit] * len(taken),
        },
        conflict="(contribution) DO NOTHING",
        returning="contribution",
    )
    if len(written) != len(taken):
        raise lost_race("a receipt")


def _book(context: Context, taken: Sequence[Any], accounts: Mapping[int, Account], before: Mapping[int, int]) -> None:
    """Cash goes out and the debt comes back; what a terminated policy owes of its contribution is given up again."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: {CASH: 0, RECEIVABLE: 0, SUBSIDIES: 0, INCOME: 0})
    settled: dict[tuple[str, str], int] = defaultdict(int)
    for row in taken:
        amounts = sums[row.scheme]
        amounts[CASH] -= row.amount_minor
        amounts[SUBSIDIES if row.category is not None else RECEIVABLE] += row.amount_minor
        if row.category is not None:
            settled[row.scheme, row.category] -= row.amount_minor
    touched = {row.coverage for row in taken if row.coverage is not None}
    for scheme, more in given_up([accounts[number] for number in touched], before).items():
        sums[scheme][RECEIVABLE] -= more
        sums[scheme][INCOME] += more
    if settled:
        ordered = sorted(settled)
        context.execute(
            SETTLE,
            {
                "schemes": [scheme for scheme, _ in ordered],
                "categories": [category for _, category in ordered],
                "amounts": [settled[key] for key in ordered],
            },
        )
    for scheme, amounts in sums.items():
        post(context, scheme, "contributions.reverse", amounts)


def _shown(context: Context, row: Any, identity: str, accounts: Mapping[int, Account]) -> Reversed:
    account = accounts.get(row.coverage)
    shown = Reversed(
        id=identity, scheme=row.scheme, receipt=row.receipt, amount=Money(row.amount_minor, row.currency),
        coverage=None, balance=None, status="reversed", effective_from=None,
    )  # fmt: skip
    if account is None:
        return shown
    one = account.policy
    return evolve(
        shown, coverage=context.ids.encode(NOUN, one.id), balance=Money(account.owed, one.currency),
        status=state_on(one.state, one.ends, context.today), effective_from=one.effective_from,
    )  # fmt: skip
