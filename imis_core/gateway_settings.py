"""The tables `[payment_gateways.CODE]` of `imis.toml`: how a provider's service is reached, within which limits.

Only the form; what travels there is in the room `payments`. Secrets stay outside the file: it names environment
variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen

from imis_core.errors import Problem
from imis_core.limit_settings import AMOUNTS, amount_problems
from imis_core.values import Amount

CALLBACKS: Final = "/payments/callbacks"  # below the deployment's address; the provider's code follows
CALLBACK_MAX: Final = 100  # characters of the header X-Callback-URL (GovStack, Batch Transaction Handover API)
SECRET_MIN: Final = 16  # characters of the secret that signs callbacks
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_HEADER_MAX: Final = 20  # characters of Platform-TenantId and X-Registering-Institution-Id (the same specification)


@frozen(kw_only=True)
class GatewayTable:
    """A provider's service over HTTP; the table's name is the provider's code.

    `url`: where its API begins. `tenant`, `institution`, `debit_account`: what the provider calls us and the account
    that it pays from. `token_variable`, `secret_variable`: the environment variables with the token that we show it and
    with the secret that signs its callbacks (none: its callbacks are refused, and it is asked instead).
    `callback_url`: this deployment's address as the provider sees it. `party_key`, `payment_mode`: how it names what a
    recipient's account is and how it pays. Amounts are in the deployment's currency and hold for orders of it.
    `voucher_days`: how many days after the day on which it was made a voucher is good; absent: until it is redeemed.
    `voucher_messages`: whether the holder of a voucher is sent a message with its number.
    """

    url: str
    tenant: str
    institution: str = ""
    debit_account: str
    callback_url: str
    party_key: str = "MSISDN"
    payment_mode: str = "mobile money"
    token_variable: str | None = None
    secret_variable: str | None = None
    timeout_seconds: int = 30
    orders_per_transmission: int = 10_000
    transmissions_at_once: int = 2
    requests_per_minute: int = 600
    rows_per_page: int = 1000
    order_amount_max: Amount | None = None
    day_amount_max: Amount | None = None
    failures_max: int = 5
    pause_seconds: int = 30
    ask_after_seconds: int = 60
    voucher_days: int | None = None
    voucher_messages: bool = False


_RANGES: Final = {
    "timeout_seconds": (1, 300),
    "orders_per_transmission": (1, 100_000),
    "transmissions_at_once": (1, 100),
    "requests_per_minute": (1, 100_000),
    "rows_per_page": (1, 10_000),
    "failures_max": (1, 1000),
    "pause_seconds": (1, 3600),
    "ask_after_seconds": (1, 86_400),
    "voucher_days": (1, 3650),
}


def gateway_problems(tables: Mapping[str, Any], currency: object) -> list[Problem]:
    """What types cannot say: addresses, names of variables, lengths, ranges, and amounts in the currency."""
    found = []
    for code, table in tables.items():
        if not isinstance(table, Mapping):
            continue  # told by its type
        path = f"payment_gateways.{code}"
        for name in ("url", "callback_url"):
            url = table.get(name)
            if isinstance(url, str) and not _is_url(url):
                message = "expected https://host/path (http only on this machine), without user, password and query"
                found.append(Problem(f"{path}.{name}", "format", message))
        callback = table.get("callback_url")
        if isinstance(callback, str) and len(callback.rstrip("/") + f"{CALLBACKS}/{code}") > CALLBACK_MAX:
            message = f"with {CALLBACKS}/{code} behind it, it has more than {CALLBACK_MAX} characters"
            found.append(Problem(f"{path}.callback_url", "too_long", message))
        for name in ("token_variable", "secret_variable"):
            variable = table.get(name)
            if isinstance(variable, str) and not _VARIABLE.match(variable):
                found.append(Problem(f"{path}.{name}", "format", "expected the name of an environment variable"))
        for name in ("tenant", "institution"):
            text = table.get(name)
            fits = isinstance(text, str) and text.isascii() and text.isprintable()
            if isinstance(text, str) and (not fits or not (name == "institution" or text) or len(text) > _HEADER_MAX):
                message = f"expected 1 to {_HEADER_MAX} plain characters"
                found.append(Problem(f"{path}.{name}", "format", message))
        for name, (low, high) in _RANGES.items():
            value = table.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and not low <= value <= high:
                found.append(Problem(f"{path}.{name}", "range", f"expected {low} to {high}, found {value}"))
        for name in AMOUNTS:
            found += amount_problems(f"{path}.{name}", table.get(name), currency)
    return found


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = parts.username is None and not parts.query and not parts.fragment
    # A token, accounts and names travel there: in the clear only where nobody is on the way.
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    safe = parts.scheme == "https" or (parts.scheme == "http" and here)
    return safe and bool(parts.hostname) and plain and port_fits
