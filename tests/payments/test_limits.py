"""Limits of payment providers without a service: an order, a day, a file; what is beyond them waits for another day."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.beneficiaries.tables import persons
from imis_core.deployment import SettingsError, settings_from
from imis_core.limit_settings import LimitsTable
from imis_core.payments.orders import place_orders_from
from imis_core.testing.app import TestApp
from imis_core.values import Amount
from tests.payments.debts import Debts

CHANNELS = ("cash_list", "bank_file")


def owed(make_app: Any, channel: str, count: int, **limits: Any) -> Debts:
    """`count` persons who are owed 1200.00 each through the provider POST."""
    app: TestApp = make_app(settings={"payment_limits": {"POST": limits}})
    numbers = [f"P{i}" for i in range(1, count + 1)]
    debts = Debts(app, numbers)
    app.do("payments.register_provider", {"code": "POST", "name": "Post office", "channel": channel})
    app.do_all("payments.enrol_recipient", [{"number": n, "provider": "POST", "account": f"0{n}"} for n in numbers])
    debts.order()
    return debts


def submit(debts: Debts) -> tuple[int, int]:
    answer = debts.app.do("payments.submit", {"payroll": "B7"})
    return answer["submitted"], answer["failed"]


def waiting(debts: Debts) -> list[str]:
    return [order["reason"] for order in debts.orders() if order["status"] == "approved"]


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_is_too_much_for_a_day_goes_on_a_later_one(make_app: Any, channel: str) -> None:
    """Orders go in the order in which they were made as long as the day's amount holds; the others say why not."""
    debts = owed(make_app, channel, 5, day_amount_max="2500")
    assert submit(debts) == (2, 3)
    assert waiting(debts) == ["above_day_limit"] * 3
    assert submit(debts) == (0, 3)
    debts.app.clock.set(debts.app.clock.today() + timedelta(days=1))
    assert submit(debts) == (2, 1)
    debts.app.clock.set(debts.app.clock.today() + timedelta(days=1))
    assert submit(debts) == (1, 0)


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_large_order_stays(make_app: Any, channel: str) -> None:
    """An order above the limit stays approved; the limit raised, it goes."""
    debts = owed(make_app, channel, 2, order_amount_max="1199.99")
    assert submit(debts) == (0, 2)
    assert waiting(debts) == ["above_limit"] * 2
    debts.app.settings.payment_limits.clear()
    assert submit(debts) == (2, 0)


def test_a_limit_knows_what_went_before_it_was_set(make_app: Any) -> None:
    """What goes out is counted for every provider: a limit of this afternoon counts what went this morning."""
    debts = owed(make_app, "cash_list", 2)
    debts.app.settings.payment_limits.clear()
    assert submit(debts) == (2, 0)
    debts.batch = 8
    debts.order()
    debts.app.settings.payment_limits["POST"] = LimitsTable(day_amount_max=Amount(Decimal(3600)))
    assert submit(debts) == (1, 1)


def test_two_batches_at_once_keep_the_day(make_app: Any) -> None:
    """Who submits second sees what the first one sent: together they do not pass the day's amount."""
    debts = owed(make_app, "cash_list", 4, day_amount_max="3600")
    with ThreadPoolExecutor(2) as pool:
        sent = [future.result()[0] for future in [pool.submit(submit, debts) for _ in range(2)]]
    assert sum(sent) == 3
    days = debts.app.rows("SELECT currency, amount_minor FROM core.payment_days")
    assert [tuple(row.values()) for row in days] == [("USD", 360000)]


def test_files_hold_so_many_orders(make_app: Any) -> None:
    """A provider's `orders_per_file` cuts cash lists and bank files; whoever asks for less gets less."""
    cash = owed(make_app, "cash_list", 5, orders_per_file=2)
    submit(cash)
    lists = cash.app.do("payments.cash_lists", {"payroll": "B7"})["files"]
    assert [(one["part"], one["parts"], one["orders"]) for one in lists] == [(1, 3, 2), (2, 3, 2), (3, 3, 1)]
    bank = owed(make_app, "bank_file", 5, orders_per_file=2)
    submit(bank)
    bank.app.do("payments.set_bank", {"provider": "POST", "debtor": "Agency", "account": "0012345"})
    files = bank.app.do("payments.bank_files", {"payroll": "B7"})["files"]
    assert [file["orders"] for file in files] == [2, 2, 1]


@pytest.mark.parametrize(
    ("limits", "where"),
    [
        ({"order_amount_max": "1.005"}, ("POST.order_amount_max", "decimals")),
        ({"day_amount_max": -1}, ("POST.day_amount_max", "range")),
        ({"orders_per_file": 0}, ("POST.orders_per_file", "range")),
        ({"orders": 5}, ("POST.orders", "unknown")),
        ({"day_amount_max": 5}, ("POST.day_amount_max", "twice")),
    ],
)
def test_a_wrong_limit_is_told(limits: dict[str, Any], where: tuple[str, str]) -> None:
    """Each mistake with its path, also a limit that the provider's service has in its own table."""
    gateway = {
        "url": "https://x.example.org", "tenant": "t", "debit_account": "1", "callback_url": "https://y.example.org",
    }  # fmt: skip
    tables = {
        "deployment": {"name": "x", "country": "XX", "currency": "USD"},
        "payment_limits": {"POST": limits},
        "payment_gateways": {"POST": {**gateway, "day_amount_max": 7}},
    }
    with pytest.raises(SettingsError) as caught:
        settings_from(tables, "imis.toml")
    told = {(p.path.removeprefix("payment_limits."), p.reason) for p in caught.value.refusal.problems}
    assert where in told


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 400), min_size=1, max_size=8), st.integers(0, 300), st.integers(0, 600))
def test_any_amounts_any_limits(limited: Debts, amounts: list[int], most: int, day: int) -> None:
    """Day by day against a plain sum: an order too large (for itself, or for a whole day) never counts; one that
    does not fit any more ends the day for those behind it."""
    app = limited.app
    app.settings.payment_limits["POST"] = LimitsTable(
        order_amount_max=Amount(Decimal(most)), day_amount_max=Amount(Decimal(day))
    )
    limited.batch += 1
    numbers = [row["id"] for row in app.rows("SELECT id FROM core.persons ORDER BY id LIMIT :n", n=len(amounts))]
    owed_to = sa.case(dict(zip(numbers, [a * 100 for a in amounts], strict=True)), value=persons.c.id)
    wanted = sa.select(
        persons.c.id.label("entitlement"), persons.c.id.label("person"),
        sa.cast(sa.null(), sa.BigInteger).label("provider"), sa.cast(owed_to, sa.BigInteger).label("amount_minor"),
    ).where(persons.c.id.in_(numbers))  # fmt: skip
    with limited.inside() as context:
        place_orders_from(context, "chf", "payroll", limited.batch, wanted)
    left = list(amounts)
    for _ in range(3):
        app.clock.set(app.clock.today() + timedelta(days=1))
        sent, total, stays = 0, 0, []
        for amount in left:
            fits = amount <= min(most, day)
            total += amount if fits else 0
            if fits and total <= day:
                sent += 1
            else:
                stays.append(amount)
        assert submit(limited) == (sent, len(stays))
        left = stays


@pytest.fixture
def limited(make_app: Any) -> Debts:
    return owed(make_app, "cash_list", 8)
