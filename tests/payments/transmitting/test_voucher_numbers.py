"""What redeems a voucher: told by the provider once, kept encrypted, given to its holder, and gone when it is over."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from attrs import evolve
from litestar.testing import TestClient

from imis_core import rooms_tables
from imis_core.database.personal import is_emptied
from imis_core.errors import ImisError
from imis_core.payments.transmitting import handing_out, vouchers
from imis_core.payments.transmitting.gateways import reached
from imis_core.payments.transmitting.service import VoucherNumber
from imis_core.payments.transmitting.voucher_numbers import keep_numbers
from imis_core.provider_simulator.process import Running, simulator
from imis_core.web.server import make_asgi
from tests.payments.transmitting.office import PATIENCE_SECONDS, Office

SECRET = "between-the-two-of-us"


class _Handler(BaseHTTPRequestHandler):
    take: Callable[[str, dict[str, str], bytes], int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = type(self).take(self.path, dict(self.headers), body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@contextmanager
def listening(take: Callable[[str, dict[str, str], bytes], int]) -> Iterator[str]:
    """A server that hands what is posted to it to `take`, which gives the status; its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"take": staticmethod(take)}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Running]:
    with simulator(tmp_path / "books", environment={"IMIS_SIMULATOR_SECRET": SECRET}) as running:
        running.behave(unredeemed=1.0)
        yield running


class Handed(Office):
    """An office that its provider calls back; `outcomes` are the statuses that its calls had."""

    def __init__(self, make_app: Any, provider: Running, count: int, **more: Any) -> None:
        self.outcomes: list[int] = []
        self.provider = provider
        now = datetime.now(UTC)  # calls are signed with the machine's time
        super().__init__(make_app, provider, count, now=now, secret_variable="TEST_VE_SECRET", **more)

    def listed(self, **asked: Any) -> Any:
        return self.app.do("payments.vouchers", {"payroll": "B7", **asked})

    def kept(self) -> int:
        return len(self.app.rows("SELECT 1 FROM core.voucher_numbers"))

    def redeem(self, voucher: Any) -> int:
        """As its holder does, at somebody's counter."""
        asked = {
            "requestID": "Q1", "voucherSerialNumber": voucher["serial"], "agentID": "SHOP",
            "voucherSecretNumber": voucher["number"],
        }  # fmt: skip
        return int(httpx.post(f"{self.provider.url}/vouchers?command=redeem", json=asked).json()["status"])


@contextmanager
def office_of(make_app: Any, provider: Running, count: int = 3, **more: Any) -> Iterator[Handed]:
    """An office whose vouchers were made, and whose provider has told their numbers over HTTP."""
    clients: list[TestClient[Any]] = []

    def take(path: str, headers: dict[str, str], body: bytes) -> int:
        status = clients[0].post(path, content=body, headers=headers).status_code
        office.outcomes.append(status)
        return int(status)

    with listening(take) as url:
        office = Handed(make_app, provider, count, callback_url=url, **more)
        with TestClient(make_asgi(office.app)) as client:
            clients.append(client)
            office.app.queue.run_due()
            sent = len(office.app.do("payments.transmissions"))
            deadline = time.monotonic() + PATIENCE_SECONDS
            while len(office.outcomes) < sent:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            office.app.queue.run_due()
            yield office


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_VE_SECRET", SECRET)


def everything(office: Office) -> str:
    """Every row of every table of the kernel, and of the queue's arguments, as text."""
    tables = [f"SELECT to_jsonb(t)::text AS row FROM {t.fullname} t" for t in rooms_tables.metadata.sorted_tables]
    tables.append("SELECT args::text FROM jobs.procrastinate_jobs")
    return "\n".join(row["row"] for row in office.app.rows(" UNION ALL ".join(tables)))


