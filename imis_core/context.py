"""What a handler is given: the open transaction, who calls, the clock's answers, and ways to tell what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from attrs import define, evolve, field, frozen
from sqlalchemy.engine import Connection, Result

from imis_core.database.arrays import any_of
from imis_core.database.engine import set_scope
from imis_core.deployment import Settings
from imis_core.ids import Ids
from imis_core.security.caller import Caller
from imis_core.values import Money

if TYPE_CHECKING:
    from imis_core.application import Application


@frozen
class Event:
    """Something that happened: delivered after commit to the plugins that implement the hook `imis_on_<name>`.

    What happened in a scheme is told only to plugins that speak for it (`plugins` of the scheme's configuration).
    """

    name: str
    key: str
    payload: Mapping[str, Any]
    scheme: str | None = None


@frozen
class Naming:
    """Rows of a table that are asked for by name: its code or its outside id, as far as the caller may see them."""

    wanted: frozenset[str]
    _by_id: Mapping[int, str]
    _table: sa.Table
    _by: str
    _scope: sa.ColumnElement[bool]

    @classmethod
    def of(cls, context: Context, table: sa.Table, names: Iterable[str], by: str = "code") -> Naming:
        wanted, noun = frozenset(names), table.info["noun"]
        by_id = {number: name for name in wanted if (number := context.ids.decode(noun, name)) is not None}
        return cls(wanted, by_id, table, by, context.scoped(table))

    def select(self, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
        """The rows, with the table's columns or these, `id` and the code among them."""
        return sa.select(*(columns or self._table.columns)).where(
            sa.or_(
                self._table.c[self._by] == any_of(self.wanted, sa.Text),
                self._table.c.id == any_of(self._by_id),
            ),
            self._scope,
        )

    def found(self, rows: Sequence[Any]) -> list[tuple[str, Any]]:
        """(name, row) of the rows read; a code wins over an id."""
        named = [(self._by_id[row.id], row) for row in rows if row.id in self._by_id]
        return named + [(code, row) for row in rows if (code := getattr(row, self._by)) in self.wanted]


@define
class Context:
    """One command's or query's surroundings. `audit` is the number of its audit entry (0 in queries)."""

    app: Application
    connection: Connection
    caller: Caller
    now: datetime
    today: date
    audit: int = 0
    command: str = ""
    events: list[Event] = field(factory=list)
    told: set[int] = field(factory=set)  # persons of whom the answer tells beside those that its fields name
    told_names: set[str] = field(factory=set)  # the same, by number or id
    logged: set[str] = field(factory=set)  # persons, as they were named, whose look-up is logged already
    approved_change: bool = False  # a change request of the registry that a second person approved runs here

    @property
    def settings(self) -> Settings:
        return self.app.settings

    @property
    def ids(self) -> Ids:
        return self.app.ids

    def execute(self, statement: sa.Executable, parameters: Any = None) -> Result[Any]:
        """Run one statement in the transaction."""
        return self.connection.execute(statement, parameters)

    def scoped(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """The condition that limits a table to what the caller may see; every SELECT over a scoped table carries it."""
        rule = table.info.get("scope")
        return sa.true() if rule is None else rule(table, self.caller)

    def named(
        self,
        table: sa.Table,
        names: Iterable[str],
        *columns: sa.ColumnElement[Any],
        by: str = "code",
        lock: bool = False,
    ) -> list[tuple[str, Any]]:
        """(name, row) of each row that is named by its code (the column `by`) or its outside id; one statement.

        Rows have the table's columns, or `columns`, with `id` and the code among them. What the caller may not see is
        left out like what is not there. A code wins over an id. `lock`: against other changes, in order of their keys.
        """
        naming = Naming.of(self, table, names, by)
        if not naming.wanted:
            return []
        select = naming.select(*columns)
        if lock:
            select = select.order_by(table.c.id).with_for_update(key_share=True)
        return naming.found(self.execute(select).all())

    def emit(self, name: str, key: str, payload: Mapping[str, Any], *, scheme: str | None = None) -> None:
        """Tell subscribers after commit; of what happened in a scheme only those that speak for it."""
        self.events.append(Event(name, key, payload, scheme))

    def perform(self, name: str, items: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run another command in this transaction; its plain results and refusals, in order.

        What a plugin wants done to a noun of the kernel goes through the kernel's own command, with its rules and its
        own audit entry. The actor stays; the caller of this answers for the permission (`commands.perform_within`).
        """
        from imis_core.commands import perform_within

        return perform_within(self, name, items)

    def defer(self, job: str, data: Any, *, lock: str | None = None) -> int:
        """Enqueue a job or begin a run, with this caller as its maker: it exists exactly if this transaction commits.

        Returns its number (its id outside is that of the noun `jobs`). Jobs with one `lock` never run side by side.
        """
        return self.app.queue.defer(self, job, data, lock=lock)

    def money(self, minor: int, scheme: str) -> Money:
        """Minor units in the scheme's currency."""
        return Money(minor, self.settings.currency_of(scheme))

    def tells_of(self, persons: Iterable[int] = (), names: Iterable[str] = ()) -> None:
        """Note persons, by key or name, of whom a query's answer tells otherwise than by a field that names them."""
        self.told.update(persons)
        self.told_names.update(names)

    @contextmanager
    def seeing_all(self) -> Iterator[None]:
        """Statements within see every row, for what a rule counts whoever asks: sums, never rows, may leave it."""
        if self.caller.everywhere:
            yield
            return
        own = self.caller
        self.caller = evolve(own, everywhere=True)
        set_scope(self.connection, self.caller)
        try:
            yield
        finally:
            self.caller = own
        set_scope(self.connection, own)  # not after a failure: it ends the transaction, and the scope with it

    def look_up(self, persons: Iterable[int]) -> None:
        """Widen this transaction's scope by persons found by exact number; the caller of this logs the look-up."""
        self.caller = evolve(self.caller, looked_up=tuple(sorted({*self.caller.looked_up, *persons})))
        set_scope(self.connection, self.caller)
