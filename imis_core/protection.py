"""The table `[security]` of imis.toml: how long logins last, what guessing costs, and how large a request may be.

Numbers only; what they hold for is in `security`, `users` and `web`.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Final

from attrs import frozen

from imis_core.errors import Problem


@frozen(kw_only=True)
class SecurityTable:
    """Zero switches `requests_per_minute` and `lookups_per_hour` off; everything else has a floor (`RANGES`)."""

    token_hours: int = 12
    session_hours: int = 12
    session_idle_minutes: int = 30
    secure_cookies: bool = True  # false: browsers send the session's cookie over plain HTTP as well
    password_length: int = 10  # characters, at least
    password_history: int = 3  # so many of a user's passwords are not taken again, the present one among them
    failures_per_name: int = 5  # failed logins before the first pause
    failures_per_address: int = 50
    pause_seconds: int = 30  # the first pause; each further failure doubles it
    pause_max_minutes: int = 15
    requests_per_minute: int = 20_000  # of one caller, in each web process
    lookups_per_hour: int = 2_000  # persons outside a provider's scope, by exact number
    statement_seconds: int = 300  # of one statement of a request
    lock_seconds: int = 15  # that a request waits for another one's row
    request_seconds: int = 600  # of a whole request
    body_seconds: int = 60  # until a request has arrived
    proxies: tuple[str, ...] = ("127.0.0.1", "::1")  # whose X-Forwarded-For and -Proto are believed


RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "token_hours": (1, 24 * 365),
    "session_hours": (1, 24 * 7),
    "session_idle_minutes": (1, 24 * 60),
    "password_length": (8, 200),
    "password_history": (1, 24),
    "failures_per_name": (1, 100),
    "failures_per_address": (1, 100_000),
    "pause_seconds": (1, 3600),
    "pause_max_minutes": (1, 24 * 60),
    "requests_per_minute": (0, 10_000_000),
    "lookups_per_hour": (0, 10_000_000),
    "statement_seconds": (1, 3600),
    "lock_seconds": (1, 3600),
    "request_seconds": (1, 24 * 3600),
    "body_seconds": (1, 3600),
}


def security_problems(table: Mapping[str, Any]) -> list[Problem]:
    """What the types of `[security]` cannot say: figures out of range, addresses that are none."""
    found = []
    for name, (least, most) in RANGES.items():
        value = table.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and not least <= value <= most:
            found.append(Problem(f"security.{name}", "range", f"expected a whole number from {least} to {most}"))
    proxies = table.get("proxies")
    for index, proxy in enumerate(proxies if isinstance(proxies, list) else []):
        try:
            ip_network(proxy)
        except ValueError:
            message = f"{proxy!r} is no address and no network such as 10.0.0.0/8"
            found.append(Problem(f"security.proxies.{index}", "format", message))
    return found
