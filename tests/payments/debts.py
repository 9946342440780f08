"""A small source of debts as payrolls are: orders of persons, with entitlements and beneficiaries, that keeps a log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.errors import Refusal
from imis_core.payments.orders import move_orders_of, place_orders_from
from imis_core.payments.sources import Batch, Settled, SourceKind
from imis_core.testing.app import TestApp

BATCH = 7


class Debts:
    """Each person is owed 1200.00 in the batch "B7"; the entitlement is the person. It stands in for payrolls."""

    def __init__(self, app: TestApp, numbers: Sequence[str]) -> None:
        self.app = app
        self.settled: list[Settled] = []
        self.submitted: list[int] = []
        self.batch = BATCH
        self.closed = False
        self.statements = 0  # of the last transaction
        app.sources["payroll"] = SourceKind(
            "payroll", self._find, lambda _, moves: self.settled.extend(moves),
            submitted=lambda _, source: self.submitted.append(source),
            entitlements_sql=lambda: sa.select(
                persons.c.id.label("entitlement"), (sa.literal("H-") + persons.c.number).label("beneficiary")
            ),
            entitlement_noun="persons", refusals=self._refusals,
        )  # fmt: skip
        people: list[dict[str, Any]] = [
            {"number": number, "given_name": "Awa", "family_name": "Touray", "sex": "F", "birth_date": "1980-01-01"}
            for number in numbers
        ]
        app.do_all("beneficiaries.register_person", people)

    def _find(self, _: Context, name: str) -> Batch | None:
        return Batch(self.batch, not self.closed) if name == "B7" else None

    def _refusals(self, _: Context, wanted: Sequence[Settled]) -> dict[int, Refusal]:
        return {move.order: Refusal("payroll.wrong_state", "closed") for move in wanted if self.closed}

    def order(self, nothing: Sequence[str] = ()) -> tuple[int, int]:
        """One order per person, in one statement; (how many, their sum). Those in `nothing` are owed 0.00."""
        amount = sa.case((persons.c.number.in_(list(nothing)), 0), else_=120000)
        wanted = sa.select(
            persons.c.id.label("entitlement"), persons.c.id.label("person"),
            sa.cast(sa.null(), sa.BigInteger).label("provider"), sa.cast(amount, sa.BigInteger).label("amount_minor"),
        )  # fmt: skip
        with self.inside() as context:
            return place_orders_from(context, "chf", "payroll", self.batch, wanted)

    def move(self, from_states: Sequence[str], to_state: str, entitlements: Sequence[int] | None = None) -> list[Any]:
        with self.inside() as context:
            return move_orders_of(
                context, "payroll", self.batch, from_states, to_state, "rejected", entitlements=entitlements
            )

    @contextmanager
    def inside(self) -> Iterator[Context]:
        """A transaction as a handler has it, of the administrator."""
        app, caller = self.app, self.app.as_user("administrator")
        with app.database.command(caller) as (connection, audit):
            before = app.database.statements
            yield Context(app, connection, caller, app.clock.now(), app.clock.today(), audit=audit)
            self.statements = app.database.statements - before

    def orders(self) -> Any:
        return self.app.do("payments.orders", {"payroll": "B7"})
