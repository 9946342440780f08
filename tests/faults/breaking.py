"""A plugin that breaks in every way on purpose: it raises, hangs, answers garbage, meets others in deadlocks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, Literal

import sqlalchemy as sa
from attrs import frozen

from imis_core.api import Command, Context, Manifest, command, hookimpl


@frozen(kw_only=True)
class Swap:
    """Adds one to both counters, in this order, and rests in between."""

    first: str
    second: str


@frozen(kw_only=True)
class Swapped:
    first: int
    second: int


# Counters are locations whose names are numbers: rows of the kernel that nothing else here changes.
_ADD: Final = sa.text("UPDATE core.locations SET name = (name::int + 1)::text WHERE code = :code RETURNING name::int")


@command("breaking.swap", input=Swap, result=Swapped)
def swap(context: Context, items: tuple[Swap, ...]) -> list[Any]:
    """Count twice, in an order that others do not keep: a deadlock sooner or later."""
    outcomes = []
    for item in items:
        first = context.execute(_ADD, {"code": item.first}).scalar_one()
        context.execute(sa.text("SELECT pg_sleep(0.01)"))
        second = context.execute(_ADD, {"code": item.second}).scalar_one()
        outcomes.append(Swapped(first=first, second=second))
    return outcomes


@frozen(kw_only=True)
class Lose:
    counter: str
    share: int


@frozen(kw_only=True)
class Counted:
    count: int


@command("breaking.lose", input=Lose, result=Counted)
def lose(context: Context, items: tuple[Lose, ...]) -> list[Any]:
    """Count, and lose the transaction at the end for a `share` of a hundred, as under strict isolation."""
    outcomes = []
    for item in items:
        outcomes.append(Counted(count=context.execute(_ADD, {"code": item.counter}).scalar_one()))
        context.execute(
            sa.text(
                "DO $$ BEGIN IF random() * 100 < current_setting('breaking.share')::int THEN "
                "RAISE 'could not serialize access' USING ERRCODE = '40001'; END IF; END $$"
            )
            if _set(context, item.share)
            else sa.text("SELECT 1")
        )
    return outcomes


def _set(context: Context, share: int) -> bool:
    context.execute(sa.text("SELECT set_config('breaking.share', :share, true)"), {"share": str(share)})
    return True


@frozen(kw_only=True)
class Hang:
    """Holds a counter and waits for `seconds`, in the database or out of it."""

    where: Literal["database", "python"]
    counter: str
    seconds: float


@command("breaking.hang", input=Hang, result=Counted)
def hang(context: Context, items: tuple[Hang, ...]) -> list[Any]:
    """Wait for something that does not come."""
    (item,) = items
    count = context.execute(_ADD, {"code": item.counter}).scalar_one()
    if item.where == "database":
        context.execute(sa.text("SELECT pg_sleep(:seconds)"), {"seconds": item.seconds})
    else:
        time.sleep(item.seconds)
        context.execute(sa.text("SELECT 1"))
    return [Counted(count=count)]


@frozen(kw_only=True)
class Answer:
    what: Literal["raise", "too_few", "garbage", "nothing"]


@command("breaking.answer", input=Answer, result=Counted)
def answer(context: Context, items: tuple[Answer, ...]) -> Any:
    """Answer what no command may."""
    what = items[0].what
    if what == "raise":
        raise ZeroDivisionError("the plugin divided by zero")
    return {"too_few": [], "garbage": ["garbage", 12], "nothing": None}[what]


@hookimpl
def imis_plugin() -> Manifest:
    return Manifest(name="breaking", version="1", kernel=">=0", nouns={"breaking": 1990})


@hookimpl
def imis_register_commands() -> Sequence[Command]:
    return (swap, lose, hang, answer)


@hookimpl
def imis_on_claims_valuated(context: Any, event: Any) -> None:
    raise RuntimeError("the listener does not listen")


@hookimpl
def imis_payroll_lines_sql(run: Any) -> Any:
    return "garbage"
