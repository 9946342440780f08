"""Retention: what is older than `[retention]` goes; what waits, failed or is younger stays, and the audit always."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa

from imis_core import retention
from imis_core.errors import ImisError
from imis_core.jobs_kinds import NoInput
from imis_core.retention import forget

FIRST, LATER = date(2021, 1, 1), date(2021, 6, 1)
SETTINGS = {
    "retention": {"idempotency_days": 100, "token_days": 100, "lookup_days": 100, "event_days": 100,
                  "job_days": 100, "notification_days": 100, "provider_message_days": 100},
}  # fmt: skip
COUNTS = {
    "idempotency": "SELECT count(*) FROM core.idempotency",
    "tokens": "SELECT count(*) FROM core.tokens",
    "lookups": "SELECT count(*) FROM core.lookups",
    "events": "SELECT count(*) FROM core.events",
    "jobs": "SELECT count(*) FROM jobs.procrastinate_jobs",
    "texts": "SELECT count(*) FROM core.notifications WHERE text <> ''",
    "audit": "SELECT count(*) FROM core.audit_entries",
}


def counts(app: Any) -> dict[str, int]:
    return {name: app.rows(sql)[0]["count"] for name, sql in COUNTS.items()}


def leave_traces(app: Any, day: date) -> None:
    """One of everything that day: a key, a login that ended, a look-up, two events, two messages, jobs."""
    app.clock.set(day)
    at = app.clock.now()
    app.run("locations.add", {"code": f"L{day:%m}", "name": "L", "level": "region"}, app.system, key=f"k-{day}")
    user = app.as_user("anna").user
    app.do("beneficiaries.register_person", {"number": f"1{day:%m}", "given_name": "A", "family_name": "B", "sex": "F",
                                      "birth_date": "1980-01-01"})  # fmt: skip
    for text in ("sent", "waits"):
        app.do("notifications.send", {"to": f"{text}@example.org", "text": text})
    with app.database.command(app.system) as (connection, _):

        def run(sql: str) -> None:
            connection.execute(sa.text(sql), {"at": at, "user": user, "day": str(day)})

        run(
            'INSERT INTO core.tokens (digest, "user", client, created_at, expires_at) '
            "VALUES (CAST(:day AS bytea), :user, 'c', :at, :at)"
        )
        run(
            "INSERT INTO core.lookups (at, \"user\", person, command) SELECT :at, :user, max(id), 'x' FROM core.persons"
        )
        run(
            "INSERT INTO core.events (name, key, payload, at, audit) VALUES ('e', 'done', '{}', :at, 1), "
            "('e', 'parked', '{}', :at, 1)"
        )
        run(
            "INSERT INTO core.deliveries (event, subscriber, state, next_at) SELECT id, 'x', key, :at FROM core.events "
            "WHERE at = :at AND name = 'e'"
        )
        run(
            "UPDATE core.notification_current SET state = 'sent' WHERE notification IN "
            "(SELECT id FROM core.notifications WHERE text = 'sent')"
        )
        run("SET LOCAL search_path = jobs, pg_catalog")
        for status in ("succeeded", "failed"):
            run("INSERT INTO jobs.procrastinate_jobs (queue_name, task_name) VALUES ('q', 'new')")
            run(f"UPDATE jobs.procrastinate_jobs SET status = '{status}', task_name = 't' WHERE task_name = 'new'")
        run("UPDATE jobs.procrastinate_events SET at = :at WHERE at > now() - interval '1 hour'")


def test_what_is_too_old_goes_and_nothing_else(make_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a year later one day of two is older than a hundred days; parked events, failed jobs, waiting texts stay."""
    monkeypatch.setattr(retention, "CHUNK", 1)  # several transactions of one kind
    app = make_app(plugins=[], settings=SETTINGS)
    leave_traces(app, FIRST)
    leave_traces(app, LATER)
    before = counts(app)
    forget(app, NoInput())
    after = counts(app)
    gone = {name: before[name] - after[name] for name in before}
    assert gone == {"idempotency": 1, "tokens": 1, "lookups": 1, "events": 1, "jobs": 1, "texts": 1, "audit": 0}
    forget(app, NoInput())
    assert counts(app) == after
    kept = app.rows("SELECT d.state, count(*) FROM core.deliveries d GROUP BY 1 ORDER BY 1")
    assert [(row["state"], row["count"]) for row in kept] == [("done", 1), ("parked", 2)]


