"""The demo's mobile money: a simulated provider, paid through as any other; its books are compared at the end."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from imis_core.demo.doors import Doors
from imis_core.provider_simulator.process import Running, simulator

WALLET: Final = "WALLET"
FOLDER: Final = "wallet"  # of the provider's books, in the demo's folder
FAILURES: Final = 0.03  # share of payments that do not arrive; they are ordered again with the next round
_LOOKS: Final = 100  # until what has not been reported waits for the next round
_PAUSE_SECONDS: Final = 0.05
_GATEWAY: Final = """
# The simulated provider of the demo: imis provider-simulator --folder {folder} --port {port}
[payment_gateways.{code}]
url = "{url}"
callback_url = "{callback}"  # the demo's provider calls nobody: it is asked
tenant = "demo"
institution = "demo"
debit_account = "SOUTIEN"
requests_per_minute = 100000
"""


@contextmanager
def wallet(home: Path, callback: str) -> Iterator[Running]:
    """A provider for as long as the block lasts, and the settings to reach it written into imis.toml.

    `callback`: the address of the deployment, which a gateway names; while the year runs nobody is there.
    """
    with simulator(home / FOLDER) as running:
        running.behave(failures=FAILURES, batch_callbacks=False)
        port = running.url.rpartition(":")[2]
        with (home / "imis.toml").open("a", encoding="utf-8") as settings:
            settings.write(_GATEWAY.format(code=WALLET, url=running.url, callback=callback, folder=FOLDER, port=port))
        yield running


def open_wallet(doors: Doors) -> None:
    """Mobile money as a payment provider of the deployment."""
    doors.one("payments.register_provider", {"code": WALLET, "name": "Mobile money", "channel": "mobile_money"})


def transmit(doors: Doors) -> None:
    """Let what was sent travel, and ask what came of it, as the background worker does in a running deployment."""
    for _ in range(_LOOKS):
        doors.app.queue.run_due()
        under_way = [
            transmission["id"]
            for state in ("waiting", "unknown", "accepted")
            for transmission in doors.one("payments.transmissions", {"provider": WALLET, "state": state})
        ]
        if not under_way:
            return
        time.sleep(_PAUSE_SECONDS)
        doors.accepted("payments.ask", [{"transmission": one} for one in under_way])


def compared(doors: Doors, running: Running) -> dict[str, Any]:
    """Our orders beside the provider's own books (the answer of payments.compare_books)."""
    content = base64.b64encode(running.statement()).decode()
    found: dict[str, Any] = doors.one(
        "payments.compare_books", {"provider": WALLET, "name": "statement.csv", "content": content}
    )
    return found


def said(books: dict[str, Any], currency: str) -> str:
    """A comparison in one line."""
    paid = next((total for total in books["theirs"] if total["status"] == "paid"), None)
    differing = sum(one["payments"] for one in books["differences"])
    ties = all(one["ties"] for one in books["ledger"])
    told = f"{differing:,} payments differ" if differing else "no payment differs"
    return (
        f"{0 if paid is None else paid['payments']:,} payments of {Decimal(0 if paid is None else paid['amount']):,} "
        f"{currency} by the provider's own books; {told} from ours, the ledger {'ties' if ties else 'DOES NOT TIE'}"
    )
