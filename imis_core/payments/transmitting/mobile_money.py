"""Mobile money over HTTP in the shape of the GovStack payments building block, G2P APIs 1.0.

Field names are those of its Batch Transaction Handover, Batch Details and Batch Payment Status Update. Three things it
leaves open are ours: `requestId` in a row of the details names the instruction, an order's number in decimal is the
`requestId` that we give it, and a payment that came back has the status `REVERSED` in the details and is counted as
`returned`, with `returned_amount`, in a status update. Touches no database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from decimal import Decimal
from typing import Any, Final, Literal

from imis_core.payments.transmitting.http import Answered, NeverLeft, NoAnswer, client_of, encode, exchange
from imis_core.payments.transmitting.service import (
    Address,
    Gateway,
    NoSecret,
    Notice,
    Outgoing,
    Page,
    Sent,
    Service,
    Told,
    Turn,
    Unanswered,
    Unreadable,
)
from imis_core.payments.transmitting.wire import BATCH_MAX, amount_of, decoded, details, message_of, page_of, text_of

PROGRAM_MAX: Final = 20  # of X-Program-Id
DFSP_MAX: Final = 11  # of destinationDFSPID
TAKEN: Final = (200, 201, 202)
REFUSING: Final = (400, 413, 422)  # it read the request and will take nothing of it
TOO_MANY: Final = 429
UNDECIDED: Final = (408, 409, 425)  # of the 4xx, those after which it may have the batch
_COUNTED: Final[Mapping[str, Literal["paid", "failed", "returned"]]] = {
    "completed": "paid", "failed": "failed", "returned": "returned",
}  # fmt: skip


# --- sending


def send(gateway: Gateway, outgoing: Outgoing) -> Sent:
    """Hand a batch over: one POST, whose answer says whether it was taken."""
    settings = gateway.settings
    headers = {
        "X-CorrelationID": outgoing.correlation,
        "X-Program-Id": outgoing.scheme[:PROGRAM_MAX],
        "X-Registering-Institution-Id": settings.institution,
        "X-Callback-URL": gateway.callback_url,
    }
    body = encode(
        [
            {
                "requestId": str(one.order),
                "creditParty": [{"key": settings.party_key, "value": one.account or ""}],
                "debitParty": [{"key": "accountNumber", "value": settings.debit_account}],
                "paymentMode": settings.payment_mode,
                "amount": Decimal(str(one.amount)),
                "currency": one.amount.currency,
                "descriptionText": outgoing.scheme[:50],
            }
            for one in outgoing.instructions
        ]
    )
    try:
        with client_of(gateway) as client:
            answer = exchange(
                client, gateway, "POST", "/batchtransactions",
                parameters={"type": "raw"}, headers=headers, body=body,
            )  # fmt: skip
    except (NoSecret, NeverLeft, NoAnswer) as error:
        return failed_sending(error)
    return _sent(answer)


def failed_sending(error: Exception) -> Sent:
    """What is known after a request that had no answer."""
    if isinstance(error, NoAnswer):
        return Sent("unknown", reason=f"no answer ({error})", ill=True)
    reason = f"no connection ({error})" if isinstance(error, NeverLeft) else str(error)
    return Sent("not_taken", reason=reason, ill=True)


def _sent(answer: Answered) -> Sent:
    if answer.status not in TAKEN:
        return not_taken(answer)
    batch = _batch(answer.body)
    # An answer that names no batch says too little: whoever is in doubt asks.
    return Sent("unknown", reason="the answer names no batch") if batch is None else Sent("accepted", batch=batch)


def not_taken(answer: Answered) -> Sent:
    """What a status means that does not say that the batch was taken."""
    status = answer.status
    reason = f"the provider answered {status}"
    if status in REFUSING:
        return Sent("refused", reason=reason)
    if status == TOO_MANY:
        return Sent("not_taken", reason=reason, ill=True, pause_seconds=answer.retry_after)
    if 400 <= status < 500 and status not in UNDECIDED:
        return Sent("not_taken", reason=reason, ill=True)
    return Sent("unknown", reason=reason, ill=True, pause_seconds=answer.retry_after)


def _batch(body: bytes) -> str | None:
    try:
        content = decoded(body)
    except ValueError:
        return None
    batch = content.get("batchId") if isinstance(content, dict) else None
    return batch if isinstance(batch, str) and 0 < len(batch) <= BATCH_MAX and batch.isprintable() else None


# --- asking


def ask(gateway: Gateway, correlation: str, batch: str | None, turn: Turn, _: Set[str]) -> Iterator[Page]:
    """The provider's list about a batch; nothing is set going by it. Raises `NotKnown` and `Unanswered`."""
    try:
        with client_of(gateway) as client:
            for rows in details(client, gateway, correlation, batch, turn):
                yield page_of(rows)
    except NoSecret as error:
        raise Unanswered(str(error)) from None
    except (NeverLeft, NoAnswer) as error:
        raise Unanswered(f"no answer ({error})") from None


