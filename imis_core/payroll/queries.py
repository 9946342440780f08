"""What can be asked of payrolls: one, those of a scheme, and their entitlements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import groups, persons
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.benefit_packages.tables import packages
from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.payroll import budgets, cycle_reports, missed, recovery_queries, reporting
from imis_core.payroll.approving import NamePayroll
from imis_core.payroll.showing import PayrollShown, find_payroll, show, show_all
from imis_core.payroll.tables import (
    cycles,
    entitlement_amounts,
    entitlement_current,
    entitlements,
    payrolls,
)
from imis_core.places.tables import locations
from imis_core.queries import Listing, query
from imis_core.values import Money


@query("payroll.show", input=NamePayroll, result=PayrollShown)
def show_payroll(context: Context, asked: NamePayroll) -> PayrollShown | Refusal:
    """A payroll: its status, how many it pays and how much, and how many entitlements stand in each state."""
    payroll = find_payroll(context, asked.payroll)
    return payroll if isinstance(payroll, Refusal) else show(context, payroll.id, payroll.scheme, payroll.state)


@frozen(kw_only=True)
class Step:
    name: str
    amount: Money


@frozen(kw_only=True)
class Entitlement:
    """`beneficiary`: a household's code or a person's number; `steps` lead to the amount, zero ones left out."""

    id: str
    beneficiary: str
    amount: Money
    state: str
    steps: tuple[Step, ...]
    source: str


@query("payroll.entitlements", input=NamePayroll, result=Entitlement, listing=True)
def list_entitlements(context: Context, asked: NamePayroll) -> Listing | Refusal:
    """The entitlements of a payroll with the steps to their amounts, by beneficiary."""
    payroll = find_payroll(context, asked.payroll)
    if isinstance(payroll, Refusal):
        return payroll
    beneficiary = sa.func.coalesce(groups.c.code, persons.c.number, type_=sa.Text)
    # What moved into a later payroll stands here as it was left.
    state = sa.case(
        (entitlement_current.c.payroll == entitlement_amounts.c.payroll, entitlement_current.c.state), else_="cancelled"
    )
    select = (
        sa.select(
            entitlements.c.id, beneficiary.label("beneficiary"), entitlement_amounts.c.amount_minor,
            entitlement_amounts.c.steps, entitlements.c.source_kind, state.label("state"),
        )
        .select_from(entitlement_amounts)
        .join(entitlements, entitlements.c.id == entitlement_amounts.c.entitlement)
        .join(entitlement_current, entitlement_current.c.entitlement == entitlements.c.id)
        .outerjoin(groups, groups.c.id == entitlements.c.group)
        .outerjoin(persons, persons.c.id == entitlements.c.person)
        .where(entitlement_amounts.c.payroll == payroll.id, context.scoped(entitlements))
    )  # fmt: skip

    def build(rows: Sequence[Any]) -> list[Entitlement]:
        ids = context.ids.encode_all("entitlements", [row.id for row in rows])
        return [
            Entitlement(
                id=identity,
                beneficiary=row.beneficiary,
                amount=Money(row.amount_minor, payroll.currency),
                state=row.state,
                steps=tuple(Step(name=name, amount=Money(minor, payroll.currency)) for name, minor in row.steps),
                source=row.source_kind,
            )
            for identity, row in zip(ids, rows, strict=True)
        ]

    return Listing(select, (beneficiary, entitlements.c.id), build)


@frozen(kw_only=True)
class ListPayrolls:
    scheme: str
    package: str | None = None
    cycle: str | None = None


@frozen(kw_only=True)
class PayrollListed:
    """A payroll in a list; `location` is the place that it is limited to."""

    id: str
    package: str
    cycle: str
    location: str | None
    status: str
    beneficiaries: int
    amount: Money
    by_state: dict[str, int]
    reason: str | None


@query("payroll.list", input=ListPayrolls, result=PayrollListed, listing=True)
def list_payrolls(context: Context, asked: ListPayrolls) -> Listing | Refusal:
    """The payrolls of a scheme, of a package or a cycle if one is named, in the order of their generation."""
    kind = scheme_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    select = (
        sa.select(
            payrolls.c.id, payrolls.c.scheme, payrolls.c.state, payrolls.c.reason, packages.c.code.label("package"),
            cycles.c.code.label("cycle"), locations.c.code.label("location"),
        )
        .join(packages, packages.c.id == payrolls.c.package)
        .join(cycles, cycles.c.id == payrolls.c.cycle)
        .outerjoin(locations, locations.c.id == payrolls.c.place)
        .where(payrolls.c.scheme == asked.scheme, payrolls.c.state != "deleted", context.scoped(payrolls))
    )  # fmt: skip
    if asked.package is not None:
        number = context.ids.decode("benefit_packages", asked.package)
        select = select.where(sa.or_(packages.c.code == asked.package, packages.c.id == number))
    if asked.cycle is not None:
        number = context.ids.decode("cycles", asked.cycle)
        select = select.where(sa.or_(cycles.c.code == asked.cycle, cycles.c.id == number))

    def build(rows: Sequence[Any]) -> list[PayrollListed]:
        shown = show_all(context, {row.id: (row.scheme, row.state) for row in rows})
        return [
            PayrollListed(
                id=shown[row.id].id, package=row.package, cycle=row.cycle, location=row.location, status=row.state,
                beneficiaries=shown[row.id].beneficiaries, amount=shown[row.id].amount,
                by_state=shown[row.id].by_state, reason=row.reason,
            )
            for row in rows
        ]  # fmt: skip

    return Listing(select, (payrolls.c.id,), build)


QUERIES = (
    show_payroll,
    list_entitlements,
    list_payrolls,
    *budgets.QUERIES,
    *reporting.QUERIES,
    *cycle_reports.QUERIES,
    *missed.QUERIES,
    *recovery_queries.QUERIES,
)
