"""Vouchers over HTTP in the shape of the GovStack payments building block: made, activated, redeemed by their holders.

Field names are those of Voucher Preactivation Request, Voucher Activate, Voucher Cancellation and Voucher Creation
Response. A batch is made under our name for it, once; its vouchers are activated when the provider is asked about it,
until that has succeeded for all of them, but never one that nobody is to redeem any more; one that was redeemed is a
payment, one that was cancelled has failed. Touches no database.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from decimal import Decimal
from itertools import chain
from typing import Any, Final

import httpx
from attrs import evolve

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
from imis_core.payments.transmitting.wire import decoded, details, message_of, number_of, page_of, text_of, told_of

NAME_MAX: Final = 12  # characters of a requestID
PAYEE_MAX: Final = 20  # of a payeeFunctionalID
# Of a batch: the message that tells their numbers, about 230 bytes each, has to fit into 64 KiB (`web.limits`).
VOUCHERS_MAX: Final = 250
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


def ask(gateway: Gateway, correlation: str, batch: str | None, turn: Turn, stopped: Set[str]) -> Iterator[Page]:
    """The provider's list about a batch of vouchers; those that were made are activated then, but those `stopped`.

    What the provider calls the batch is told at the end, once all vouchers are activated: until that is known they are
    activated again, which changes nothing of one that is. Raises `NotKnown` and `Unanswered`.
    """
    with _answered(gateway) as client:
        listed = details(client, gateway, correlation, batch, turn)
        if batch is not None:
            yield from map(page_of, listed)
            return
        # Read whole before anything is changed: a list that changes while it is read may never end.
        pages = list(listed)
        yield from (evolve(page_of(rows), batch=None) for rows in pages)
        if _activate(client, gateway, correlation, list(chain.from_iterable(pages)), turn, stopped):
            yield Page(next((name for rows in pages if (name := page_of(rows).batch)), None), ())


@contextmanager
def _answered(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client; what goes wrong on the way is no answer."""
    try:
        with client_of(gateway) as client:
            yield client
    except NoSecret as error:
        raise Unanswered(str(error)) from None
    except (NeverLeft, NoAnswer) as error:
        raise Unanswered(f"no answer ({error})") from None


def _activate(
    client: httpx.Client, gateway: Gateway, correlation: str, rows: list[Any], turn: Turn, stopped: Set[str]
) -> bool:
    """Activate the vouchers that anybody may redeem; whether these are all that wait."""
    waiting = _undecided(rows)
    serials = [serial for order, serial in waiting if serial is not None and order not in stopped]
    if serials:
        body = {
            "RequestID": _name("V"), "BatchID": correlation,
            "VoucherInstructions": [{"serialNumber": serial} for serial in serials],
        }  # fmt: skip
        turn()
        answer = exchange(
            client, gateway, "PUT", "/vouchers",
            parameters={"command": "activate"}, headers=_headers(gateway), body=encode(body),
        )  # fmt: skip
        if answer.status not in TAKEN:
            raise Unanswered(f"the provider did not activate vouchers: it answered {answer.status}")
    return not any(order in stopped for order, _ in waiting)


def _undecided(rows: list[Any]) -> list[tuple[str, str | None]]:
    """Orders whose vouchers are neither redeemed nor worth nothing, with their serial numbers where those are told."""
    told = ((told_of(row), row) for row in rows)
    return [(one.order, number_of(row.get("serialNumber"))) for one, row in told if one and one.status == "pending"]


def _name(letter: str) -> str:
    """A name for a request of its own: under an old one a provider may take it for one that it has answered."""
    return letter + secrets.token_hex(NAME_MAX)[: NAME_MAX - 1]


def cancel(gateway: Gateway, correlation: str, batch: str | None, turn: Turn, orders: Set[str]) -> str | None:
    """Have the vouchers of these orders cancelled, those that the list gives; why the provider did not take it.

    A voucher that is cancelled already stays so, and one that was redeemed stays redeemed: the list tells them apart,
    and so it does where this was not answered. Raises `NotKnown` and, where the list cannot be read, `Unanswered`.
    """
    with _answered(gateway) as client:
        rows = list(chain.from_iterable(details(client, gateway, correlation, batch, turn)))
        listed = {one.order for row in rows if (one := told_of(row)) is not None}
        wanted = [(order, serial) for order, serial in _undecided(rows) if order in orders]
        serials = [serial for _, serial in wanted if serial is not None]
        refused = None
        if serials:
            turn()
            refused = _cancel(client, gateway, correlation, serials)
        if len(serials) < len(wanted):
            refused = "the provider's list does not give the serial numbers of all vouchers"
        if not orders <= listed:
            refused = f"the provider's list says nothing of {len(orders - listed)} of them"
    return None if refused is None else f"vouchers are to be cancelled, and are not: {refused}"


def _cancel(client: httpx.Client, gateway: Gateway, correlation: str, serials: list[str]) -> str | None:
    body = {
        "requestID": _name("C"), "batchID": correlation,
        "voucherInstructions": [{"serialNumber": serial} for serial in serials],
    }  # fmt: skip
    try:
        answer = exchange(
            client, gateway, "POST", "/vouchers",
            parameters={"command": "cancel"}, headers=_headers(gateway), body=encode(body),
        )  # fmt: skip
    except (NeverLeft, NoAnswer) as error:
        return f"no answer ({error})"
    return None if answer.status in TAKEN else f"the provider answered {answer.status}"


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
    found = []
    for row in rows:
        order, serial, number = (
            number_of(row.get(name)) for name in ("instructionID", "serialNumber", "voucherNumber")
        )
        if order is not None and serial is not None and number is not None:
            found.append(VoucherNumber(order, serial, number))
    return found


# Whoever knows them can redeem a voucher: VoucherCreationResponse, and the body of a redemption.
SECRETS: Final = frozenset({"vouchernumber", "vouchersecretnumber"})
VOUCHER_SERVICE: Final = Service(
    send, ask, read, secrets=SECRETS, payee_max=PAYEE_MAX, cancel=cancel, numbers=numbers, orders_max=VOUCHERS_MAX
)
