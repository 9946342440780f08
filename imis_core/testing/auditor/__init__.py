"""The independent auditor: reads the tables with SQL of its own and says what cannot be.

It shares no code with what writes the tables: money is added up again from the rows, states are walked again, what
covers used is rebuilt from claims. The state tables and the plugins' limits are read as the rules that they are. It
changes nothing, needs no quiet system (everything is read in one snapshot), and does not judge whether a rule was the
right one: that is what scenarios are for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from imis_core.testing.auditor import coverage, ledger, payments, records, states, transmissions
from imis_core.testing.auditor.findings import Check, Finding

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.benefit_packages.schemes import SchemeType

_HOSPITALS: Final = ("hospital",)  # levels of facilities that are hospitals where a deployment names none
CHECKS: Final[tuple[Check, ...]] = (
    *ledger.CHECKS, *states.CHECKS, *payments.CHECKS, *transmissions.CHECKS, *coverage.CHECKS, *records.CHECKS,
)  # fmt: skip


def audit(app: Application, *, delivered: bool = False) -> list[Finding]:
    """Everything that is wrong in the application's database, at most `findings.MOST` of each check.

    `delivered`: also what the outbox has not delivered yet is wrong (after everything was left to finish).
    """
    with _snapshot(app) as connection:
        levels = app.settings.deployment.facility_levels or {}
        hospitals = [name for name, level in levels.items() if level == "hospital"] or _HOSPITALS
        return audit_connection(connection, app.scheme_types.values(), hospitals, delivered=delivered)


def audit_connection(
    connection: sa.Connection,
    kinds: Iterable[SchemeType] = (),
    hospitals: Sequence[str] = _HOSPITALS,
    *,
    delivered: bool = False,
) -> list[Finding]:
    """What `audit` finds, through a connection that sees every row; without `kinds` covers' counters are left out."""
    usage = coverage.usage_check(kinds, hospitals)
    checks = [*CHECKS, *([usage] if usage is not None else []), *([records.PENDING] if delivered else [])]
    return [
        *(finding for check in checks for finding in check.run(connection)),
        *records.check_records(connection),
    ]


def assert_sound(app: Application, *, delivered: bool = False) -> None:
    """Fail with every finding on a line of its own."""
    found = audit(app, delivered=delivered)
    if found:
        raise AssertionError("the auditor found:\n" + "\n".join(f"  {finding}" for finding in found))


@contextmanager
def _snapshot(app: Application) -> Iterator[sa.Connection]:
    """One consistent view of everything, for the reading role."""
    with app.database.engine.connect() as plain:
        connection = plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            connection.execute(_OPEN, {"role": app.database.roles.read})
            yield connection


_OPEN: Final = sa.text("SELECT set_config('role', :role, true), set_config('imis.scope', 'all', true)")

__all__ = ["CHECKS", "Finding", "assert_sound", "audit", "audit_connection"]
