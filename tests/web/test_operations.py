"""Logging in and out, health, metrics, headers and the documentation page, over real HTTP."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import sqlalchemy as sa


def test_logging_in_and_out(site: Any) -> None:
    """A token works until it is revoked; logging out ends this token only."""
    first, second = ({"Authorization": f"Bearer {site.token('administrator')}"} for _ in range(2))
    assert site.anyone.get("/api/probe/echo", headers=first).status_code == 200
    assert site.anyone.post("/api/auth/logout", headers=first).status_code == 204
    assert site.anyone.get("/api/probe/echo", headers=first).status_code == 401
    assert site.anyone.post("/api/auth/logout", headers=first).status_code == 401
    assert site.anyone.get("/api/probe/echo", headers=second).status_code == 200


def test_a_wrong_password_and_an_unknown_name_are_alike(site: Any) -> None:
    """401 with the same words, so that names cannot be tried out."""
    answers = [
        site.anyone.post("/api/auth/token", json={"name": name, "password": "wrong wrong wrong"})
        for name in ("administrator", "nobody")
    ]
    assert [a.status_code for a in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["code"] == "auth.failed"


@pytest.mark.parametrize(
    "body", [{}, {"name": "x"}, {"name": "x\x00", "password": "y"}, [], {"name": 1, "password": "x"}]
)
def test_a_wrong_login_form_is_422(site: Any, body: Any) -> None:
    """The login is read as strictly as everything else."""
    answer = site.anyone.post("/api/auth/token", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "input.invalid")


def test_health_needs_no_login(site: Any) -> None:
    """Live and ready answer 200 when all is well."""
    assert site.anyone.get("/health/live").json() == {"status": "live"}
    assert site.anyone.get("/health/ready").json() == {"status": "ready"}


def test_a_database_that_is_behind_is_not_ready(make_app: Any, served_at: Any) -> None:
    """Ready compares the tables with the code: 503 with the way out."""
    app = make_app(plugins=[])
    login = app.database.url.username.removesuffix("_app_login") + "_owner_login"
    owner = sa.create_engine(app.database.url.set(username=login))
    with owner.begin() as connection:
        connection.execute(sa.text(f'SET LOCAL ROLE "{app.database.roles.owner}"'))
        connection.execute(sa.text("DELETE FROM core.alembic_version"))
    owner.dispose()
    with served_at(app) as site:
        answer = site.anyone.get("/health/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "database.behind")
        assert "imis migrate" in answer.json()["detail"]


def test_a_database_that_is_gone_is_not_ready(make_app: Any, served_at: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Live says yes, ready says 503, and commands too; no address of the database leaves the house."""
    app = make_app(plugins=[])
    with served_at(app) as site:
        app.database.dispose()
        app.database.engine = sa.create_engine(app.database.url.set(port=1, host="127.0.0.1"))
        with caplog.at_level(logging.CRITICAL):
            answers = [site.anyone.get("/health/ready"), site.client.get("/api/users/list")]
        for answer in answers:
            assert (answer.status_code, answer.json()["code"]) == (503, "database.unreachable")
            assert "127.0.0.1" not in answer.text
        assert site.anyone.get("/health/live").status_code == 200
        assert "imis_database_up 0.0" in site.anyone.get("/metrics").text


def test_metrics_count_by_route_and_status(site: Any) -> None:
    """Routes are names of ours, whatever a client asks for; what waits in the database is shown."""
    site.client.get("/api/probe/echo")
    site.client.get("/api/probe/echo?x=1")
    site.client.get("/api/made/up")
    site.client.get("/made/up/too")
    text = site.anyone.get("/metrics").text
    assert 'imis_http_requests_total{route="probe.echo",status="200"}' in text
    assert 'imis_http_requests_total{route="probe.echo",status="422"}' in text
    assert 'imis_http_request_duration_seconds_count{route="probe.echo"}' in text
    assert "made" not in text
    assert "imis_database_up 1.0" in text
    assert "imis_outbox_pending 0.0" in text
    assert "imis_payment_lines_open 0.0" in text
    assert "imis_transmissions_parked 0.0" in text
    assert "imis_jobs_waiting 0.0" in text


