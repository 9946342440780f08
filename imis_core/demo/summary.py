"""What a demo's year came to: people, each scheme's own lines, money, and whether the ledgers balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from attrs import frozen

from imis_core.application import Application
from imis_core.files import read_table
from imis_core.queries import run_query


@frozen
class SchemeMoney:
    """A scheme's ledger at the end, in decimals of its currency: contributions due and received, benefits paid."""

    currency: str
    due: Decimal
    received: Decimal
    paid: Decimal
    balanced: bool


@frozen
class SchemeSummary:
    """One scheme: its counts (claims by outcome, entitlements or orders by state) and the lines that are shown."""

    scheme: str
    kind: str
    money: SchemeMoney
    counts: Mapping[str, int]
    lines: tuple[tuple[str, str], ...]


@frozen
class Summary:
    """The whole deployment. `listed` counts rows that were not loaded."""

    persons: int
    households: int
    listed: int
    schemes: tuple[SchemeSummary, ...]
    seconds: float

    @property
    def balanced(self) -> bool:
        return all(scheme.money.balanced for scheme in self.schemes)


def money_of(app: Application, scheme: str) -> SchemeMoney:
    """What a scheme's ledger says."""
    balances = run_query(app, "ledger.balances", {"scheme": scheme}, app.system)
    accounts = {name: Decimal(amount) for name, amount in balances["accounts"].items()}
    due = -accounts.get("contributions_income", Decimal(0))
    received = due - accounts.get("contributions_receivable", Decimal(0))
    paid = received - accounts.get("cash", Decimal(0))
    return SchemeMoney(app.settings.currency_of(scheme), due, received, paid, bool(balances["balanced"]))


def summarise(app: Application, folder: Path, schemes: Sequence[SchemeSummary], seconds: float) -> Summary:
    """Count what is there after the year."""
    with app.database.query(app.system) as connection:
        persons = connection.execute(sa.text("SELECT count(*) FROM core.persons")).scalar_one()
        households = connection.execute(sa.text("SELECT count(*) FROM core.groups")).scalar_one()
    listed = sum(read_table(path).row_count for path in sorted((folder / "var" / "demo").glob("*.errors.csv")))
    return Summary(persons, households, listed, tuple(schemes), seconds)


def text_of(summary: Summary) -> str:
    """The summary as lines for a terminal: the deployment's, then each scheme's."""
    blocks = [
        (
            ("people", f"{summary.persons:,} in {summary.households:,} households"),
            ("not loaded", f"{summary.listed:,} rows, listed with their reasons in var/demo/*.errors.csv"),
        ),
        *(
            (
                ("scheme", f"{one.scheme} ({one.kind})"),
                *one.lines,
                ("ledger", "balanced" if one.money.balanced else "NOT BALANCED"),
            )
            for one in summary.schemes
        ),
        (("time", f"{summary.seconds:.1f} seconds"),),
    ]
    width = max(len(name) for block in blocks for name, _ in block)
    return "\n\n".join("\n".join(f"{name.ljust(width)}  {value}" for name, value in block) for block in blocks)
