"""What can be asked of refunds: which there are, and which policies have a credit that could be refunded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import groups, persons
from imis_core.benefit_packages.tables import packages
from imis_core.context import Context
from imis_core.coverage.enrolment import coverage_type
from imis_core.coverage.lookup import NOUN
from imis_core.coverage.paid import MOVEMENTS
from imis_core.coverage.refunding import BATCHES
from imis_core.coverage.refunding import NOUN as REFUND
from imis_core.coverage.states import TAKES_CREDIT, state_on
from imis_core.coverage.tables import contribution_refunds, coverages
from imis_core.errors import Refusal
from imis_core.queries import Listing, query
from imis_core.values import Money


@frozen(kw_only=True)
class ListRefunds:
    """`refunds`: those that were approved together."""

    scheme: str | None = None
    coverage: str | None = None
    refunds: str | None = None
    status: Literal["prepared", "approved", "paid", "failed", "rejected", "cancelled", "reversed"] | None = None


@frozen(kw_only=True)
class RefundShown:
    """`beneficiary`: the household's code or the person's number; `rejection`: why it was refused.

    `reversed`: what was paid for refunds of this policy and then reversed, so that it is a credit once more.
    """

    id: str
    coverage: str
    beneficiary: str
    amount: Money
    reason: str
    status: str
    rejection: str | None
    reversed: Money
    prepared_on: date
    refunds: str | None


def _reversed() -> sa.ScalarSelect[int]:
    """What was paid for refunds of a policy and then reversed, in minor units: the next approver sees it."""
    r = contribution_refunds.alias("reversed_refunds")
    total = sa.cast(sa.func.coalesce(sa.func.sum(r.c.amount_minor), 0), sa.BigInteger)
    return (
        sa.select(total).where(r.c.coverage == coverages.c.id, r.c.state == "reversed")
        .correlate(coverages).scalar_subquery()
    )  # fmt: skip


@query("contributions.refunds", input=ListRefunds, result=RefundShown, listing=True)
def list_refunds(context: Context, asked: ListRefunds) -> Listing | Refusal:
    """Refunds of contributions, as they were prepared."""
    r = contribution_refunds.c
    beneficiary = sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text)
    select = (
        sa.select(contribution_refunds, beneficiary.label("beneficiary"), _reversed().label("reversed_minor"))
        .join(coverages, coverages.c.id == r.coverage)
        .outerjoin(groups, groups.c.id == coverages.c.group)
        .outerjoin(persons, persons.c.id == coverages.c.person)
        .where(context.scoped(contribution_refunds))
    )
    if asked.scheme is not None:
        kind = coverage_type(context, asked.scheme)
        if isinstance(kind, Refusal):
            return kind
        select = select.where(r.scheme == asked.scheme)
    for noun, column, name in ((NOUN, r.coverage, asked.coverage), (BATCHES, r.batch, asked.refunds)):
        if name is not None:
            number = context.ids.decode(noun, name)
            select = select.where(sa.false() if number is None else column == number)
    if asked.status is not None:
        select = select.where(r.state == asked.status)

    def build(rows: Sequence[Any]) -> list[RefundShown]:
        together = sorted({row.batch for row in rows if row.batch is not None})
        batches = dict(zip(together, context.ids.encode_all(BATCHES, together), strict=True))
        return [
            RefundShown(
                id=identity, coverage=coverage, beneficiary=row.beneficiary,
                amount=Money(row.amount_minor, row.currency), reason=row.reason, status=row.state,
                rejection=row.rejection, reversed=Money(row.reversed_minor, row.currency), prepared_on=row.prepared_on,
                refunds=batches.get(row.batch),
            )
            for row, identity, coverage in zip(
                rows, context.ids.encode_all(REFUND, [row.id for row in rows]),
                context.ids.encode_all(NOUN, [row.coverage for row in rows]), strict=True,
            )
        ]  # fmt: skip

    return Listing(select, (r.id,), build)


@frozen(kw_only=True)
class ListCredits:
    scheme: str


@frozen(kw_only=True)
class Credit:
    """A policy for which more was paid than is due, also a terminated one; `credit` is what nobody uses yet.

    `reversed`: what was paid out of it and then reversed; whoever was paid owes it, and it is a credit once more.
    """

    coverage: str
    beneficiary: str
    package: str
    status: str
    ends: date
    credit: Money
    reversed: Money


_PAID: Final = sa.text(
    f"""
    SELECT p.coverage, CAST(sum(p.minor) AS bigint) AS minor
    FROM ({MOVEMENTS.format(chosen="IN (SELECT v.id FROM core.coverages v WHERE v.scheme = :scheme)")}) p
    GROUP BY p.coverage
    """
)


@query("contributions.credits", input=ListCredits, result=Credit, listing=True)
def list_credits(context: Context, asked: ListCredits) -> Listing | Refusal:
    """Policies of a scheme with a credit that could be refunded, in order of enrolment."""
    kind = coverage_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    paid = (
        _PAID.bindparams(scheme=asked.scheme, taking=list(TAKES_CREDIT))
        .columns(sa.column("coverage", sa.BigInteger), sa.column("minor", sa.BigInteger))
        .subquery("paid")
    )
    c = coverages.c
    credit = paid.c.minor - c.due_minor
    select = (
        sa.select(
            c.id, c.state, c.ends, c.currency, packages.c.code.label("package"), credit.label("credit_minor"),
            _reversed().label("reversed_minor"),
            sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text).label("beneficiary"),
        )
        .join(paid, paid.c.coverage == c.id)
        .join(packages, packages.c.id == c.package)
        .outerjoin(groups, groups.c.id == c.group)
        .outerjoin(persons, persons.c.id == c.person)
        .where(c.scheme == asked.scheme, credit > 0, context.scoped(coverages))
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[Credit]:
        return [
            Credit(
                coverage=identity, beneficiary=row.beneficiary, package=row.package, ends=row.ends,
                status=state_on(row.state, row.ends, context.today), credit=Money(row.credit_minor, row.currency),
                reversed=Money(row.reversed_minor, row.currency),
            )
            for identity, row in zip(context.ids.encode_all(NOUN, [row.id for row in rows]), rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (c.id,), build)


QUERIES: Final = (list_refunds, list_credits)
