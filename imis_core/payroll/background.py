"""Generating a payroll in the background, for payrolls that take longer than a request may wait.

A payroll is one statement and one transaction, so its run is one chunk: generated whole or not at all, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import ImisError, Refusal
from imis_core.jobs_doors import BegunJob, begin
from imis_core.jobs_kinds import Chunk, ChunkedJob
from imis_core.parsing import plain
from imis_core.payroll.generating import GeneratePayroll

JOB: Final = "payroll.generate"


@command("payroll.generate_in_background", input=GeneratePayroll, result=BegunJob, permission=JOB)
def generate_in_background(context: Context, items: tuple[GeneratePayroll, ...]) -> list[BegunJob | Refusal]:
    """Make a payroll of a cycle in the background; `jobs.show` has it as the run's result, or why it was refused."""
    return [begin(context, JOB, item, JOB) for item in items]


def cut(context: Context, asked: GeneratePayroll) -> Sequence[Chunk]:
    """The whole payroll."""
    return [Chunk(1, None)]


def work(context: Context, asked: GeneratePayroll, _: Any) -> object:
    """Generate it as the command does, as whoever began the run. What it refuses is the run's error."""
    outcome = context.perform(JOB, [plain(asked)])[0]
    if isinstance(outcome, Refusal):
        raise ImisError(outcome)
    return outcome


JOBS: Final = (ChunkedJob(JOB, GeneratePayroll, cut, work, "Generate a payroll"),)
COMMANDS: Final = (generate_in_background,)
