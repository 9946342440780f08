"""The kernel's gateways: e-mail by SMTP, SMS by HTTP, and the log. Settings: `[notifications]` of `imis.toml`.

A message carries its id (Message-ID, Idempotency-Key), so that a gateway can tell that it gets it again. What is told
of a failure names neither tokens nor passwords nor what the gateway answered.
"""

from __future__ import annotations

import logging
import os
import re
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from typing import TYPE_CHECKING, Final

import httpx

from imis_core.notification_settings import EmailTable, SmsTable
from imis_core.notifications.notifiers import FILE, Notifier, Outcome, Outgoing

if TYPE_CHECKING:
    from imis_core.application import Application

_log = logging.getLogger(__name__)
_TELEPHONE: Final = re.compile(r"\+?[0-9](?:[ ./()-]?[0-9]){5,18}\Z")
_TRY_AGAIN: Final = (408, 425, 429)  # of the statuses that otherwise say that the request is wrong


class _NoSecret(Exception):
    """The environment variable that the settings name is not set."""


def _secret(variable: str | None) -> str | None:
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise _NoSecret(f"the environment variable {variable} is not set")
    return value


def _failed(error: Exception) -> str:
    """What went wrong, without what a server or a library may have put into its message."""
    if isinstance(error, _NoSecret):
        return str(error)
    code = getattr(error, "smtp_code", None)
    return f"{type(error).__name__}{f' ({code})' if isinstance(code, int) else ''}"


# --- e-mail


def _email_address(message: Outgoing) -> str | None:
    """The address for e-mail: the one that was given, else the person's."""
    return message.to if "@" in message.to else message.email


def _send_emails(app: Application, messages: Sequence[Outgoing]) -> list[Outcome]:
    """All messages over one connection; a recipient who is refused for good fails alone."""
    settings = app.settings.notifications.email
    assert settings is not None
    outcomes: list[Outcome] = []
    try:
        with _connection(settings) as server:
            for message in messages:
                outcomes.append(_send_email(server, settings, message))
    except (OSError, smtplib.SMTPException, _NoSecret) as error:
        # What was sent stays sent; the rest is tried again.
        outcomes += [Outcome(False, _failed(error))] * (len(messages) - len(outcomes))
    return outcomes


@contextmanager
def _connection(settings: EmailTable) -> Iterator[smtplib.SMTP]:
    password = _secret(settings.password_variable)
    context = ssl.create_default_context()
    server: smtplib.SMTP
    if settings.security == "tls":
        server = smtplib.SMTP_SSL(settings.host, settings.port, timeout=settings.timeout_seconds, context=context)
    else:
        server = smtplib.SMTP(settings.host, settings.port, timeout=settings.timeout_seconds)
    with server:
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.user is not None and password is not None:
            server.login(settings.user, password)
        yield server


def _send_email(server: smtplib.SMTP, settings: EmailTable, message: Outgoing) -> Outcome:
    try:
        server.send_message(_as_email(settings, message))
    except ValueError:
        return Outcome(False, "the address cannot be written into a message", final=True)
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        return Outcome(False, f"the address was refused ({code})", final=500 <= code < 600)
    except smtplib.SMTPServerDisconnected:
        raise
    except smtplib.SMTPResponseException as error:
        server.rset()
        return Outcome(False, f"the message was refused ({error.smtp_code})", final=500 <= error.smtp_code < 600)
    return Outcome(True)


def _as_email(settings: EmailTable, message: Outgoing) -> EmailMessage:
    email = EmailMessage()
    email["From"] = settings.sender
    email["To"] = _email_address(message)
    email["Subject"] = " ".join((message.subject or message.text).split())[:200]
    email["Message-ID"] = f"<{message.id}@{settings.sender.rpartition('@')[2].rstrip('>')}>"
    email.set_content(message.text)
    return email


# --- SMS


def _send_sms(app: Application, messages: Sequence[Outgoing]) -> list[Outcome]:
    """One request a message, over connections that are kept."""
    settings = app.settings.notifications.sms
    assert settings is not None
    try:
        token = _secret(settings.token_variable)
    except _NoSecret as error:
        return [Outcome(False, str(error))] * len(messages)
    headers = {} if token is None else {settings.authorization: f"{settings.scheme} {token}".strip()}
    with httpx.Client(headers=headers, timeout=settings.timeout_seconds) as client:
        return [_post(client, settings, message) for message in messages]


def _post(client: httpx.Client, settings: SmsTable, message: Outgoing) -> Outcome:
    values = {"to": message.to, "text": message.text, "sender": settings.sender, "id": message.id}
    body = {name: text.format_map(values) for name, text in settings.body.items()}
    headers = {"Idempotency-Key": message.id}
    try:
        if settings.format == "json":
            answer = client.post(settings.url, json=body, headers=headers)
        else:
            answer = client.post(settings.url, data=body, headers=headers)
    except httpx.HTTPError as error:
        return Outcome(False, _failed(error))
    if answer.is_success:
        return Outcome(True)
    final = 400 <= answer.status_code < 500 and answer.status_code not in _TRY_AGAIN
    return Outcome(False, f"the gateway answered {answer.status_code}", final=final)


# --- the log


def _write_log(app: Application, messages: Sequence[Outgoing]) -> list[Outcome]:
    """A line of the log for each message: that it left, and for whom; its text is personal and stays out."""
    for message in messages:
        _log.info("message %s about %s for %s", message.id, message.about or "-", message.person or message.to)
    return [Outcome(True)] * len(messages)


def _is_telephone(message: Outgoing) -> bool:
    """A person without a telephone is named by number: that is none."""
    return message.to != message.person and _TELEPHONE.match(message.to) is not None


def _has_email(message: Outgoing) -> bool:
    return _email_address(message) is not None


def _sms_ready(app: Application) -> bool:
    return app.settings.notifications.sms is not None


def _email_ready(app: Application) -> bool:
    return app.settings.notifications.email is not None


def _log_ready(app: Application) -> bool:
    return app.settings.notifications.fallback == "log"


SMS: Final = Notifier("sms", _send_sms, _is_telephone, _sms_ready, leaves=True)
EMAIL: Final = Notifier("email", _send_emails, _has_email, _email_ready, rank=1, leaves=True)
LOG: Final = Notifier("log", _write_log, ready=_log_ready, rank=8)
KERNEL_NOTIFIERS: Final = (SMS, EMAIL, LOG, FILE)