def test_a_holder_redeems_with_what_the_list_says(
    make_app: Any, provider: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """From the provider's message to the list and to a counter; the number stands nowhere else, who saw it is noted,
    and it is gone once the voucher is paid."""
    caplog.set_level(logging.DEBUG)
    with office_of(make_app, provider, voucher_days=30) as office:
        assert set(office.outcomes) == {202}
        listed = office.listed()
        assert [one["recipient"] for one in listed] == ["P1", "P2", "P3"]
        assert {(one["status"], one["amount"], one["name"], one["beneficiary"]) for one in listed[:1]} == {
            ("accepted", "1200.00", "Awa Touray", "H-P1")
        }
        assert {len(one["number"]) for one in listed} == {6}
        numbers = [one["number"] for one in listed]
        stored = everything(office)
        assert not [n for n in numbers if n in re.split(r"\D+", stored)]
        assert not [n for n in numbers if n in re.split(r"\D+", caplog.text)]
        (read,) = office.app.rows("SELECT persons FROM core.reads WHERE query = 'payments.vouchers'")
        assert len(read["persons"]) == 3
        office.work()  # they are activated
        assert office.redeem({**listed[0], "number": "wrong"}) == 0
        assert office.redeem(listed[0]) == 1
        office.until(["accepted", "accepted", "paid"])
        assert (office.kept(), len(office.listed())) == (2, 2)
        office.work(days=31)
        office.until(["failed", "failed", "paid"])
        assert (office.kept(), office.listed()) == (0, [])


def test_the_last_day_stands_beside_the_number(make_app: Any, provider: Running) -> None:
    """So many days after the day on which the voucher was made."""
    with office_of(make_app, provider, 1, voucher_days=1) as office:
        (one,) = office.listed()
        office.clock.move(days=1)
        assert one["good_until"] == office.clock.today().isoformat()


def test_what_is_not_to_be_handed_out_has_no_number(make_app: Any, provider: Running) -> None:
    """A held order, a voucher that is being cancelled, and one whose number the provider has not told."""
    with office_of(make_app, provider, 4) as office:
        ids = [one["order"] for one in office.listed()]
        held = [office.app.ids.decode("orders", ids[0])]
        entitled = office.app.rows("SELECT entitlement FROM core.orders WHERE id = ANY(:held)", held=held)
        office.debts.move(("accepted",), "held", entitlements=[row["entitlement"] for row in entitled])
        provider.behave(refusals=1.0)
        office.app.do("payments.cancel_vouchers", {"orders": [ids[1]], "reason": "so"})
        with office.app.database.command(office.app.system) as (connection, _):
            gone = office.app.ids.decode("orders", ids[2])
            connection.execute(sa.text('DELETE FROM core.voucher_numbers WHERE "order" = :o'), {"o": gone})
        told = [(one["status"], one["cancelling"], one["number"] is None) for one in office.listed()]
        assert told == [
            ("held", False, True), ("accepted", True, True), ("accepted", False, True), ("accepted", False, False),
        ]  # fmt: skip
        (file,) = office.app.do("payments.voucher_lists", {"payroll": "B7"})["files"]
        assert (file["vouchers"], file["missing"]) == (1, 1)


def text_of(pdf: bytes) -> bytes:
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    return b"".join(zlib.decompress(one) for one in found if one[:1] == b"x")


def test_lists_are_made_per_pay_point_and_place(
    make_app: Any, provider: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with its own vouchers, in parts where there are many; whose they are is noted as read."""
    with office_of(make_app, provider, 5) as office:
        office.app.do("locations.add", {"code": "N", "name": "North", "level": "region"})
        office.app.do("beneficiaries.change_person", {"number": "P1", "location": "N"})
        (file,) = office.app.do("payments.voucher_lists", {"payroll": "B7"})["files"]
        assert (file["provider"], file["pay_point"], file["vouchers"], file["missing"]) == ("VE", None, 5, 0)
        assert (file["name"], file["media_type"]) == ("vouchers-VE.pdf", "application/pdf")
        content = base64.b64decode(file["content"])
        assert content.startswith(b"%PDF-")
        assert text_of(content)
        monkeypatch.setattr(handing_out, "VOUCHERS_MAX", 3)
        files = office.app.do("payments.voucher_lists", {"payroll": "B7", "by_location": True})["files"]
        told = [(f["location"], f["part"], f["parts"], f["vouchers"], f["name"]) for f in files]
        assert told == [
            (None, 1, 2, 3, "vouchers-VE-1.pdf"), (None, 2, 2, 1, "vouchers-VE-2.pdf"),
            ("N", 1, 1, 1, "vouchers-VE-N.pdf"),
        ]  # fmt: skip
        reads = office.app.rows("SELECT persons FROM core.reads WHERE query = 'payments.voucher_lists'")
        assert [len(row["persons"]) for row in reads] == [5, 5]
        assert [one["recipient"] for one in office.listed(location="N")] == ["P1"]
        monkeypatch.setattr(handing_out, "LISTS_MAX", 4)
        for asked, why in (
            ({"payroll": "B7"}, "more than 4"), ({}, "name one of"), ({"payroll": "X"}, "no batch"),
            ({"payroll": "B7", "pay_point": "X"}, "no pay point"), ({"payroll": "B7", "location": "X"}, "no location"),
        ):  # fmt: skip
            with pytest.raises(ImisError) as raised:
                office.app.do("payments.voucher_lists", asked)
            assert why in raised.value.refusal.line()
        with pytest.raises(ImisError, match=r"payments\.vouchers"):
            office.app.do("payments.voucher_lists", {"payroll": "B7"}, as_=office.app.as_user("no", "nobody"))


def test_each_holder_is_told_once(make_app: Any, provider: Running) -> None:
    """By SMS, with the number that redeems; it stands in no message that is kept, before or after."""
    got: list[Any] = []

    def sms(_: str, __: dict[str, str], body: bytes) -> int:
        got.append(json.loads(body))
        return 202

    with listening(sms) as url:
        settings = {"notifications": {"sms": {"url": url}}, "deployment": {"attributes": TELEPHONE}}
        with office_of(make_app, provider, 2, voucher_messages=True, voucher_days=9, tables=settings) as office:
            listed = office.listed()
            assert got == []
            assert {m["text"].count("{secret}") for m in office.app.do("notifications.list")} == {1}
            numbers = [{"number": f"P{n}", "attributes": {"telephone": f"+22000000{n}"}} for n in (1, 2)]
            office.app.do_all("beneficiaries.change_person", numbers)
            for notification in office.app.do("notifications.list"):
                office.app.do("notifications.retry", {"notification": notification["id"]})
            office.work()
            office.work()
            assert [one["to"] for one in got] == ["+220000001", "+220000002"]
            for one, voucher in zip(got, listed, strict=True):
                assert f"serial number {voucher['serial']}, number {voucher['number']}." in one["text"]
                assert f"Good until {voucher['good_until']}" in one["text"]
            assert {m["status"] for m in office.app.do("notifications.list")} == {"sent"}
            stored = everything(office)
            assert not [v["number"] for v in listed if v["number"] in re.split(r"\D+", stored)]
            assert office.app.rows("SELECT 1 FROM core.notification_secrets WHERE content IS NOT NULL") == []


@pytest.mark.parametrize("stopped", ["held", "cancelled", "over"])
def test_no_number_leaves_once_its_voucher_is_stopped(make_app: Any, provider: Running, stopped: str) -> None:
    """A message that could not go out is tried again after its order was held, its voucher cancelled or its days are
    over, and the provider has not confirmed it: it tells nothing any more."""
    got: list[Any] = []

    def sms(_: str, __: dict[str, str], body: bytes) -> int:
        got.append(json.loads(body))
        return 202

    with listening(sms) as url:
        settings = {"notifications": {"sms": {"url": url}}, "deployment": {"attributes": TELEPHONE}}
        with office_of(make_app, provider, 1, voucher_messages=True, voucher_days=9, tables=settings) as office:
            (voucher,) = office.listed()
            provider.behave(refusals=1.0)
            if stopped == "held":
                office.debts.move(("accepted",), "held")
            elif stopped == "cancelled":
                office.app.do("payments.cancel_vouchers", {"orders": [voucher["order"]], "reason": "so"})
            else:
                office.work(days=10)
            assert office.statuses() == ["held" if stopped == "held" else "accepted"]
            office.app.do("beneficiaries.change_person", {"number": "P1", "attributes": {"telephone": "+220000001"}})
            (message,) = office.app.do("notifications.list")
            office.app.do("notifications.retry", {"notification": message["id"]})
            office.app.queue.run_due()
            (message,) = office.app.do("notifications.list")
            assert (got, message["status"]) == ([], "failed")
            assert message["reason"] == "what it was to tell is over, or not to be told any more"


TELEPHONE = {"telephone": {"type": "text", "of": "person"}}


def test_a_secret_goes_into_no_file_and_no_log(make_app: Any, provider: Running) -> None:
    """Where nothing leaves the system the message fails and says so; once its voucher is over, there is nothing left
    to tell."""
    with office_of(make_app, provider, 1, voucher_messages=True) as office:
        (message,) = office.app.do("notifications.list")
        assert (message["status"], "SMS or e-mail alone" in message["reason"]) == ("failed", True)
        assert not list((office.app.var / "notifications").glob("*"))
        office.app.do("payments.cancel_vouchers", {"orders": [office.listed()[0]["order"]], "reason": "so"})
        office.until(["failed"])
        office.app.do("notifications.retry", {"notification": message["id"]})
        office.app.queue.run_due()
        (message,) = office.app.do("notifications.list")
        assert (message["status"], message["reason"]) == (
            "failed",
            "what it was to tell is over, or not to be told any more",
        )


def test_batches_are_as_small_as_their_message_may_be(make_app: Any, provider: Running) -> None:
    """The message that tells the numbers has to fit into what is taken from a stranger: no more orders go at once."""
    channel = Handed(make_app, provider, 1, callback_url="http://127.0.0.1:1").app.channels["voucher"]
    assert channel.transmits is not None
    assert channel.transmits.orders_max == vouchers.VOUCHERS_MAX
    made = make_app

    def smaller(**more: Any) -> Any:
        app = made(**more)
        app.channels["voucher"] = evolve(channel, transmits=evolve(channel.transmits, orders_max=2))
        return app

    with office_of(smaller, provider, 5) as office:
        assert [sent["orders"] for sent in office.app.do("payments.transmissions")] == [2, 2, 1]
        assert office.kept() == 5


def test_a_message_brings_numbers_of_its_own_vouchers_only(make_app: Any, provider: Running) -> None:
    """Not of another provider's orders, of none that there is, nor of what is decided; the first one told counts."""
    with office_of(make_app, provider, 3) as office:
        one, decided, lost = office.listed()
        row = {"order": decided["order"], "status": "failed", "amount": "1200.00", "reason": "lost"}
        office.app.do("payments.reconcile", {"provider": "VE", "rows": [row]})
        named = [str(office.app.ids.decode("orders", v["order"])) for v in (one, decided, lost)]
        with office.debts.inside() as context:
            context.execute(sa.text('DELETE FROM core.voucher_numbers WHERE "order" = :o'), {"o": int(named[2])})
            (own,) = reached(context).values()
            told = [VoucherNumber(name, "9", "999999") for name in (*named[:2], "987654", "x", "-1")]
            keep_numbers(context, own, told)
            keep_numbers(context, evolve(own, provider=own.provider + 1), [VoucherNumber(named[2], "9", "999999")])
        assert [(v["order"], v["number"]) for v in office.listed()] == [
            (one["order"], one["number"]), (lost["order"], None),
        ]  # fmt: skip


@pytest.mark.parametrize("body", ["{", "[]", '{"voucherInstructions": 1}', '{"voucherInstructions": [1, {"x": 1}]}'])
def test_what_tells_no_numbers_brings_none(body: str) -> None:
    """Whatever else a message says, or if it is not to be read."""
    assert list(vouchers.numbers(body.encode())) == []


def test_a_copy_for_others_holds_no_numbers() -> None:
    """`imis backup --anonymise` empties what is kept of them."""
    tables = rooms_tables.metadata.tables
    assert is_emptied(tables["core.voucher_numbers"])
    assert is_emptied(tables["core.notification_secrets"])
