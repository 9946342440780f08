"""Messages through real servers: e-mail by SMTP, SMS by HTTP, and the log; what fails, and what is never told."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from imis_core.deployment import SettingsError, settings_from
from imis_core.notifications.delivery import Deliver, deliver

SECRET = "s3cr3t-t0ken"


class Post:
    """An SMTP server's mailbox. Addresses that begin with `no` are refused for good, those with `later` for now."""

    def __init__(self) -> None:
        self.mails: list[Any] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("no"):
            return "550 unknown here"
        if address.startswith("later"):
            return "451 try again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(message_from_bytes(envelope.content, policy=default))
        return "250 taken"


class Gateway(BaseHTTPRequestHandler):
    """An SMS gateway that answers with the statuses it is told, and keeps what it got."""

    got: list[tuple[dict[str, str], bytes]]
    answers: list[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.answers.pop(0) if self.answers else 202)
        self.end_headers()
        self.wfile.write(f"the token is {SECRET}".encode())

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def smtp() -> Iterator[Any]:
    post = Post()
    post.port = free_port()  # type: ignore[attr-defined]
    controller = Controller(post, hostname="127.0.0.1", port=post.port)  # type: ignore[attr-defined]
    controller.start()
    yield post
    controller.stop()


@pytest.fixture
def sms() -> Iterator[Any]:
    handler = type("Handler", (Gateway,), {"got": [], "answers": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}/messages"  # type: ignore[attr-defined]
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def _app(make_app: Any, **notifications: Any) -> Any:
    return make_app(settings={"notifications": notifications})


def _email(post: Any, **more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "port": post.port, "security": "none", "sender": "imis@example.org", **more}


def _send(app: Any, *messages: dict[str, Any]) -> list[tuple[str, str | None]]:
    app.do_all("notifications.send", messages)
    deliver(app, Deliver())
    return [(row["status"], row["reason"]) for row in app.do("notifications.list")]


def test_an_e_mail_goes_out_by_smtp(make_app: Any, smtp: Any) -> None:
    """Sender, address, subject on one line, text in any language, and the message's id."""
    app = _app(make_app, email=_email(smtp))
    text = "Votre police prend fin.\nआफ्नो बीमा नवीकरण गर्नुहोस्।"
    assert _send(app, {"to": "a@example.org", "subject": "Fin\n de police", "text": text}) == [("sent", None)]
    [mail] = smtp.mails
    assert (mail["From"], mail["To"], mail["Subject"]) == ("imis@example.org", "a@example.org", "Fin de police")
    assert mail.get_content().replace("\r\n", "\n").rstrip() == text
    assert mail["Message-ID"] == f"<{app.do('notifications.list')[0]['id']}@example.org>"


def test_a_person_is_told_by_e_mail_where_there_is_no_telephone(make_app: Any, smtp: Any, sms: Any) -> None:
    """Telephone first, then the attribute `email`; who has neither is written to the file."""
    app = _app(make_app, email=_email(smtp), sms={"url": sms.url})
    person = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
    for number, attributes in (
        ("100000001", {"telephone": "+250 788 123 456", "email": "x@example.org"}),
        ("100000002", {"email": "y@example.org"}),
        ("100000003", {}),
    ):
        app.do("beneficiaries.register_person", {**person, "number": number, "attributes": attributes})
    _send(app, *({"person": f"10000000{i}", "text": f"m{i}"} for i in (1, 2, 3)))
    assert [json.loads(body)["to"] for _, body in sms.got] == ["+250 788 123 456"]
    assert [mail["To"] for mail in smtp.mails] == ["y@example.org"]
    lines = (app.var / "notifications" / "2021-01-01.ndjson").read_text("utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["m3"]


def test_an_address_that_is_refused_fails_alone(make_app: Any, smtp: Any) -> None:
    """Refused for good: failed at once; refused for now: queued again; the others are sent."""
    app = _app(make_app, email=_email(smtp))
    outcomes = _send(app, *({"to": f"{name}@example.org", "text": "x"} for name in ("no", "later", "a")))
    assert outcomes == [
        ("failed", "the address was refused (550)"), ("queued", "the address was refused (451)"), ("sent", None),
    ]  # fmt: skip
    assert [mail["To"] for mail in smtp.mails] == ["a@example.org"]


def test_a_server_that_does_not_answer_is_tried_again(make_app: Any, smtp: Any) -> None:
    """Nothing is lost: the message stays queued, and goes out when the server is there."""
    app = _app(make_app, email=_email(smtp))
    port, smtp.port = smtp.port, 1
    broken = _app(make_app, email=_email(smtp))
    assert _send(broken, {"to": "a@example.org", "text": "x"}) == [("queued", "ConnectionRefusedError")]
    smtp.port = port
    assert _send(app, {"to": "a@example.org", "text": "x"}) == [("sent", None)]


def test_a_password_comes_from_the_environment(make_app: Any, monkeypatch: Any, tmp_path: Any) -> None:
    """Over TLS only; without the variable nothing is sent, and neither reason nor log tells the password."""
    import ssl
    import subprocess

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    post, logins = Post(), []

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        logins.append((data.login, data.password))
        return AuthResult(success=data.password == SECRET.encode())

    port = free_port()
    controller = Controller(
        post, hostname="localhost", port=port, tls_context=context, authenticator=authenticate, auth_required=True
    )
    controller.start()
    try:
        email = {"host": "localhost", "port": port, "sender": "imis@example.org", "user": "imis"}
        app = _app(make_app, email={**email, "password_variable": "TEST_SMTP_PASSWORD"})
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        monkeypatch.delenv("TEST_SMTP_PASSWORD", raising=False)
        missing = ("queued", "the environment variable TEST_SMTP_PASSWORD is not set")
        assert _send(app, {"to": "a@example.org", "text": "x"}) == [missing]
        monkeypatch.setenv("TEST_SMTP_PASSWORD", "wrong")
        deliver(app, Deliver())
        assert app.do("notifications.list")[0]["reason"].startswith("SMTP")  # refused, or hung up after it
        monkeypatch.setenv("TEST_SMTP_PASSWORD", SECRET)
        deliver(app, Deliver())
        assert app.do("notifications.list")[0]["status"] == "sent"
        assert logins[-1] == (b"imis", SECRET.encode())
        assert {password for _, password in logins[:-1]} == {b"wrong"}
    finally:
        controller.stop()


def test_a_text_message_goes_out_by_http(make_app: Any, sms: Any, monkeypatch: Any) -> None:
    """One POST a message: its fields as the settings name them, the token in a header, the id to tell repetitions."""
    monkeypatch.setenv("TEST_SMS_TOKEN", SECRET)
    app = _app(make_app, sms={"url": sms.url, "sender": "CHF", "token_variable": "TEST_SMS_TOKEN"})
    assert _send(app, {"to": "+250788123456", "text": "Habari {to}"}) == [("sent", None)]
    [(headers, body)] = sms.got
    identity = app.do("notifications.list")[0]["id"]
    assert json.loads(body) == {"to": "+250788123456", "text": "Habari {to}", "from": "CHF", "id": identity}
    assert (headers["authorization"], headers["idempotency-key"]) == (f"Bearer {SECRET}", identity)


def test_a_gateway_may_want_a_form(make_app: Any, sms: Any) -> None:
    """Field names and form are the deployment's."""
    app = _app(make_app, sms={"url": sms.url, "format": "form", "body": {"msisdn": "{to}", "m": "CHF: {text}"}})
    _send(app, {"to": "0788 123 456", "text": "a&b=c"})
    assert parse_qs(sms.got[0][1].decode()) == {"msisdn": ["0788 123 456"], "m": ["CHF: a&b=c"]}


@pytest.mark.parametrize(("answer", "status"), [(400, "failed"), (429, "queued"), (503, "queued")])
def test_what_a_gateway_refuses(
    make_app: Any, sms: Any, monkeypatch: Any, caplog: Any, answer: int, status: str
) -> None:
    """A wrong request fails at once, what may pass is tried again; no token, text or answer in reason and log."""
    monkeypatch.setenv("TEST_SMS_TOKEN", SECRET)
    app = _app(make_app, sms={"url": sms.url, "token_variable": "TEST_SMS_TOKEN"})
    sms.answers[:] = [answer]
    with caplog.at_level(logging.INFO):
        assert _send(app, {"to": "+250788123456", "text": "private"}) == [(status, f"the gateway answered {answer}")]
        deliver(app, Deliver())
    assert app.do("notifications.list")[0]["status"] == ("failed" if status == "failed" else "sent")
    assert SECRET not in caplog.text
    assert "private" not in caplog.text


def test_the_log_takes_what_no_gateway_does(make_app: Any, caplog: Any) -> None:
    """With `fallback = "log"`: a line for each message, without its text."""
    app = _app(make_app, fallback="log")
    with caplog.at_level(logging.INFO, logger="imis_core.notifications.gateways"):
        assert _send(app, {"to": "desk", "text": "private"}) == [("sent", None)]
    assert "for desk" in caplog.text
    assert "private" not in caplog.text
    assert not (app.var / "notifications").exists()


@pytest.mark.parametrize(
    ("table", "path", "reason"),
    [
        ({"email": {"host": "h"}}, "notifications.email.sender", "required"),
        ({"email": {"host": "h", "sender": "x"}}, "notifications.email.sender", "format"),
        ({"email": {"host": "h", "sender": "a@b", "port": 0}}, "notifications.email.port", "range"),
        ({"email": {"host": "h", "sender": "a@b", "user": "u"}}, "notifications.email.user", "required"),
        ({"email": {"host": "h", "sender": "a@b", "user": "u", "password_variable": "P", "security": "none"}},
         "notifications.email.security", "clear"),
        ({"sms": {"url": "ftp://h"}}, "notifications.sms.url", "format"),
        ({"sms": {"url": "https://u:p@h/"}}, "notifications.sms.url", "format"),
        ({"sms": {"url": "https://h/", "body": {"x": "{y}"}}}, "notifications.sms.body.x", "format"),
        ({"fallback": "mail"}, "notifications.fallback", "choice"),
        ({"password": "x"}, "notifications.password", "unknown"),
    ],
)  # fmt: skip
def test_wrong_settings_are_told_with_their_path(table: dict[str, Any], path: str, reason: str) -> None:
    """Addresses, ports, a password in the clear, unknown words: refused when the deployment is read."""
    data = {"deployment": {"name": "x", "country": "XX", "currency": "USD"}, "notifications": table}
    with pytest.raises(SettingsError) as error:
        settings_from(data, "imis.toml")
    assert [(p.path, p.reason) for p in error.value.refusal.problems] == [(path, reason)]
