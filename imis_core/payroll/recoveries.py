"""Recoveries: what a beneficiary was paid too much and owes back, opened here; payrolls take it (`recovering`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import GroupRow, PersonRow, resolve_groups, resolve_persons
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning, take_ids
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.ledger.book import EXPENSE, PAYABLE, RECOVERIES, post
from imis_core.naming import code_problem
from imis_core.payments.orders import locked_orders
from imis_core.payroll.owing import SOURCE
from imis_core.payroll.recovering import SHARE_WHOLE
from imis_core.payroll.tables import entitlements, recoveries
from imis_core.values import Amount, Money, NotExact, Percent, to_minor

_RECOVERABLE: Final = ("paid", "reversed")  # orders of which something may be taken back


@frozen(kw_only=True)
class OpenRecovery:
    """Who owes how much back, and how much of each later payment is taken for it.

    One of `group`, `person`, `number` and `order` (a paid or reversed payment of a payroll; without `amount` all of it
    is taken back). At least one of `instalment` (an amount) and `share` (percent of the payment, two decimals at most);
    of both the lower one counts.
    """

    scheme: str
    code: str
    reason: str
    group: str | None = None
    person: str | None = None
    number: str | None = None
    order: str | None = None
    amount: Amount | None = None
    instalment: Amount | None = None
    share: Percent | None = None


@frozen(kw_only=True)
class RecoveryOpened:
    id: str
    code: str
    amount: Money
    status: str


@frozen
class _New:
    """A recovery that can be written: exactly one of `group` and `person`."""

    position: int
    item: OpenRecovery
    group: int | None
    person: int | None
    place: int | None
    order: int | None
    against: str  # the account that the debt comes from
    amount: int
    instalment: int | None
    share: int | None


@frozen
class _Known:
    """What the items of a batch name, found in one statement per kind."""

    groups: Mapping[str, GroupRow]
    persons: Mapping[str, PersonRow]
    orders: Mapping[str, Any]
    beneficiaries: Mapping[int, Any]  # of orders, by entitlement
    taken: Mapping[int, int]  # what is taken back of orders already, in minor units


@command("payroll.recover", input=OpenRecovery, result=RecoveryOpened)
def open_recovery(context: Context, items: tuple[OpenRecovery, ...]) -> list[RecoveryOpened | Refusal]:
    """Take an overpaid or reversed payment back from the beneficiary's later payments, instalment by instalment."""
    known = _known(context, items)
    outcomes: list[Any] = []
    taken: Counter[int] = Counter(known.taken)
    new: list[_New] = []
    for position, item in enumerate(items):
        outcome = _judged(context, position, item, known, taken)
        outcomes.append(outcome)
        if isinstance(outcome, _New):
            new.append(outcome)
            if outcome.order is not None:
                taken[outcome.order] += outcome.amount
    written = _written(context, new)
    _post_opened(context, [one for one in new if one.position in written])
    for one in new:
        number = written.get(one.position)
        if number is None:
            message = f"there is a recovery {one.item.code!r} already"
            outcomes[one.position] = Refusal("payroll.duplicate_code", message)
            continue
        outcomes[one.position] = RecoveryOpened(
            id=context.ids.encode("recoveries", number), code=one.item.code,
            amount=context.money(one.amount, one.item.scheme), status="open",
        )  # fmt: skip
    return outcomes


def _known(context: Context, items: Sequence[OpenRecovery]) -> _Known:
    names = {i.order: n for i in items if i.order is not None and (n := context.ids.decode("orders", i.order))}
    # Locked: two that take back one payment at once follow each other, and it is not reversed meanwhile.
    locked = locked_orders(context, sorted(set(names.values()))) if names else {}
    orders = {name: locked[number] for name, number in names.items() if number in locked}
    entitled = [order.entitlement for order in orders.values() if order.source_kind == SOURCE]
    beneficiaries: dict[int, Any] = {}
    taken: dict[int, int] = {}
    if orders:
        table = entitlements.c
        rows = context.execute(
            sa.select(table.id, table.group, table.person, table.place).where(
                table.id == any_of(entitled),
                context.scoped(entitlements),
            )
        )
        beneficiaries = {row.id: row for row in rows}
        taken = _taken_back(context, [order.id for order in orders.values()])
    return _Known(
        resolve_groups(context, {i.group for i in items if i.group is not None}),
        resolve_persons(context, {name for i in items if (name := i.person or i.number) is not None}),
        orders,
        beneficiaries,
        taken,
    )


def _taken_back(context: Context, orders: Sequence[int]) -> dict[int, int]:
    rows: Iterable[Any] = context.execute(
        sa.text(
            'SELECT "order", CAST(sum(amount_minor - written_off_minor + repaid_minor) AS bigint) AS minor '
            "FROM core.recoveries "
            'WHERE "order" = ANY(CAST(:orders AS bigint[])) GROUP BY "order"'
        ),
        {"orders": list(orders)},
    )
    return {row.order: row.minor for row in rows}


