"""Vouchers over HTTP in the shape of the GovStack payments building block: made, activated, redeemed by their holders.

Field names are those of Voucher Preactivation Request, Voucher Activate, Voucher Cancellation and Voucher Creation
Response. A batch is made under our name for it, once; its vouchers are activated when the provider is asked about it,
until that has succeeded for all of them; one that was redeemed is a payment, one that was cancelled has failed. Touches
no database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence, Set
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
    VoucherNumber,
)
from imis_core.payments.transmitting.wire import decoded, details, message_of, page_of, text_of

NAME_MAX: Final = 12  # characters of a requestID
PAYEE_MAX: Final = 20  # of a payeeFunctionalID
# Of a batch: the message that tells their numbers, at most 230 bytes each, has to fit into 64 KiB (`web.limits`).
VOUCHERS_MAX: Final = 250
DONE, FAILED = "00", "01"  # ResponseCode
NOT_NOW: Final = (401, 403, 408, 425, 429)  # of the 4xx, those that say nothing of what was asked for


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
    serials = [serial for row in _undecided(rows) if (serial := text_of(row.get("serialNumber")))]
    if not serials:
        return
    body = {
        "RequestID": _called("V", name), "BatchID": name.partition("/")[0],
        "VoucherInstructions": [{"serialNumber": serial} for serial in serials],
    }  # fmt: skip
    turn()
    answer = exchange(
        client, gateway, "PUT", "/vouchers",
        parameters={"command": "activate"}, headers=_headers(gateway), body=encode(body),
    )  # fmt: skip
    if answer.status not in TAKEN:
        raise Unanswered(f"the provider did not activate vouchers: it answered {answer.status}")


def _undecided(rows: list[Any]) -> list[Any]:
    """The rows of vouchers that are neither redeemed nor worth nothing."""
    return [row for row in rows if isinstance(row, dict) and row.get("status") == "IN_PROGRESS"]


def _called(letter: str, name: str) -> str:
    """A name for a request: the same for the same request."""
    return letter + hashlib.sha256(name.encode()).hexdigest()[: NAME_MAX - 1]


def cancel(gateway: Gateway, correlation: str, batch: str | None, turn: Turn, orders: Set[str]) -> str | None:
    """Have the vouchers of these orders cancelled, page by page of the list; why the provider would not.

    A voucher that is cancelled already stays so, and one that was redeemed stays redeemed: the list tells them apart.
    Raises `NotKnown` and `Unanswered`.
    """
    refused = None
    try:
        with client_of(gateway) as client:
            for rows in details(client, gateway, correlation, batch, turn):
                wanted = [row for row in _undecided(rows) if text_of(row.get("requestId"), 40) in orders]
                serials = [serial for row in wanted if (serial := text_of(row.get("serialNumber")))]
                if serials:
                    turn()
                    refused = _cancel(client, gateway, correlation, serials) or refused
                if len(serials) < len(wanted):
                    refused = "the provider's list does not give the serial numbers of all vouchers"
    except NoSecret as error:
        raise Unanswered(str(error)) from None
    except (NeverLeft, NoAnswer) as error:
        raise Unanswered(f"no answer ({error})") from None
    return None if refused is None else f"vouchers are to be cancelled, and are not: {refused}"


def _cancel(client: httpx.Client, gateway: Gateway, correlation: str, serials: list[str]) -> str | None:
    body = {
        "requestID": _called("C", "/".join([correlation, *serials])), "batchID": correlation,
        "voucherInstructions": [{"serialNumber": serial} for serial in serials],
    }  # fmt: skip
    answer = exchange(
        client, gateway, "POST", "/vouchers",
        parameters={"command": "cancel"}, headers=_headers(gateway), body=encode(body),
    )  # fmt: skip
    if answer.status in TAKEN:
        return None
    reason = f"the provider answered {answer.status}"
    if 400 <= answer.status < 500 and answer.status not in NOT_NOW:
        return reason  # it will not; what became of the vouchers is asked all the same
    raise Unanswered(reason)


def read(body: bytes) -> Notice:
    """A message about vouchers that were made or activated: their batch is asked about, which activates them."""
    content = message_of(body)
    names = (content.get(name) for name in ("requestID", "requestId", "batchID", "batchId", "registerRequestID"))
    about = tuple(dict.fromkeys(name for given in names if (name := text_of(given, 50)) is not None))
    if not about:
        raise Unreadable("it names no batch")
    return Notice(about=about)


def numbers(body: bytes) -> Sequence[VoucherNumber]:
    """What a Voucher Creation Response tells of the vouchers that were made: their serial and secret numbers."""
    try:
        content = decoded(body)
    except ValueError:
        return ()
    told = content.get("voucherInstructions") if isinstance(content, dict) else None
    rows = [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []
    named = (tuple(text_of(row.get(name)) for name in _NUMBERED) for row in rows)
    return [VoucherNumber(*one) for one in named if None not in one]  # type: ignore[arg-type]


_NUMBERED: Final = ("instructionID", "serialNumber", "voucherNumber")
# Whoever knows them can redeem a voucher: VoucherCreationResponse, and the body of a redemption.
SECRETS: Final = frozenset({"vouchernumber", "vouchersecretnumber"})
VOUCHER_SERVICE: Final = Service(
    send, ask, read, secrets=SECRETS, payee_max=PAYEE_MAX, cancel=cancel, numbers=numbers, orders_max=VOUCHERS_MAX
)
