"""Statuses, problem documents and bodies, over real HTTP."""

from __future__ import annotations

import json
import logging
from typing import Any

import httpx
import pytest


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, checked in its form; no trace of the inside in it."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"] == f"urn:imis:error:{code}"
    assert document["title"]
    assert document["detail"]
    assert "\n" not in document["detail"]
    for trace in ("Traceback", 'File "', "psycopg", "sqlalchemy", "postgresql"):
        assert trace not in answer.text
    return document


def test_a_command_answers_its_result(site: Any) -> None:
    """One object gives 200 and the result."""
    answer = site.client.post("/api/probe/write", json={"code": "A", "amount": "1.50"})
    assert (answer.status_code, answer.json()) == (200, {"code": "A", "amount": "1.50"})


def test_no_token_is_401(site: Any) -> None:
    """Without a token: 401 with a challenge, before anything else is said, for unknown names too."""
    for path in ("/api/probe/write", "/api/probe/nothing"):
        answer = site.anyone.post(path, json={})
        problem(answer, 401, "auth.required")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer " + "x" * 500, "Bearer \xff\xfe"])
def test_a_bad_token_is_401(site: Any, header: str) -> None:
    """A token that is unknown, far too long or not ASCII is refused alike."""
    answer = site.anyone.get("/api/probe/echo", headers={"Authorization": header.encode("latin-1")})
    problem(answer, 401, "auth.invalid_token")
    assert "invalid_token" in answer.headers["www-authenticate"]


def test_a_missing_permission_is_403(site: Any) -> None:
    """The answer names the permission that is missing, for commands and queries."""
    clerk = site.login("clara", "clerk")
    assert (
        "probe.fail" in problem(clerk.post("/api/probe/fail", json={"code": "x"}), 403, "permission.denied")["detail"]
    )
    problem(clerk.get("/api/probe/echo"), 403, "permission.denied")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("not_found", 404),
        ("input.invalid", 422),
        ("benefit_packages.invalid_terms", 422),
        ("claims.duplicate_code", 409),
        ("payroll.same_person", 409),
        ("permission.denied", 403),
    ],
)
def test_a_refusal_has_its_status(site: Any, code: str, status: int) -> None:
    """404, 422, 403 for their codes, 409 for every other refusal (contract.md, REST)."""
    problem(site.client.post("/api/probe/fail", json={"code": code}), status, code)


def test_an_unknown_command_is_404_with_a_suggestion(site: Any) -> None:
    """A near miss is told."""
    assert "probe.write" in problem(site.client.post("/api/probe/wrote", json={}), 404, "not_found")["detail"]
    problem(site.client.get("/api/probe/eho"), 404, "not_found")


@pytest.mark.parametrize("path", ["/nothing", "/api", "/api/x", "/api/a/b/c", "/api/auth/x"])
def test_an_unknown_address_is_404(site: Any, path: str) -> None:
    """Also addresses outside the API answer with problem documents."""
    problem(site.client.get(path), 404, "not_found")


def test_a_wrong_method_is_405(site: Any) -> None:
    """A command is not asked for, a query is not sent, nothing is deleted; `Allow` tells what is."""
    for method, path, allowed in (
        ("GET", "/api/probe/write", "POST"), ("POST", "/api/probe/echo", "GET"), ("DELETE", "/api/probe/write", "POST"),
    ):  # fmt: skip
        answer = site.client.request(method, path)
        problem(answer, 405, "http.method_not_allowed")
        assert allowed in answer.headers["allow"]


def test_an_unknown_format_is_406(site: Any) -> None:
    """What is not offered is refused before anything is done."""
    headers = {"Accept": "image/png"}
    problem(site.client.post("/api/probe/write", json={"code": "A"}, headers=headers), 406, "http.not_acceptable")
    problem(site.client.get("/api/probe/rows", headers=headers), 406, "http.not_acceptable")
    problem(site.client.get("/api/probe/echo", headers={"Accept": "text/csv"}), 406, "http.not_acceptable")


