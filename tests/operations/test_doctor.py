"""`imis doctor`: what goes wrong with a deployment is found, told with its remedy, and counts in the exit code."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core.cards.keys import KeyRing
from imis_core.database.engine import driver_url
from imis_core.deployment import load_settings
from imis_core.operations import doctor
from imis_core.operations.doctor import Finding, examine, worst

from .conftest import Answer, restored


def found(folder: Path) -> dict[str, Finding]:
    """The findings that are not `ok`, by their codes."""
    findings = examine(folder)
    assert all(f.remedy for f in findings if f.severity in ("warning", "error"))
    return {f.code: f for f in findings if f.severity in ("warning", "error")}


@pytest.fixture
def owner(there: Path, archive: Path) -> Iterator[sa.Connection]:
    """A restored deployment on a server, and a connection as its owner, to bring things out of order."""
    restored(there, archive)
    engine = sa.create_engine(driver_url(str(load_settings(there).database.owner_url)), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        role = connection.execute(sa.text("SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'core'"))
        connection.execute(sa.text(f"SET ROLE {role.scalar_one()}"))
        yield connection
    engine.dispose()


def test_a_sound_deployment(living: Path, imis: Callable[..., Answer]) -> None:
    """Every area is looked at, embedded server and all; no error, exit code 0, the same as JSON."""
    findings = examine(living)
    areas = {"account", "settings", "plugins", "disk", "embedded", "database", "clock", "migrations", "queue"}
    assert areas | {"outbox", "keys", "backups"} <= {f.area for f in findings}
    assert worst(findings) != "error"
    answer = imis("-C", living, "doctor", "--json")
    assert answer.code == 0
    data = json.loads(answer.out)
    assert {tuple(sorted(f)) for f in data["findings"]} == {("area", "code", "message", "remedy", "severity")}
    assert ("account.root" in {f["code"] for f in data["findings"]}) == (os.geteuid() == 0)


def test_a_deployment_without_a_database_yet(tmp_path: Path, imis: Callable[..., Answer]) -> None:
    """An error whose remedy is `imis migrate`; nothing is made by looking."""
    (tmp_path / "imis.toml").write_text('[deployment]\nname = "x"\ncountry = "XX"\ncurrency = "USD"\n')
    answer = imis("-C", tmp_path, "doctor")
    assert answer.code == 1
    assert "database.missing; remedy: run `imis migrate`" in answer.out
    assert [p.name for p in tmp_path.iterdir()] == ["imis.toml"]


def test_wrong_settings_and_plugins(tmp_path: Path) -> None:
    """Every mistake is a finding of its own; a plugin that is not installed too."""
    (tmp_path / "imis.toml").write_text('[deployment]\nname = "X"\ncountry = "XX"\ncurrency = "USDD"\n')
    wrong = [f for f in examine(tmp_path) if f.area == "settings"]
    assert [(f.severity, f.code) for f in wrong] == [("error", "settings.invalid")] * 2
    text = '[deployment]\nname = "x"\ncountry = "XX"\ncurrency = "USD"\n[plugins]\nenabled = ["nobody"]\n'
    (tmp_path / "imis.toml").write_text(text)
    assert found(tmp_path)["plugins.invalid"].area == "plugins"


def test_a_database_that_is_away(there: Path) -> None:
    """`database.unreachable` without the password."""
    settings = (there / "imis.toml").read_text()
    url = load_settings(there).database.url
    away = sa.make_url(url).set(host="127.0.0.1", port=1, query={}).render_as_string(hide_password=False)
    (there / "imis.toml").write_text(settings.replace(url, away))
    finding = found(there)["database.unreachable"]
    assert str(sa.make_url(url).password) not in finding.message


def test_tables_queue_and_outbox(there: Path, owner: sa.Connection) -> None:
    """Tables ahead, jobs that failed, wait or were left, deliveries that are parked or wait: each is an error."""
    before = found(there)
    assert not {code for code in before if code.startswith(("queue", "outbox", "migrations", "clock"))}
    owner.execute(sa.text("SET search_path = jobs"))  # the queue library's triggers name no schema
    owner.execute(sa.text("UPDATE core.alembic_version SET version_num = 'core_9999'"))
    insert = "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, status, scheduled_at) VALUES ('q', 't', "
    for status, at in (("failed", "now()"), ("doing", "now()"), ("todo", "now() - interval '1 hour'")):
        owner.execute(sa.text(f"{insert}'{status}', {at})"))
    owner.execute(
        sa.text("INSERT INTO core.events (name, key, payload, at, audit) VALUES ('e', 'k', '{}', now(), 1), "
                "('e', 'k', '{}', now(), 1)")
    )  # fmt: skip
    owner.execute(
        sa.text(
            "INSERT INTO core.deliveries (event, subscriber, state, next_at) SELECT id, 'x', "
            "CASE row_number() OVER (ORDER BY id) WHEN 1 THEN 'parked' ELSE 'pending' END, now() - interval '1 hour' "
            "FROM core.events WHERE name = 'e'"
        )
    )
    codes = {code for code, f in found(there).items() if f.severity == "error"}
    assert {"database.ahead", "queue.failed", "queue.stalled", "queue.waiting"} <= codes
    assert {"outbox.parked", "outbox.waiting"} <= codes


def test_payments_that_do_not_get_through(there: Path, owner: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is open, a parked transmission, a forgotten secret, a service that is gone: each is told."""
    settings = (there / "imis.toml").read_text("utf-8")
    table = 'url = "http://127.0.0.1:1"\ntenant = "t"\ndebit_account = "1"\ncallback_url = "http://127.0.0.1:1"\n'
    gateway = f'\n[payment_gateways.MM]\n{table}token_variable = "IMIS_TEST_DOCTOR_TOKEN"\n'
    (there / "imis.toml").write_text(settings + gateway, "utf-8")
    monkeypatch.delenv("IMIS_TEST_DOCTOR_TOKEN", raising=False)
    assert found(there)["payments.no_secret"].severity == "warning"
    monkeypatch.setenv("IMIS_TEST_DOCTOR_TOKEN", "secret of the test")
    assert not {code for code in found(there) if code.startswith("payments")}
    abroad = '\n[schemes.abroad]\ntype = "coverage"\ncurrency = "EUR"\n'
    (there / "imis.toml").write_text(settings + gateway + 'day_amount_max = "5"\n' + abroad, "utf-8")
    limits = found(there)["payments.limit_currency"]
    assert (limits.severity, "abroad" in limits.message) == ("warning", True)
    (there / "imis.toml").write_text(settings + '\n[payment_limits.BNK]\norder_amount_max = "5"\n', "utf-8")
    assert "BNK" in found(there)["payments.unknown_limits"].message
    (there / "imis.toml").write_text(settings + gateway, "utf-8")
    made = "INSERT INTO core.payment_providers (code, name, channel) VALUES ('MM', 'M', 'mobile_money') RETURNING id"
    provider = owner.execute(sa.text(made)).scalar_one()
    for state in ("parked", "accepted"):
        transmission = owner.execute(
            sa.text("INSERT INTO core.transmissions (payment_provider, scheme, currency, source_kind, source, orders, "
                    "amount_minor, correlation, placed_on, audit) "
                    "VALUES (:p, 's', 'USD', 'k', 1, 1, 1, :state, now(), 1) RETURNING id"),
            {"p": provider, "state": state},
        ).scalar_one()  # fmt: skip
        owner.execute(
            sa.text("INSERT INTO core.transmission_current (transmission, payment_provider, state, version, attempts, "
                    "tries, due_at) VALUES (:t, :p, :state, 1, 1, 0, now() - interval '1 hour')"),
            {"t": transmission, "p": provider, "state": state},
        )  # fmt: skip
    owner.execute(
        sa.text("INSERT INTO core.payment_lines (payment_provider, state, failures, openings, requests, until, reason) "
                "VALUES (:p, 'open', 5, 1, 0, now(), 'no answer')"), {"p": provider},
    )  # fmt: skip
    told = found(there)
    assert {"payments.line_open", "payments.parked", "payments.late"} <= told.keys()
    assert "no answer" in told["payments.line_open"].message
    (there / "imis.toml").write_text(settings, "utf-8")
    assert found(there)["payments.no_gateway"].severity == "error"


