"""What a demo's year came to: people, cover, claims by outcome, money, and whether the ledger balances."""

from __future__ import annotations

from decimal import Decimal

import sqlalchemy as sa
from attrs import frozen

from imis_core.application import Application
from imis_core.claims.states import NAMES
from imis_core.demo.files import Sources
from imis_core.eligibility.rejections import Rejection
from imis_core.files import read_table
from imis_core.queries import run_query


@frozen
class Summary:
    """Counts and amounts of one scheme; amounts are decimals of `currency`."""

    scheme: str
    currency: str
    persons: int
    households: int
    policies: dict[str, int]
    covered: int
    claims: dict[str, int]
    listed: int
    paid: Decimal
    contributions: Decimal
    balanced: bool
    seconds: float


_STATES = """
    SELECT t.state, s.rejection, count(*) AS claims FROM core.claim_current t
    JOIN core.claim_states s ON s.claim = t.claim AND s.version = t.version GROUP BY 1, 2 ORDER BY 1, 2
"""


def summarise(app: Application, sources: Sources, seconds: float) -> Summary:
    """Count what is there after the year."""
    scheme = next(code for code in app.settings.schemes if app.type_of(code).takes_claims)
    with app.database.query(app.system) as connection:

        def one(sql: str) -> int:
            return int(connection.execute(sa.text(sql)).scalar_one())

        policies = {
            row.state: row.policies
            for row in connection.execute(
                sa.text("SELECT state, count(*) AS policies FROM core.coverages GROUP BY state ORDER BY state")
            )
        }
        claims: dict[str, int] = {}
        for row in connection.execute(sa.text(_STATES)):
            name = NAMES[row.state] if row.rejection is None else Rejection(row.rejection).label
            claims[name] = claims.get(name, 0) + row.claims
        persons, households = one("SELECT count(*) FROM core.persons"), one("SELECT count(*) FROM core.groups")
        covered = one(
            "SELECT count(DISTINCT m.person) FROM core.coverage_members m JOIN core.coverages c ON c.id = m.coverage "
            "WHERE c.state = 'active'"
        )
    folder = app.settings.folder
    assert folder is not None
    listed = sum(read_table(path).row_count for path in sorted((folder / "var" / "demo").glob("*.errors.csv")))
    balances = run_query(app, "ledger.balances", {"scheme": scheme}, app.system)
    accounts = {name: Decimal(amount) for name, amount in balances["accounts"].items()}
    contributions = -accounts.get("contributions_income", Decimal(0))
    received = contributions - accounts.get("contributions_receivable", Decimal(0))
    return Summary(
        scheme, app.settings.currency_of(scheme), persons, households, policies, covered, claims, listed,
        received - accounts.get("cash", Decimal(0)), received, bool(balances["balanced"]), seconds,
    )  # fmt: skip


def text_of(summary: Summary) -> str:
    """The summary as lines for a terminal."""
    policies = ", ".join(f"{count:,} {state}" for state, count in summary.policies.items())
    claims = ", ".join(f"{count:,} {name}" for name, count in summary.claims.items())
    rows = (
        ("scheme", summary.scheme),
        ("people", f"{summary.persons:,} in {summary.households:,} households"),
        ("coverage", f"{policies} policies; {summary.covered:,} persons covered"),
        ("contributions", f"{summary.contributions:,} {summary.currency} received"),
        ("claims", f"{sum(summary.claims.values()):,} stored: {claims}"),
        ("not loaded", f"{summary.listed:,} rows, listed with their reasons in var/demo/*.errors.csv"),
        ("paid", f"{summary.paid:,} {summary.currency} to facilities"),
        ("ledger", "balanced" if summary.balanced else "NOT BALANCED"),
        ("time", f"{summary.seconds:.1f} seconds"),
    )
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)