def test_a_run_with_a_parked_chunk_stays(make_app: Any) -> None:
    """The job that cut it ended well long ago; without it nobody could see or retry what is parked."""
    app = make_app(plugins=[], settings=SETTINGS)
    app.clock.set(FIRST)
    with app.database.command(app.system) as (connection, _):
        jobs = ("succeeded", "failed", "succeeded", "succeeded")  # a run and its chunk, twice
        for status in jobs:
            for sql in (
                "SET LOCAL search_path = jobs, pg_catalog",
                "INSERT INTO jobs.procrastinate_jobs (queue_name, task_name) VALUES ('q', 'new')",
                f"UPDATE jobs.procrastinate_jobs SET status = '{status}', task_name = 't' WHERE task_name = 'new'",
            ):
                connection.execute(sa.text(sql))
        at = {"at": app.clock.now(), "day": FIRST}
        connection.execute(sa.text("UPDATE jobs.procrastinate_events SET at = :at"), at)
        ids = list(connection.execute(sa.text("SELECT id FROM jobs.procrastinate_jobs ORDER BY id")).scalars())
        for run, chunk, done in ((ids[0], ids[1], None), (ids[2], ids[3], at["at"])):
            connection.execute(
                sa.text(
                    "INSERT INTO core.job_runs (id, job, input, maker, business_date, requested_at, item_count) "
                    "VALUES (:run, 'x', '{}', 0, :day, :at, 1)"
                ),
                {**at, "run": run},
            )
            connection.execute(
                sa.text(
                    "INSERT INTO core.job_chunks (run, number, queued, item_count, data, done_at) "
                    "VALUES (:run, 1, :chunk, 1, '{}', :done)"
                ),
                {"run": run, "chunk": chunk, "done": done},
            )
    app.clock.set(LATER)
    forget(app, NoInput())
    assert [row["id"] for row in app.rows("SELECT id FROM jobs.procrastinate_jobs ORDER BY id")] == ids[:2]
    assert [row["id"] for row in app.rows("SELECT id FROM core.job_runs")] == ids[:1]


@pytest.mark.parametrize(
    "function", ["forget_lookups", "forget_events", "forget_notification_texts", "forget_provider_messages"]
)
def test_the_database_keeps_fresh_traces(make_app: Any, function: str) -> None:
    """Whoever has the application's login cannot wipe out what happened in the last days."""
    app = make_app(plugins=[])
    with (
        pytest.raises(sa.exc.ProgrammingError, match="are kept"),
        app.database.command(app.system) as (connection, _),
    ):
        connection.execute(sa.text(f"SELECT core.{function}(clock_timestamp(), 5)"))


def test_spans_have_ends(make_app: Any) -> None:
    """A setting that promises less than the database keeps is a mistake of the file."""
    with pytest.raises(ImisError, match=r"retention\.lookup_days: expected 30 to"):
        make_app(plugins=[], settings={"retention": {"lookup_days": 29}})


def test_it_runs_every_day(make_app: Any) -> None:
    """The schedule has it, once a day."""
    app = make_app(plugins=[], settings=SETTINGS)
    leave_traces(app, FIRST)
    app.clock.set(LATER)
    assert app.queue.enqueue_due() > 0
    app.queue.run_due()
    assert counts(app)["idempotency"] == 0
    assert app.queue.enqueue_due() == 0
