"""The auditor: it finds nothing in a sound database, and each thing that somebody breaks past the application."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from imis_core.database.engine import driver_url
from imis_core.opening import Playground
from imis_core.testing.app import TestApp, test_application
from imis_core.testing.auditor import Finding, assert_sound, audit, audit_connection
from tests.payroll.grants import GrantsPlugin
from tests.testing.world import SETTINGS, TODAY, populate


@pytest.fixture(scope="module")
def world(playground: Playground) -> Iterator[TestApp]:
    """One database for the whole module: what a test breaks is rolled back."""
    with test_application(
        playground, TODAY, settings=SETTINGS, extra={"grants": GrantsPlugin()}, plugins=("health_insurance",)
    ) as app:
        populate(app)
        yield app


@contextmanager
def _superuser(playground: Playground, app: TestApp) -> Iterator[sa.Connection]:
    """A transaction of the server's superuser in the application's database; neither triggers nor keys bind it."""
    database = app.database.engine.url.database
    assert database is not None
    engine = sa.create_engine(driver_url(playground.databases.administrator(database)), poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("SET session_replication_role = replica"))
        yield connection
        connection.rollback()


def test_it_finds_nothing_in_a_sound_database(world: TestApp) -> None:
    """Policies, claims and payrolls in every state, and not one false alarm."""
    assert audit(world, delivered=True) == []


# What is broken, and the finding that tells of it: its code and a part of where it stands.
BROKEN = [
    ("DELETE FROM core.ledger_postings WHERE entry = 1 AND account = 'contributions_income'",
     "ledger.entry_unbalanced", "ledger entry 1"),
    ("DELETE FROM core.ledger_postings WHERE entry = 1", "ledger.entry_unbalanced", "ledger entry 1"),
    ("UPDATE core.ledger_postings SET amount = amount + 1 WHERE entry = 1 AND account = 'contributions_income'",
     "ledger.scheme_unbalanced", "scheme chf"),
    ("UPDATE core.ledger_entries SET currency = 'EUR' WHERE id = 1", "ledger.currencies", "scheme chf"),
    ("UPDATE core.coverages SET due_minor = due_minor + 1, value_minor = value_minor + 1 WHERE id = 1",
     "ledger.contributions_receivable", "scheme chf"),
    ("UPDATE core.coverages SET due_minor = due_minor + 1, value_minor = value_minor + 1 WHERE id = 1",
     "ledger.contributions_income", "scheme chf"),
    ("UPDATE core.coverages SET subsidy_minor = 5, value_minor = value_minor + 5 WHERE id = 1",
     "ledger.subsidies_receivable", "scheme chf"),
    ("UPDATE core.contributions SET amount_minor = amount_minor - 1 WHERE receipt = 'R-F1'",
     "ledger.cash", "scheme chf"),
    ("UPDATE core.claim_valuations SET payable_minor = payable_minor + 1 WHERE claim = 1",
     "ledger.benefits_expense", "scheme chf"),
    ("UPDATE core.entitlement_current SET amount_minor = amount_minor + 1 WHERE state = 'approved'",
     "ledger.benefits_payable", "scheme g"),
    ("UPDATE core.order_current SET state = 'submitted' WHERE state = 'paid'", "ledger.cash", "scheme g"),
    ("DELETE FROM core.order_states WHERE \"order\" = 1 AND version = 2", "states.gap", "order 1"),
    ("UPDATE core.order_states SET state = 'cancelled' WHERE \"order\" = 1 AND version = 2",
     "states.move", "order 1"),
    ("UPDATE core.claim_states SET state = 5 WHERE claim = 1 AND version = 1", "states.move", "claim 1"),
    ("UPDATE core.entitlement_states SET state = 'paid' WHERE entitlement = 1 AND version = 1",
     "states.move", "entitlement 1"),
    ("UPDATE core.payrolls_history SET state = 'closed' WHERE id = 1 AND version = 1", "states.move", "payrolls 1"),
    ("UPDATE core.coverages_history SET state = 'suspended' WHERE id = 1 AND version = 1",
     "states.move", "coverages 1"),
    ("UPDATE core.claim_current SET state = 4 WHERE state = 5", "states.current", "claim 1"),
    ("UPDATE core.entitlement_current SET version = version + 1 WHERE entitlement = 1",
     "states.current", "entitlement 1"),
    ("DELETE FROM core.order_current WHERE \"order\" = 1", "states.current", "order 1"),
    ("ALTER TABLE core.orders DROP CONSTRAINT uq_orders_source_kind_source_entitlement_attempt; "
     "UPDATE core.orders SET attempt = 1 WHERE attempt = 2", "orders.key_twice", "payroll 1, entitlement 2"),
    ("UPDATE core.orders SET attempt = 3 WHERE attempt = 2", "orders.attempts", "order "),
    ("UPDATE core.order_current SET state = 'paid' WHERE state = 'failed'", "orders.attempts", "order "),
    ("UPDATE core.order_current SET state = 'paid'", "orders.paid_twice", "entitlement 2"),
    ("INSERT INTO core.payment_request_claims SELECT 1, id, false FROM core.claims WHERE code = 'C3'; "
     "UPDATE core.orders SET source = 77, entitlement = 1 WHERE source_kind = 'claims' AND entitlement = 2; "
     "UPDATE core.order_current SET state = 'paid'; "
     "INSERT INTO core.payment_request_claims SELECT 77, id, false FROM core.claims WHERE code = 'C1'",
     "orders.paid_twice", "claim 1"),
    ("ALTER TABLE core.entitlements DROP CONSTRAINT uq_entitlements_beneficiary; "
     "UPDATE core.entitlements SET cycle = 1, source = 0", "entitlements.twice", "package 3, cycle 1, group 1"),
    ("DELETE FROM core.orders WHERE source_kind = 'payroll' AND entitlement = 1", "entitlements.order",
     "entitlement 1"),
    ("UPDATE core.entitlement_current SET state = 'approved' WHERE entitlement = 1", "entitlements.order",
     "entitlement 1"),
    ("UPDATE core.orders SET amount_minor = 1 WHERE source_kind = 'payroll' AND entitlement = 1",
     "entitlements.order", "entitlement 1"),
    ("UPDATE core.entitlement_current SET payroll = 2 WHERE entitlement = 1", "entitlements.order", "entitlement 1"),
    ("UPDATE core.entitlement_amounts SET amount_minor = 7 WHERE entitlement = 1", "entitlements.amount",
     "entitlement 1"),
    ("UPDATE core.payrolls SET state = 'reconciled' WHERE id = 1", "payrolls.state", "payroll 1"),
    ("UPDATE core.payrolls SET state = 'awaiting_approval' WHERE id = 1", "payrolls.state", "payroll 1"),
    ("UPDATE core.claim_current SET state = 4 WHERE claim = 1", "claims.order", "claim 1"),
    ("UPDATE core.claim_current SET state = 5 WHERE state = 4", "claims.order", "claim 4"),
    ("DELETE FROM core.claim_valuations WHERE claim = 1", "claims.order", "claim 1"),
    ("UPDATE core.orders SET amount_minor = amount_minor + 1 WHERE source_kind = 'claims'", "claims.order",
     "order of request 1"),
    ("UPDATE core.claim_results SET payable_minor = payable_minor + 1 WHERE claim = 1", "claims.valuation", "claim 1"),
    ("UPDATE core.payment_request_claims SET open = false WHERE claim = 1", "claims.request", "payment request 1"),
    ("DELETE FROM core.payment_request_claims WHERE claim = 1", "claims.request", "payment request 1"),
    ("UPDATE core.budgets SET spent_minor = 0", "budgets.counted", "budget of package 3"),
    ("UPDATE core.budgets SET reserved_minor = reserved_minor - 1", "budgets.counted", "budget of package 3"),
    ("DELETE FROM core.budgets", "budgets.counted", "budget of package 3"),
    ("UPDATE core.coverages SET ends = starts - 1 WHERE id = 1", "coverage.dates", "coverage 1"),
    ("UPDATE core.coverages SET effective_from = starts - 1 WHERE id = 1", "coverage.dates", "coverage 1"),
    ("UPDATE core.coverages SET effective_from = NULL WHERE id = 1", "coverage.dates", "coverage 1"),
    ("UPDATE core.coverages SET effective_from = starts WHERE id = 2", "coverage.dates", "coverage 2"),
    ("UPDATE core.coverages SET terminated_on = NULL WHERE id = 3", "coverage.dates", "coverage 3"),
    ("UPDATE core.coverages SET due_minor = due_minor + 1 WHERE id = 1", "coverage.balance", "coverage 1"),
    ("UPDATE core.contributions SET amount_minor = amount_minor * 3 WHERE receipt = 'R-F1'",
     "ledger.contributions_receivable", "scheme chf"),
    ("INSERT INTO core.coverage_credits (given_by, taken_by, moved_on, minor, audit) "
     "SELECT 1, 2, starts, 1000000, 1 FROM core.coverages WHERE id = 1", "coverage.balance", "coverage 1"),
    ("UPDATE core.coverages SET state = 'idle' WHERE id = 1", "coverage.balance", "coverage 1"),
    ("UPDATE core.coverage_suspensions SET resumed_on = suspended_on", "coverage.suspension", "coverage 4"),
    ("UPDATE core.coverages SET state = 'active' WHERE id = 4", "coverage.suspension", "coverage 4"),
    ("ALTER TABLE core.coverage_members DROP CONSTRAINT coverage_members_int8range_int8range1_held_excl; "
     "UPDATE core.coverage_members SET person = 1 WHERE coverage = 2", "coverage.overlap", "coverage 2, person 1"),
    ("UPDATE core.coverage_members SET held = '[2021-01-01,2021-02-01]' WHERE coverage = 3", "coverage.overlap",
     "coverage 3"),
    ("UPDATE core.cover_usage SET used = used + 1", "coverage.usage", "coverage 1, person 1, deductible.general"),
    ("DELETE FROM core.cover_usage WHERE counter = 'ceiling.inpatient'", "coverage.usage",
     "coverage 1, person 0, ceiling.inpatient"),
    ("INSERT INTO core.cover_usage VALUES ('coverage', 2, 0, 'ceiling.inpatient', 9)", "coverage.usage",
     "coverage 2, person 0, ceiling.inpatient"),
    ("DELETE FROM core.audit_entries WHERE command = 'claims.submit'", "audit.missing", "core.claims"),
    ("DELETE FROM core.audit_entries WHERE command = 'coverage.suspend'", "audit.missing", "core.coverages_history"),
    ("DELETE FROM core.persons_history WHERE id = 1", "history.differs", "core.persons 1"),
    ("UPDATE core.persons SET given_name = 'X' WHERE id = 1", "history.differs", "core.persons 1"),
    ("DELETE FROM core.coverages_history WHERE id = 1 AND version = 1", "history.differs", "core.coverages 1"),
    ("DELETE FROM core.deliveries", "outbox.lost", "event 1"),
    ("UPDATE core.deliveries SET state = 'parked', error = 'it broke'", "outbox.parked", "event 1"),
    ("UPDATE core.deliveries SET state = 'pending'", "outbox.pending", "event 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("broken", "code", "where"), BROKEN, ids=[f"{code}-{n}" for n, (_, code, _) in enumerate(BROKEN)]
)
def test_it_finds_what_was_broken(playground: Playground, world: TestApp, broken: str, code: str, where: str) -> None:
    """Each row that a superuser changes past the application is found, with what and where."""
    with _superuser(playground, world) as connection:
        for statement in broken.split("; "):
            assert connection.execute(sa.text(statement)).rowcount != 0, statement
        found = audit_connection(connection, world.scheme_types.values(), delivered=True)
    assert any(f.code == code and where in f.where and f.what for f in found), "\n".join(map(str, found))


def test_a_failure_tells_every_finding(app: TestApp) -> None:
    """`assert_sound` fails with a line for each finding."""
    assert_sound(app)
    with app.database.command(app.system) as (connection, _):
        connection.execute(sa.text("INSERT INTO core.groups (code, kind, place, attributes, status, registered_on) "
                                   "VALUES ('G', 'household', NULL, '{}', 'active', '2021-01-01')"))  # fmt: skip
    with pytest.raises(AssertionError, match=r"audit\.missing at core\.groups_history: its rows name entry \d+"):
        assert_sound(app)
    assert str(Finding("a.b", "here", "wrong")) == "a.b at here: wrong"