# --- accounts


def check(gateway: Gateway, correlation: str, addresses: Sequence[Address]) -> None:
    """Bulk validation of accounts; what the provider finds comes by itself. Raises `Unanswered`."""
    headers = {
        "X-Client-Correlation-ID": correlation,
        "X-Registering-Institution-ID": gateway.settings.institution,
        "X-Callback-URL": gateway.callback_url,
    }
    asked = [{"instructionID": str(one.recipient), "financialAddress": one.account} for one in addresses]
    body = {"batchId": correlation, "destinationDFSPID": gateway.provider[:DFSP_MAX], "creditInstructions": asked}
    try:
        with client_of(gateway) as client:
            answer = exchange(
                client, gateway, "POST", "/beneficiaries",
                parameters={"command": "validate"}, headers=headers, body=encode(body),
            )  # fmt: skip
    except (NoSecret, NeverLeft, NoAnswer) as error:
        raise Unanswered(f"no answer ({error})") from None
    if answer.status not in TAKEN:
        raise Unanswered(f"the provider answered {answer.status}")


# --- what comes by itself


def read(body: bytes) -> Notice:
    """A Batch Payment Status Update: about one instruction, or about a batch that is asked for its details then."""
    content = message_of(body)
    if "clientCorrelationId" in content:
        return _checked(content)
    order, batch = text_of(content.get("requestId"), 40), text_of(content.get("batchId"), BATCH_MAX)
    about = tuple(name for name in (order, batch) if name is not None)
    if not about:
        raise Unreadable("it names neither requestId nor batchId")
    # Our names of batches are no numbers: a number is an instruction.
    if order is None or not (order.isascii() and order.isdecimal()) or content.get("TotalTransactions") != 1:
        return Notice(about=about)
    counted = {name: content.get(name) for name in ("completed", "failed")} | {"returned": content.get("returned", 0)}
    for name, status in _COUNTED.items():
        amount = amount_of(content.get(f"{name}_amount"))
        if counted == {one: int(one == name) for one in _COUNTED} and amount is not None:
            reason = None if status == "paid" else text_of(content.get("note"))
            return Notice(told=Told(order, status, amount, reason=reason), about=about)
    return Notice(about=about)


def _checked(content: Mapping[str, Any]) -> Notice:
    """A Bulk Validate Account Response."""
    name, failed = text_of(content.get("clientCorrelationId"), 40), content.get("failedAccountLookups", [])
    if name is None or not isinstance(failed, list) or not all(isinstance(one, dict) for one in failed):
        raise Unreadable("it is no result of an account check")
    rows = ((text_of(one.get("instructionID"), 40), text_of(one.get("failureReason")) or "no reason") for one in failed)
    return Notice(about=(name,), checked=[(row, reason) for row, reason in rows if row is not None])


MOBILE_MONEY_SERVICE: Final = Service(send, ask, read, check)
