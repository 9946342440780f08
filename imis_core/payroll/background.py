"""Generating a payroll in the background, for payrolls that take longer than a request may wait.

The payroll is there from the first moment, `generating`. It is filled in one statement and one transaction, so its run
is one chunk: generated whole or not at all, once. What goes wrong leaves it `failed`, with the error and nothing else;
it is tried again by itself a few times, and by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import ImisError, Refusal
from imis_core.jobs_doors import begin
from imis_core.jobs_kinds import Chunk, ChunkedJob
from imis_core.payroll.approving import NamePayroll
from imis_core.payroll.generating import GeneratePayroll, fill, new_payroll, prepare
from imis_core.payroll.showing import find_payroll, locked_payrolls, set_state
from imis_core.payroll.states import PAYROLL_STATES
from imis_core.payroll.tables import cycles, payrolls
from imis_core.places.tables import locations

JOB: Final = "payroll.generate"


@frozen(kw_only=True)
class FillPayroll:
    """The run's input: the payroll to be filled, and what it was asked for as."""

    scheme: str
    package: str
    cycle: str
    location: str | None = None
    payroll: str


@frozen(kw_only=True)
class PayrollBegun:
    """`job`: the run, for `jobs.show`."""

    id: str
    status: str
    job: str


@command("payroll.generate_in_background", input=GeneratePayroll, result=PayrollBegun, permission=JOB)
def generate_in_background(context: Context, items: tuple[GeneratePayroll, ...]) -> list[PayrollBegun | Refusal]:
    """Make a payroll of a cycle in the background: it is `generating`, then awaits approval, or is `failed`."""
    return [_begin(context, item) for item in items]


def _begin(context: Context, item: GeneratePayroll) -> PayrollBegun | Refusal:
    if JOB in context.settings.approvals:
        refusal = begin(context, JOB, item, JOB)
        assert isinstance(refusal, Refusal)
        return refusal
    prepared = prepare(context, item)
    if isinstance(prepared, Refusal):
        return prepared
    number = new_payroll(context, prepared, "generating")
    return _deferred(context, item, context.ids.encode("payrolls", number))


def _deferred(context: Context, item: GeneratePayroll, payroll: str) -> PayrollBegun | Refusal:
    asked = FillPayroll(
        scheme=item.scheme, package=item.package, cycle=item.cycle, location=item.location, payroll=payroll
    )
    begun = begin(context, JOB, asked, JOB)
    return begun if isinstance(begun, Refusal) else PayrollBegun(id=payroll, status="generating", job=begun.job)


@command("payroll.generate_again", input=NamePayroll, result=PayrollBegun, permission=JOB)
def generate_again(context: Context, items: tuple[NamePayroll, ...]) -> list[PayrollBegun | Refusal]:
    """Try a payroll once more whose generation failed, as it was asked for."""
    outcomes: list[PayrollBegun | Refusal] = []
    for item in items:
        payroll = find_payroll(context, item.payroll, lock=True)
        if isinstance(payroll, Refusal):
            outcomes.append(payroll)
        elif not PAYROLL_STATES.allows(payroll.state, "generating"):
            outcomes.append(PAYROLL_STATES.refusal("the payroll", payroll.state, "generating"))
        else:
            set_state(context, (payroll.id,), "generating")
            outcomes.append(_deferred(context, _as_asked(context, payroll), item.payroll))
    return outcomes


def _as_asked(context: Context, payroll: Any) -> GeneratePayroll:
    """What a payroll is for, by ids and codes, as it is asked for."""
    row = context.execute(
        sa.select(cycles.c.code, locations.c.code.label("location"))
        .select_from(cycles)
        .outerjoin(locations, locations.c.id == payroll.place)
        .where(cycles.c.id == payroll.cycle)
    ).one()
    package = context.ids.encode("benefit_packages", payroll.package)
    return GeneratePayroll(scheme=payroll.scheme, package=package, cycle=row.code, location=row.location)


def cut(context: Context, asked: FillPayroll) -> Sequence[Chunk]:
    """The whole payroll."""
    return [Chunk(1, None)]


def work(context: Context, asked: FillPayroll, _: Any) -> object:
    """Fill the payroll, as whoever began the run. What the command would refuse is the run's error."""
    payroll = find_payroll(context, asked.payroll, lock=True)
    if isinstance(payroll, Refusal):
        raise ImisError(payroll)
    if payroll.state == "failed":  # an attempt before this one
        set_state(context, (payroll.id,), "generating")
    elif payroll.state != "generating":
        raise ImisError(PAYROLL_STATES.refusal("the payroll", payroll.state, "generating"))
    item = GeneratePayroll(scheme=asked.scheme, package=asked.package, cycle=asked.cycle, location=asked.location)
    prepared = prepare(context, item)
    if isinstance(prepared, Refusal):
        raise ImisError(prepared)
    shown = fill(context, prepared, payroll.id)
    context.execute(
        sa.update(payrolls)
        .where(payrolls.c.id == payroll.id)
        .values(state="awaiting_approval", reason=None, package_version=prepared.run.version, generated_at=context.now)
    )
    return shown


def failed(context: Context, asked: FillPayroll, error: str) -> bool:
    """Keep why a payroll could not be generated; what its attempt had written is gone with it."""
    number = context.ids.decode("payrolls", asked.payroll)
    found = locked_payrolls(context, () if number is None else (number,))
    if number is None or number not in found or not PAYROLL_STATES.allows(found[number].state, "failed"):
        return False
    set_state(context, (number,), "failed", error)
    return True


JOBS: Final = (ChunkedJob(JOB, FillPayroll, cut, work, "Generate a payroll", failed=failed),)
COMMANDS: Final = (generate_in_background, generate_again)
