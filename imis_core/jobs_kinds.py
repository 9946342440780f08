"""Kinds of background work as rooms and plugins register them: single jobs, and runs that are cut into chunks.

Describes only; the queue (`jobs`) keeps and runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from imis_core.jobs_schedules import DAILY, Schedule

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.context import Context

CHUNK_MIN: Final = 500  # items; fewer, and the queue costs more than the work (only a run's last chunk is smaller)
CHUNK_MAX: Final = 5_000  # items; more, and what a killed worker loses is felt


@frozen(kw_only=True)
class NoInput:
    """The input of a job that needs none."""


def _always(_: Application) -> bool:
    return True


@frozen
class Job:
    """A kind of background work. `handler(app, input)` opens its own transactions, runs at least once, is idempotent.

    `schedule` says when it comes by itself, by the application's clock; `daily` is short for each day; `wanted` whether
    it does so in this deployment. Of jobs that wait, one of higher `priority` is taken first.
    """

    name: str
    input: type
    handler: Callable[[Application, Any], object]
    summary: str
    daily: bool = False
    schedule: Schedule | None = field(default=None, kw_only=True)
    priority: int = field(default=0, kw_only=True)
    wanted: Callable[[Application], bool] = field(default=_always, kw_only=True)

    @property
    def when(self) -> Schedule | None:
        return self.schedule or (DAILY if self.daily else None)


@frozen
class Chunk:
    """One part of a run: how many `items` it works on, and which (`data`, whatever JSON can hold).

    Chunks with one `lock` are worked on one after the other, in their order.
    """

    items: int
    data: Any
    lock: str | None = None


@frozen
class ChunkedJob:
    """A kind of work on very many items, cut into chunks of 500 to 5,000 that several workers share.

    `cut(context, input)` reads and answers the chunks, in one transaction. `work(context, input, data)` does one chunk
    in a transaction of its own and answers its result (whole numbers are added up over the run); what it wrote and the
    mark that the chunk is done commit together, so that a chunk is done once, whatever dies. Both run as the user who
    began the run, on the business date of that day. Chunks without a common `lock` run side by side.
    `failed(context, input, error)` is told, in a transaction of its own after what was begun is undone, why an attempt
    failed; it may be tried again. It says whether it wrote anything.
    """

    name: str
    input: type
    cut: Callable[[Context, Any], Sequence[Chunk]]
    work: Callable[[Context, Any, Any], object]
    summary: str
    priority: int = field(default=-10, kw_only=True)  # what people wait for goes before what runs for an hour
    failed: Callable[[Context, Any, str], bool] | None = field(default=None, kw_only=True)