def _judged(
    context: Context, position: int, item: OpenRecovery, known: _Known, taken: Mapping[int, int]
) -> _New | Refusal:
    kind = scheme_type(context, item.scheme)
    if isinstance(kind, Refusal):
        return kind
    problem = code_problem("code", item.code)
    if problem is not None:
        return invalid(problem)
    terms = _terms(item, context.settings.currency_of(item.scheme))
    if isinstance(terms, Refusal):
        return terms
    amount, instalment, share = terms
    named = [name for name in ("group", "person", "number", "order") if getattr(item, name) is not None]
    if len(named) != 1:
        return invalid(Problem("group", "required", "name one of group, person, number, order"))
    if item.order is not None:
        order = known.orders.get(item.order)
        if order is None or order.scheme != item.scheme or order.source_kind != SOURCE:
            return not_found("order", "order", item.order)
        if order.entitlement not in known.beneficiaries:
            return not_found("order", "order", item.order)
        return _of_order(position, item, order, known, taken, terms)
    if amount is None:
        return invalid(Problem("amount", "required", "say how much is owed back"))
    if item.group is not None:
        group = known.groups.get(item.group)
        if group is None:
            return not_found("group", "group", item.group)
        return _New(position, item, group.id, None, group.place, None, EXPENSE, amount, instalment, share)
    person = known.persons.get(item.person or item.number or "")
    if person is None:
        return not_found(named[0], "person", item.person or item.number or "")
    return _New(position, item, None, person.id, person.place, None, EXPENSE, amount, instalment, share)


def _of_order(
    position: int,
    item: OpenRecovery,
    order: Any,
    known: _Known,
    taken: Mapping[int, int],
    terms: tuple[int | None, int | None, int | None],
) -> _New | Refusal:
    """A payment is taken back once: its recoveries, without what was given up, are at most what it was together."""
    if order.state not in _RECOVERABLE:
        message = f"the order is {order.state}; only what was paid (and maybe reversed) is taken back"
        return Refusal("payroll.wrong_state", message)
    left = order.amount_minor - taken.get(order.id, 0)
    amount = left if terms[0] is None else terms[0]
    if amount > left or left <= 0:
        message = f"{left} minor units of the payment are not being taken back yet; ask for no more"
        return invalid(Problem("amount", "range", message))
    beneficiary = known.beneficiaries[order.entitlement]
    # What was reversed is no expense any more: the debt stands in the payable account, and moves from there.
    against = PAYABLE if order.state == "reversed" else EXPENSE
    return _New(
        position, item, beneficiary.group, beneficiary.person, beneficiary.place, order.id, against, amount, *terms[1:]
    )


def _terms(item: OpenRecovery, currency: str) -> tuple[int | None, int | None, int | None] | Refusal:
    """Amount and instalment in minor units, share in hundredths of a percent; or what is wrong with them."""
    problems = []
    found: list[int | None] = []
    for name in ("amount", "instalment"):
        value = getattr(item, name)
        try:
            minor = None if value is None else to_minor(value, currency)
        except NotExact as error:
            problems.append(Problem(name, "range", str(error)))
            continue
        if minor == 0:
            problems.append(Problem(name, "range", "expected an amount above 0"))
        found.append(minor)
    share = None if item.share is None else item.share * (SHARE_WHOLE // 100)
    if share is not None and not (share == int(share) and 0 < share <= SHARE_WHOLE):
        problems.append(Problem("share", "range", "expected a percentage above 0, up to 100, of two decimals at most"))
    if item.instalment is None and share is None:
        problems.append(Problem("instalment", "required", "say what is taken at most: an instalment, a share, or both"))
    if not item.reason.strip():
        problems.append(Problem("reason", "required", "say why it is taken back"))
    if problems:
        return invalid(*problems)
    return found[0], found[1], None if share is None else int(share)


def _written(context: Context, new: Sequence[_New]) -> dict[int, int]:
    """Write recoveries whose codes are free; their numbers by the items' positions."""
    numbers = take_ids(context.connection, recoveries, len(new))
    rows = insert_returning(
        context.connection,
        recoveries,
        {
            "id": numbers,
            "scheme": [one.item.scheme for one in new],
            "code": [one.item.code for one in new],
            "group": [one.group for one in new],
            "person": [one.person for one in new],
            "place": [one.place for one in new],
            "order": [one.order for one in new],
            "amount_minor": [one.amount for one in new],
            "currency": [context.settings.currency_of(one.item.scheme) for one in new],
            "instalment_minor": [one.instalment for one in new],
            "share_hundredths": [one.share for one in new],
            "reason": [one.item.reason for one in new],
            "state": ["open"] * len(new),
            "opened_on": [context.today] * len(new),
        },
        conflict="(code) DO NOTHING",
        returning="id",
    )
    fresh = {row.id for row in rows}
    return {one.position: number for one, number in zip(new, numbers, strict=True) if number in fresh}


def _post_opened(context: Context, new: Sequence[_New]) -> None:
    """What is owed back is an asset. An overpayment was too high an expense; a reversed one is no expense any more."""
    sums: Counter[tuple[str, str]] = Counter()
    for one in new:
        sums[one.item.scheme, one.against] += one.amount
    for (scheme, account), amount in sorted(sums.items()):
        post(context, scheme, context.command, {RECOVERIES: amount, account: -amount})


COMMANDS: Final = (open_recovery,)