def test_an_outage_is_503(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What is away comes back: 503 with `Retry-After`; a connection that broke in the middle is that too."""
    answer = site.client.post("/api/probe/fail", json={"code": "away"})
    problem(answer, 503, "probe.away")
    assert answer.headers["retry-after"]
    with caplog.at_level(logging.CRITICAL):
        problem(site.client.post("/api/probe/fail", json={"code": "lost"}), 503, "database.unreachable")
    assert site.client.post("/api/probe/write", json={"code": "A"}).status_code == 200


def test_a_failure_is_500_and_keeps_its_traceback(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets a request id, the log the traceback under the same id."""
    answer = site.client.post("/api/probe/fail", json={"code": "crash"})
    document = problem(answer, 500, "internal")
    assert "inside" not in answer.text
    assert document["request"] == answer.headers["x-request-id"]
    record = next(r for r in caplog.records if document["request"] in r.getMessage())
    assert record.exc_info is not None
    assert "the inside of the machine" in str(record.exc_info[1])


@pytest.mark.parametrize(
    ("body", "reason", "says"),
    [
        (b"", "json", "empty"),
        (b"{", "json", "1 bytes"),
        (b'{"code": }', "json", "byte 9"),
        (b'{"code": "A"} x', "json", "trailing"),
        (b'{"code": NaN}', "json", "byte 9"),
        (b'{"code": "\xff"}', "json", "byte 10"),
        (b'{"code": "\\ud800"}', "json", "\\u escapes"),
        (b'{"code": "a\x00b"}', "json", "byte 11"),
        ('{"code": "é"}'.encode("utf-16"), "json", "UTF-8"),
        (b"[" * 100_000, "depth", "64"),
        (b'{"code": ' + b"[" * 200 + b"]" * 200 + b"}", "depth", "64"),
        (b'"text"', "type", "object"),
        (b"null", "type", "object"),
        (b'{"code": ' + b"9" * 5000 + b"}", "json", ""),
    ],
)  # fmt: skip
def test_a_body_that_is_no_json_is_422(site: Any, body: bytes, reason: str, says: str) -> None:
    """Bad JSON is `input.invalid` with the position."""
    answer = site.client.post("/api/probe/write", content=body, headers={"Content-Type": "application/json"})
    error = problem(answer, 422, "input.invalid")["errors"][0]
    assert error["reason"] == reason
    assert says in error["message"]


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        ({"code": "A", "amount": 1.5}, "amount", "float"),
        ({"code": "A", "amount": 1.0}, "amount", "float"),
        ({"code": "A", "amount": "-1"}, "amount", "negative"),
        ({"code": "A", "amount": True}, "amount", "type"),
        ({"code": "A\x00"}, "code", "nul"),
        ({"code": "x" * 1_000_000}, "code", "too_long"),
        ({"code": 7}, "code", "type"),
        ({"code": "A", "amuont": "1"}, "amuont", "unknown"),
        ({}, "code", "required"),
    ],
)
def test_a_wrong_field_is_422_with_its_path(site: Any, data: dict[str, Any], path: str, reason: str) -> None:
    """Floats, NUL, overlong text, unknown and missing fields are named with their paths."""
    error = problem(site.client.post("/api/probe/write", json=data), 422, "input.invalid")["errors"][0]
    assert (error["path"], error["reason"]) == (path, reason)


def test_a_number_beyond_all_bounds_is_refused(site: Any) -> None:
    """A whole number that no amount holds is the field's error, not a failure."""
    body = b'{"code": "A", "amount": ' + b"9" * 40 + b"}"
    assert (
        problem(site.client.post("/api/probe/write", content=body), 422, "input.invalid")["errors"][0]["path"]
        == "amount"
    )


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_another_media_type_is_415(site: Any, content_type: str) -> None:
    """Only JSON in UTF-8 is read."""
    answer = site.client.post("/api/probe/write", content=b'{"code": "A"}', headers={"Content-Type": content_type})
    problem(answer, 415, "http.unsupported_media_type")


def test_a_huge_body_is_413(site: Any) -> None:
    """More than 20 MB is refused, announced or not; the door works on."""
    too_much = json.dumps({"code": "x" * (21 * 1024 * 1024)}).encode()
    problem(site.client.post("/api/probe/write", content=too_much), 413, "http.too_large")
    parts = (too_much[i : i + 65536] for i in range(0, len(too_much), 65536))
    problem(site.client.post("/api/probe/write", content=parts), 413, "http.too_large")
    assert site.client.post("/api/probe/write", json={"code": "A"}).status_code == 200


def test_a_parameter_that_a_command_does_not_take_is_422(site: Any) -> None:
    """Fields belong into the body; `atomic` is true or false."""
    for wrong in ("code=A", "atomic=1", "atomic=true&atomic=true", "atmic=true"):
        problem(site.client.post(f"/api/probe/write?{wrong}", json={"code": "A"}), 422, "input.invalid")


def test_the_body_of_a_request_without_permission_is_not_read(site: Any) -> None:
    """403 comes before 422."""
    problem(site.login("clara", "clerk").post("/api/probe/fail", content=b"{"), 403, "permission.denied")