def test_metrics_count_commands_by_outcome(site: Any) -> None:
    """Items by what became of them, with how long commands took; connections, sessions, ages of what waits."""
    site.client.post("/api/probe/write", json=[{"code": "a"}, {"code": "b"}])
    site.client.post("/api/probe/fail", json={"code": "probe.refused"})
    site.client.post("/api/probe/fail", json={"code": "crash"})
    site.client.post("/api/probe/hold", json={"code": "a"})
    text = site.anyone.get("/metrics").text
    assert 'imis_commands_total{command="probe.write",outcome="done"} 2.0' in text
    assert 'imis_commands_total{command="probe.fail",outcome="probe.refused"} 1.0' in text
    assert 'imis_commands_total{command="probe.fail",outcome="failed"} 1.0' in text
    assert 'imis_commands_total{command="probe.hold",outcome="awaiting"} 1.0' in text
    assert 'imis_command_duration_seconds_count{command="probe.write"} 1.0' in text
    for name in ("outbox_oldest", "jobs_oldest", "audit_unsealed"):
        assert f"\nimis_{name}_seconds " in text
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures["imis_database_connections_max"]) == 15
    assert 0 <= float(figures["imis_database_connections_in_use"]) <= 15
    assert float(figures["imis_database_sessions"]) >= 1
    assert float(figures["imis_jobs_stalled"]) == 0
    assert 'imis_info{version="' in text


def test_a_request_is_logged_with_its_id(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The request's line and the command's line carry the id that the client gave and got back."""
    import io
    import json

    from imis_core import logs

    root, stream = logging.getLogger(), io.StringIO()
    level = root.level
    logs.configure("info", "json", stream)
    try:
        site.client.post("/api/probe/write", json={"code": "a"}, headers={"X-Request-Id": "abc-1"})
        site.client.get("/api/probe/echo", headers={"X-Request-Id": "abc-2"})
        site.anyone.get("/health/live")
    finally:
        logs.configure("info", "json", io.StringIO())
        root.setLevel(level)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(f["event"], f["request"]) for f in found] == [
        ("command", "abc-1"), ("request", "abc-1"), ("request", "abc-2")
    ]  # fmt: skip
    assert (found[1]["route"], found[1]["status"], found[1]["method"]) == ("probe.write", 200, "POST")


def test_every_answer_is_guarded(site: Any) -> None:
    """Security headers and no caching, on errors too; the documentation page may load only its own files."""
    for path in ("/api/probe/echo", "/nothing", "/health/live"):
        headers = site.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers
    assert "script-src 'self'" in site.client.get("/schema").headers["content-security-policy"]


def test_the_request_id_is_the_clients_if_it_is_plain(site: Any) -> None:
    """A proxy's id goes through to the answer; anything odd is replaced."""
    given = site.client.get("/health/live", headers={"X-Request-Id": "abc-123"}).headers["x-request-id"]
    odd = site.client.get("/health/live", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"]
    assert given == "abc-123"
    assert len(odd) == 16


def test_the_documentation_page_comes_from_here(site: Any) -> None:
    """Every file that the page names is served here, and none from another host."""
    page = site.anyone.get("/schema")
    assert page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("<!DOCTYPE html>", "").replace("https://", "http://").partition("<body>")[2]
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js", "favicon-32x32.png"):
        assert f"/schema/assets/{name}" in page.text
        assert site.anyone.get(f"/schema/assets/{name}").status_code == 200
    for name in ("index.html", "..%2f__init__.py", "swagger-ui.js.map"):
        assert site.anyone.get(f"/schema/assets/{name}").status_code == 404
