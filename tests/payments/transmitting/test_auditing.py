"""The auditor finds transmissions that do not stand as their orders do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from imis_core.database.engine import driver_url
from imis_core.opening import Playground
from imis_core.testing.auditor import audit, audit_connection
from tests.payments.transmitting.conftest import Agency

LATER = (
    "INSERT INTO core.transmission_states (transmission, version, state, at, audit) "
    "SELECT id, 90, 'sending', now(), 1 FROM core.transmissions"
)
BROKEN = (
    ('DELETE FROM core.transmission_orders WHERE "order" = (SELECT max(id) FROM core.orders)',
     "transmissions.content"),
    ("UPDATE core.transmissions SET amount_minor = amount_minor + 1", "transmissions.content"),
    ("UPDATE core.transmissions SET scheme = 'other'", "transmissions.content"),
    ("UPDATE core.order_current SET payment_provider = NULL", "transmissions.provider"),
    ("UPDATE core.order_current SET state = 'accepted'", "transmissions.orders"),
    ("UPDATE core.transmission_current SET state = 'accepted'; UPDATE core.order_current SET state = 'submitted'",
     "transmissions.orders"),
    (LATER, "transmissions.sent"),
    ("UPDATE core.transmission_current SET attempts = 7", "transmissions.sent"),
)  # fmt: skip


@pytest.fixture
def intruder(agency: Agency, playground: Playground) -> Iterator[sa.Connection]:
    """A superuser's transaction after everything was paid; it is rolled back."""
    agency.submit()
    agency.work_out()
    assert not [finding for finding in audit(agency.app) if finding.code.startswith("transmission")]
    admin = playground.databases._admin.set(database=agency.app.database.url.database)
    engine = sa.create_engine(driver_url(admin.render_as_string(hide_password=False)), poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection
        connection.rollback()
    engine.dispose()


def test_what_was_broken_is_found(intruder: sa.Connection) -> None:
    """Content, provider, states and sendings: each that a superuser changes is told."""
    for broken, code in BROKEN:
        for statement in broken.split("; "):
            assert intruder.execute(sa.text(statement)).rowcount > 0, statement
        assert code in {finding.code for finding in audit_connection(intruder)}, broken
        intruder.rollback()
