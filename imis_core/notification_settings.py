"""The tables of `[notifications]` in `imis.toml`: through which gateways messages leave. Secrets stay outside the file.

Only the form; the gateways themselves are in the room `notifications`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from attrs import field, frozen

from imis_core.errors import Problem

TEXT_FIELDS: Final = ("to", "text", "sender", "id")  # what the body of a gateway's request may say


@frozen(kw_only=True)
class EmailTable:
    """An SMTP server. `password_variable`: the environment variable that has the password of `user`."""

    host: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: str
    user: str | None = None
    password_variable: str | None = None
    timeout_seconds: int = 15


@frozen(kw_only=True)
class SmsTable:
    """An SMS gateway over HTTP: one POST a message.

    `body`: its fields, with `{to}`, `{text}`, `{sender}` and `{id}` filled in. `token_variable`: the environment
    variable with the token, sent in the header `authorization` after the word `scheme` (none: the token alone).
    """

    url: str
    sender: str = ""
    format: Literal["json", "form"] = "json"
    body: dict[str, str] = field(factory=lambda: {"to": "{to}", "text": "{text}", "from": "{sender}", "id": "{id}"})
    token_variable: str | None = None
    authorization: str = "Authorization"
    scheme: str = "Bearer"
    timeout_seconds: int = 15


@frozen(kw_only=True)
class NotificationsTable:
    """`fallback`: what no gateway takes goes to a file of the day under var, or to the log."""

    fallback: Literal["file", "log"] = "file"
    email: EmailTable | None = None
    sms: SmsTable | None = None


def notification_problems(table: Mapping[str, Any]) -> list[Problem]:
    """What types cannot say: addresses, ports, names of fields."""
    found = []
    email, sms = table.get("email"), table.get("sms")
    if isinstance(email, Mapping):
        sender = email.get("sender")
        if isinstance(sender, str) and ("@" not in sender or not sender.isprintable()):
            found.append(
                Problem("notifications.email.sender", "format", "expected an address such as imis@example.org")
            )
        found += _range("notifications.email.port", email.get("port"), 1, 65_535)
        found += _range("notifications.email.timeout_seconds", email.get("timeout_seconds"), 1, 300)
        if (email.get("user") is None) != (email.get("password_variable") is None):
            message = "user and password_variable go together"
            found.append(Problem("notifications.email.user", "required", message))
        if email.get("user") is not None and email.get("security") == "none":
            message = 'a password is never sent in the clear; use security = "starttls" or "tls"'
            found.append(Problem("notifications.email.security", "clear", message))
    if isinstance(sms, Mapping):
        url = sms.get("url")
        if isinstance(url, str) and not _is_url(url):
            found.append(
                Problem("notifications.sms.url", "format", "expected https://host/path, without user and password")
            )
        found += _range("notifications.sms.timeout_seconds", sms.get("timeout_seconds"), 1, 300)
        body = sms.get("body")
        for name, text in body.items() if isinstance(body, Mapping) else ():
            if isinstance(text, str) and not _fits(text):
                message = "expected text with {to}, {text}, {sender} or {id}"
                found.append(Problem(f"notifications.sms.body.{name}", "format", message))
    return found


def _range(path: str, value: object, low: int, high: int) -> list[Problem]:
    if isinstance(value, int) and not isinstance(value, bool) and not low <= value <= high:
        return [Problem(path, "range", f"expected {low} to {high}, found {value}")]
    return []


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False


def _fits(text: str) -> bool:
    try:
        text.format_map(dict.fromkeys(TEXT_FIELDS, ""))
    except (KeyError, ValueError, IndexError, AttributeError):
        return False
    return True
