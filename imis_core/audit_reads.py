"""The log of reads for whoever supervises: who read a person, whom a user read; look-ups outside a scope too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.context import Context
from imis_core.database.tables import CORE
from imis_core.errors import Refusal, not_found
from imis_core.queries import Listing, query
from imis_core.runtime_tables import reads
from imis_core.security.tables import lookups, users

_PERSONS: Final = sa.table(
    "persons", sa.column("id", sa.BigInteger), sa.column("number", sa.Text), sa.column("place", sa.BigInteger),
    schema=CORE,
)  # fmt: skip


@frozen(kw_only=True)
class ListReads:
    """`person`: a number or id; `user`: a name; `from` and `to`: days in the deployment's time zone, both counted."""

    person: str | None = None
    user: str | None = None
    from_: date | None = None
    to: date | None = None


@frozen(kw_only=True)
class PersonRead:
    """`looked_up`: a contracted provider found the person by exact number, outside its scope."""

    at: datetime
    user: str
    query: str
    person: str
    looked_up: bool


def _reads(context: Context, person: int | None) -> sa.Subquery:
    """Each reading of each person that the caller may see, from both logs; of one person alone if named."""
    one = sa.func.unnest(reads.c.persons).table_valued(sa.column("person", sa.BigInteger), name="one").render_derived()
    of_answers = sa.select(reads.c.id, reads.c.at, reads.c.user, reads.c.query, one.c.person,
                           sa.false().label("looked_up")).select_from(reads.join(one, sa.true()))  # fmt: skip
    found = sa.select(lookups.c.id, lookups.c.at, lookups.c.user, lookups.c.command.label("query"), lookups.c.person,
                      sa.true().label("looked_up"))  # fmt: skip
    if person is not None:
        named = sa.literal([person], ARRAY(sa.BigInteger))
        of_answers = of_answers.where(reads.c.persons.bool_op("@>")(named), one.c.person == person)
        found = found.where(lookups.c.person == person)
    both = sa.union_all(of_answers, found).subquery("both")
    p = _PERSONS.c
    return (
        sa.select(both, p.number, sa.func.coalesce(users.c.name, "").label("name"))
        .join(_PERSONS, p.id == both.c.person)
        .outerjoin(users, users.c.id == both.c.user)
        .where(context.caller.sees_person(p.id, p.place))
        .subquery("read")
    )


def _read(row: Any) -> PersonRead:
    return PersonRead(at=row.at, user=row.name, query=row.query, person=row.number, looked_up=row.looked_up)


def reads_of(context: Context, person: int) -> tuple[PersonRead, ...]:
    """Who read a person, in order of time."""
    read = _reads(context, person)
    return tuple(
        _read(row) for row in context.execute(sa.select(read).order_by(read.c.at, read.c.looked_up, read.c.id))
    )


@query("audit.reads", input=ListReads, result=PersonRead, listing=True)
def list_reads(context: Context, asked: ListReads) -> Listing | Refusal:
    """Who read which person, when and by which query: of one person, or by one user."""
    person = None
    if asked.person is not None:
        number = context.ids.decode("persons", asked.person)
        p = _PERSONS.c
        named = p.number == asked.person if number is None else p.id == number
        person = context.execute(sa.select(p.id).where(named, context.caller.sees_person(p.id, p.place))).scalar()
        if person is None:
            return not_found("person", "person", asked.person)
    read = _reads(context, person)
    select = sa.select(read)
    if asked.user is not None:
        select = select.where(read.c.name == asked.user)
    zone = ZoneInfo(context.settings.deployment.timezone)
    if asked.from_ is not None:
        select = select.where(read.c.at >= datetime.combine(asked.from_, time(), zone))
    if asked.to is not None:
        select = select.where(read.c.at <= datetime.combine(asked.to, time.max, zone))

    def build(rows: Sequence[Any]) -> list[PersonRead]:
        return [_read(row) for row in rows]

    return Listing(select, (read.c.at, read.c.looked_up, read.c.id, read.c.person), build)


QUERIES = (list_reads,)
