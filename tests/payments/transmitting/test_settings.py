"""The tables `[payment_gateways.CODE]`: each mistake is told with its path before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.deployment import SettingsError, settings_from

RIGHT = {
    "url": "https://payments.example.org/v1", "tenant": "agency", "debit_account": "1",
    "callback_url": "https://imis.example.org",
}  # fmt: skip


def problems(**changed: Any) -> set[tuple[str, str]]:
    table = {**RIGHT, **changed}
    tables = {
        "deployment": {"name": "x", "country": "XX", "currency": "USD"},
        "payment_gateways": {"MM": {name: value for name, value in table.items() if value is not None}},
    }
    try:
        settings_from(tables, "imis.toml")
    except SettingsError as error:
        return {(p.path.removeprefix("payment_gateways.MM."), p.reason) for p in error.refusal.problems}
    return set()


def test_a_right_table_is_read() -> None:
    """With nothing but what it needs, and with all that it may say."""
    assert problems() == set()
    assert problems(institution="a", token_variable="T", order_amount_max="10.50", day_amount_max=1000) == set()
    assert problems(url="http://127.0.0.1:8080", callback_url="http://localhost:1") == set()


@pytest.mark.parametrize("field", ["url", "tenant", "debit_account", "callback_url"])
def test_what_every_request_needs_is_required(field: str) -> None:
    """The provider refuses requests without it."""
    assert (field, "required") in problems(**{field: None})


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("url", "payments.example.org", "format"), ("url", "ftp://x", "format"), ("url", "https://u:p@host/", "format"),
        ("url", "https://host/?token=1", "format"), ("url", "https://host:port", "format"),
        ("url", "http://payments.example.org", "format"), ("url", "http://127.0.0.1.example.org", "format"),
        ("callback_url", "http://imis.example.org", "format"),
        ("callback_url", "https://" + "x" * 90, "too_long"), ("tenant", "x" * 21, "format"), ("tenant", "", "format"),
        ("tenant", "a\nb", "format"), ("institution", "é", "format"), ("token_variable", "a secret itself", "format"),
        ("secret_variable", "s=1", "format"), ("timeout_seconds", 0, "range"), ("orders_per_transmission", 0, "range"),
        ("orders_per_transmission", 100_001, "range"), ("rows_per_page", 10_001, "range"),
        ("order_amount_max", "10.505", "decimals"), ("day_amount_max", "-1", "range"), ("colour", "red", "unknown"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told(field: str, value: Any, reason: str) -> None:
    """Where, and why."""
    assert (field, reason) in problems(**{field: value})
