"""Logs of the processes: a line an event on standard error, as text or JSON, with the identifiers of its work.

Whatever is logged while a request, a command, a job or a delivery runs carries its identifiers, by whomever it is
logged. No line holds an input or a person, nor a secret (`redaction`).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import IO, Any, Final

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars, merge_contextvars

from imis_core.errors import ImisError
from imis_core.redaction import redact

# Libraries that tell of every step; what matters of theirs is a warning.
_TALKATIVE: Final = (
    "procrastinate",
    "uvicorn",
    "uvicorn.error",
    "uvicorn.access",
    "alembic",
    "asyncio",
    "fontTools",
    "httpx",
    "httpcore",
)
_OWN: Final = "imis_core.work"


def configure(level: str, form: str, stream: IO[str] | None = None) -> None:
    """Send everything that is logged to standard error: `level` as in `[logs]`, `form` is text or json."""
    renderer: Any = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, sort_keys=False)
    if form == "json":
        renderer = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    before: list[Any] = [
        merge_contextvars,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if form == "json":
        after.append(structlog.processors.format_exc_info)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=[*after, _without_secrets, renderer])
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if getattr(old, "imis", False):
            root.removeHandler(old)
    handler.imis = True  # type: ignore[attr-defined]  # so that a second call takes the place of the first
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _without_secrets(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in line.items():
        if isinstance(value, str):
            line[key] = redact(value)
    return line


@contextmanager
def work(**identifiers: object) -> Iterator[None]:
    """Every line of the block carries these identifiers, and those that `bind` adds in it."""
    before = get_contextvars()
    bind_contextvars(**identifiers)
    try:
        yield
    finally:
        clear_contextvars()
        bind_contextvars(**before)


def bind(**identifiers: object) -> None:
    """The same for the rest of the running block or task, such as a request's."""
    bind_contextvars(**identifiers)


def tell(event: str, *, level: int = logging.INFO, **facts: object) -> None:
    """A line of the framework's own about a piece of work that ended; `facts` are numbers, names and codes."""
    logging.getLogger(_OWN).log(level, event, extra=facts)


@contextmanager
def timed(event: str) -> Iterator[None]:
    """A line when the block ends, with how long it took; of one that raises a warning with the exception's name."""
    begun = time.monotonic()
    try:
        yield
    except Exception as error:
        told = str(error.refusal.code) if isinstance(error, ImisError) else type(error).__name__
        tell(event, level=logging.WARNING, ms=_milliseconds(begun), failed=told)
        raise
    tell(event, ms=_milliseconds(begun))


def _milliseconds(begun: float) -> float:
    return round((time.monotonic() - begun) * 1000, 1)
