"""Vouchers over HTTP in the shape of the GovStack payments building block: made, activated, redeemed by their holders.

Field names are those of Voucher Preactivation Request, Voucher Activate and Voucher Creation Response. A batch is made
under our name for it, once; its vouchers are activated when the provider is asked about it, until that has succeeded
for all of them; one that was redeemed is a payment. Touches no database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import httpx

from imis_core.payments.transmitting.http import Answered, NeverLeft, NoAnswer, client_of, encode, exchange
from imis_core.payments.transmitting.mobile_money import PROGRAM_MAX, TAKEN, failed_sending, not_taken
from imis_core.payments.transmitting.service import (
    Gateway,
    NoSecret,
    Notice,
    Outgoing,
    Page,
    Sent,
    Service,
    Turn,
    Unanswered,
    Unreadable,
)
from imis_core.payments.transmitting.wire import decoded, details, message_of, page_of, text_of

NAME_MAX: Final = 12  # characters of a requestID
PAYEE_MAX: Final = 20  # of a payeeFunctionalID
DONE, FAILED = "00", "01"  # ResponseCode


def send(gateway: Gateway, outgoing: Outgoing) -> Sent:
    """Have vouchers made: one POST, under our name for the batch."""
    body = encode(
        {
            "requestID": outgoing.correlation,
            "batchID": outgoing.correlation,
            "voucherInstructions": [
                {
                    "instructionID": str(one.order),
                    "currency": one.amount.currency,
                    "amount": Decimal(str(one.amount)),
                    "payeeFunctionalID": one.payee,
                    "narration": outgoing.scheme[:50],
                }
                for one in outgoing.instructions
            ],
        }
    )
    headers = {**_headers(gateway), "X-Program-Id": outgoing.scheme[:PROGRAM_MAX]}
    try:
        with client_of(gateway) as client:
            answer = exchange(client, gateway, "POST", "/vouchers", parameters={}, headers=headers, body=body)
    except (NoSecret, NeverLeft, NoAnswer) as error:
        return failed_sending(error)
    return _sent(answer)


def _headers(gateway: Gateway) -> dict[str, str]:
    return {"X-Registering-Institution-Id": gateway.settings.institution, "X-Callback-URL": gateway.callback_url}


def _sent(answer: Answered) -> Sent:
    if answer.status not in TAKEN:
        return not_taken(answer)
    try:
        content = decoded(answer.body)
    except ValueError:
        content = None
    code = content.get("ResponseCode") if isinstance(content, dict) else None
    if code == DONE:
        return Sent("accepted")
    if code == FAILED:
        return Sent("refused", reason="the provider could not make the vouchers")
    return Sent("unknown", reason="the answer does not say whether the vouchers were made")


def ask(gateway: Gateway, correlation: str, batch: str | None, turn: Turn) -> Iterator[Page]:
    """The provider's list about a batch of vouchers; those that were made are activated first.

    What the provider calls the batch is told with the last page, once all vouchers are activated: until that is known
    they are activated again, which changes nothing of one that is. Raises `NotKnown` and `Unanswered`.
    """
    try:
        with client_of(gateway) as client:
            last: Page | None = None
            for number, rows in enumerate(details(client, gateway, correlation, batch, turn)):
                if last is not None:
                    yield Page(batch, last.rows, last.unreadable)
                if batch is None:
                    _activate(client, gateway, f"{correlation}/{number}", rows, turn)
                last = page_of(rows)
            if last is not None:
                yield last
    except NoSecret as error:
        raise Unanswered(str(error)) from None
    except (NeverLeft, NoAnswer) as error:
        raise Unanswered(f"no answer ({error})") from None


def _activate(client: httpx.Client, gateway: Gateway, name: str, rows: list[Any], turn: Turn) -> None:
    serials = [
        serial
        for row in rows
        if isinstance(row, dict) and row.get("status") == "IN_PROGRESS" and (serial := text_of(row.get("serialNumber")))
    ]
    if not serials:
        return
    called = "V" + hashlib.sha256(name.encode()).hexdigest()[: NAME_MAX - 1]
    body = {
        "RequestID": called, "BatchID": name.partition("/")[0],
        "VoucherInstructions": [{"serialNumber": serial} for serial in serials],
    }  # fmt: skip
    turn()
    answer = exchange(
        client, gateway, "PUT", "/vouchers",
        parameters={"command": "activate"}, headers=_headers(gateway), body=encode(body),
    )  # fmt: skip
    if answer.status not in TAKEN:
        raise Unanswered(f"the provider did not activate vouchers: it answered {answer.status}")


def read(body: bytes) -> Notice:
    """A message about vouchers that were made or activated: their batch is asked about, which activates them."""
    content = message_of(body)
    names = (content.get(name) for name in ("requestID", "requestId", "batchID", "batchId", "registerRequestID"))
    about = tuple(dict.fromkeys(name for given in names if (name := text_of(given, 50)) is not None))
    if not about:
        raise Unreadable("it names no batch")
    return Notice(about=about)


# Whoever knows them can redeem a voucher: VoucherCreationResponse, and the body of a redemption.
SECRETS: Final = frozenset({"vouchernumber", "vouchersecretnumber"})
VOUCHER_SERVICE: Final = Service(send, ask, read, secrets=SECRETS, payee_max=PAYEE_MAX)