def test_an_application_that_is_superuser_or_no_member(there: Path, owner: sa.Connection, playground: Any) -> None:
    """Two logins that must not be: one that may do everything, one that may do nothing; both with the way out."""
    url = load_settings(there).database.url
    settings = (there / "imis.toml").read_text()
    admin = playground.databases._admin.set(database=sa.make_url(url).database)
    (there / "imis.toml").write_text(settings.replace(url, admin.render_as_string(hide_password=False)))
    assert found(there)["database.superuser"].severity == "error"
    engine = sa.create_engine(admin.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    stranger = f"{playground.prefix}_stranger"
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE ROLE {stranger} LOGIN PASSWORD 'x'"))
        nobody = sa.make_url(url).set(username=stranger, password="x").render_as_string(hide_password=False)
        (there / "imis.toml").write_text(settings.replace(url, nobody))
        assert f"TO {stranger};" in found(there)["database.roles_missing"].remedy
        connection.execute(sa.text(f"DROP ROLE {stranger}"))
    engine.dispose()


def test_keys_disk_and_backups(living: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that others read, that is damaged or gone; a disk that is nearly full; a backup that is old or unknown."""
    copied = tmp_path / "copy"
    shutil.copytree(living / "keys", copied / "keys")
    key = copied / "keys" / "ids.key"

    def keys(in_use: bool = True) -> list[str]:
        return [f.code for f in doctor._keys(copied, in_use=in_use) if "ids.key" in f.message]

    assert keys() == ["keys.right"]
    key.chmod(0o644)
    assert keys() == ["keys.readable"]
    key.write_text("not hexadecimal")
    assert keys() == ["keys.invalid"]
    key.unlink()
    assert (keys(), keys(in_use=False)) == (["keys.missing"], ["keys.not_made"])
    assert [f.code for f in doctor._keys(copied, in_use=True) if "seals.key" in f.message] == ["keys.right"]

    def cards() -> list[str]:
        return [f.code for f in doctor._keys(copied, in_use=True) if "cards.json" in f.message]

    assert cards() == []  # no card was issued: there is no key yet
    KeyRing(copied / "keys").first(date(2021, 1, 1))
    assert cards() == ["keys.right"]
    (copied / "keys" / "cards.json").chmod(0o640)
    assert cards() == ["keys.readable"]
    (copied / "keys" / "cards.json").write_text("{}")
    assert cards() == ["keys.invalid"]

    settings = load_settings(living)
    usage = shutil.disk_usage(tmp_path)
    for free, code in ((100_000_000, "disk.full"), (usage.total // 20, "disk.filling"), (usage.total, "disk.free")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        assert {f.code for f in doctor._disk(living, settings)} == {code}

    def backups() -> list[tuple[str, str]]:
        return [(f.severity, f.code) for f in doctor._backups(copied, settings, in_use=True)]

    assert backups() == [("warning", "backups.none")]
    note = copied / "var" / "last_backup.json"
    note.parent.mkdir()
    for hours, path, wanted in (
        (1, copied, ("ok", "backups.fresh")),
        (1, copied / "gone", ("note", "backups.elsewhere")),
        (27, copied, ("error", "backups.old")),
    ):
        made_at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        note.write_text(json.dumps({"made_at": made_at, "path": str(path)}))
        assert backups() == [wanted]
    note.write_text("{")
    assert backups() == [("warning", "backups.unknown")]


def test_clocks_that_differ() -> None:
    """The database's time must lie between question and answer; two seconds beyond are a warning, thirty an error."""
    from imis_core.operations.doctor_database import _clock

    now = datetime(2021, 1, 1, tzinfo=UTC)
    answered = now + timedelta(seconds=5)
    for database, severity in ((2, "ok"), (-1, "ok"), (-3, "warning"), (8, "warning"), (40, "error"), (-31, "error")):
        (finding,) = _clock(now + timedelta(seconds=database), now, answered)
        assert finding.severity == severity
