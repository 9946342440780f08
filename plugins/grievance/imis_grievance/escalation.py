"""The daily escalation: owners are told once when the time of a grievance runs out, and once when it has.

It changes no grievance: the clock is computed whenever somebody looks.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import insert

from imis_core.api import Context, Job, Message, notify
from imis_grievance.queries import clock_sql
from imis_grievance.rules import SETTLED
from imis_grievance.tables import escalations, grievances

NAME: Final = "grievance.escalate"
_WORDS: Final = {"at_risk": "is due on", "breached": "was due on"}


@frozen(kw_only=True)
class NoInput:
    pass


def escalate(app: Any, _: NoInput) -> None:
    """Tell each owner of what is at risk or breached today, unless he or she was told of that before."""
    with app.database.command(app.system) as (connection, audit):
        context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, NAME)
        notify(context, [_message(row) for row in context.execute(_newly_told(context)).all()])


def _newly_told(context: Context) -> sa.Select[Any]:
    """One statement: those to be told are written down, and what was not there before comes back."""
    table, state = grievances.c, clock_sql(context.today)
    running_out = sa.select(table.id, state, table.owner, sa.literal(context.today, sa.Date)).where(
        table.owner.is_not(None), table.status.not_in(SETTLED), state.in_(tuple(_WORDS))
    )
    written = (
        insert(escalations)
        .from_select(["grievance", "clock", "owner", "told_on"], running_out)
        .on_conflict_do_nothing()
        .returning(escalations.c.grievance, escalations.c.clock, escalations.c.owner)
        .cte("written")
    )
    return (
        sa.select(table.id, table.code, table.due, table.status, written.c.clock, written.c.owner)
        .join(written, written.c.grievance == table.id)
        .order_by(table.id)
    )


def _message(row: Any) -> Message:
    text = f"The grievance {row.code} is {row.status.replace('_', ' ')} and {_WORDS[row.clock]} {row.due}."
    return Message(text=text, user=row.owner, subject=row.code, about=("grievances", row.id))


JOB: Final = Job(NAME, NoInput, escalate, "Tell owners of grievances whose time runs out", daily=True)
