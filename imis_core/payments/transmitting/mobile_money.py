"""Mobile money over HTTP in the shape of the GovStack payments building block, G2P APIs 1.0.

Field names are those of its Batch Transaction Handover, Batch Details and Batch Payment Status Update. Two things it
leaves open are ours: `requestId` in a row of the details names the instruction, and an order's number in decimal is the
`requestId` that we give it. Touches no database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from imis_core.payments.transmitting.http import Answered, NeverLeft, NoAnswer, client_of, encode, exchange
from imis_core.payments.transmitting.service import (
    REFERENCE_MAX,
    Address,
    Gateway,
    NoSecret,
    Notice,
    NotKnown,
    Outgoing,
    Page,
    Sent,
    Service,
    Told,
    Turn,
    Unanswered,
    Unreadable,
)
from imis_core.values import MINOR_UNITS

BATCH_MAX: Final = 50  # characters of a batchId
PROGRAM_MAX: Final = 20  # of X-Program-Id
DFSP_MAX: Final = 11  # of destinationDFSPID
PAGES_MAX: Final = 10_000  # a list that does not end before is none
TAKEN: Final = (200, 201, 202)
REFUSING: Final = (400, 413, 422)  # it read the request and will take nothing of it
TOO_MANY: Final = 429
UNDECIDED: Final = (408, 409, 425)  # of the 4xx, those after which it may have the batch
_STATUSES: Final[Mapping[str, Literal["paid", "failed", "pending"]]] = {
    "COMPLETED": "paid", "SUCCESS": "paid", "FAILED": "failed", "FAILURE": "failed",
    "IN_PROGRESS": "pending", "ONGOING": "pending", "PENDING": "pending", "REQUEST_ACCEPTED": "pending",
}  # fmt: skip
_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode


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
    except NoSecret as error:
        return Sent("not_taken", reason=str(error), ill=True)
    except NeverLeft as error:
        return Sent("not_taken", reason=f"no connection ({error})", ill=True)
    except NoAnswer as error:
        return Sent("unknown", reason=f"no answer ({error})", ill=True)
    return _sent(answer)


def _sent(answer: Answered) -> Sent:
    status = answer.status
    if status in TAKEN:
        batch = _batch(answer.body)
        # An answer that names no batch says too little: whoever is in doubt asks.
        return Sent("unknown", reason="the answer names no batch") if batch is None else Sent("accepted", batch=batch)
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
        content = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    batch = content.get("batchId") if isinstance(content, dict) else None
    return batch if isinstance(batch, str) and 0 < len(batch) <= BATCH_MAX and batch.isprintable() else None


# --- asking


def ask(gateway: Gateway, correlation: str, batch: str | None, turn: Turn) -> Iterator[Page]:
    """The provider's list about a batch, page by page, by our name for it; raises `NotKnown` and `Unanswered`."""
    settings = gateway.settings
    asked = {"X-CorrelationID": correlation, "pageSize": str(settings.rows_per_page)}
    if batch is not None:
        asked["batchId"] = batch
    try:
        with client_of(gateway) as client:
            for number in range(PAGES_MAX):
                turn()
                answer = exchange(
                    client, gateway, "GET", "/api/v1/batch/detail", parameters={**asked, "pageNo": str(number)}
                )
                if answer.status == 404 and number == 0:
                    raise NotKnown
                if answer.status != 200:
                    raise Unanswered(f"the provider answered {answer.status}")
                page, rows = _page(answer.body)
                if number == 0 and not rows:
                    # No rows may mean no batch, or one that is not listed yet: that is no answer.
                    raise Unanswered("the provider's list is empty")
                if rows:
                    yield page
                if rows < settings.rows_per_page:
                    return
    except NoSecret as error:
        raise Unanswered(str(error)) from None
    except (NeverLeft, NoAnswer) as error:
        raise Unanswered(f"no answer ({error})") from None
    raise Unanswered("the provider's list does not end")


def _page(body: bytes) -> tuple[Page, int]:
    """A page, and how many rows it has, readable or not."""
    try:
        content = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Unanswered("the provider's list is not JSON") from None
    if not isinstance(content, list):
        raise Unanswered("the provider's list is no list")
    told = [_row(row) for row in content]
    rows = [row for row in told if row is not None]
    batch = next((b for row in content if isinstance(row, dict) and (b := _text(row.get("batchId"), BATCH_MAX))), None)
    return Page(batch, rows, len(told) - len(rows)), len(told)


def _row(row: Any) -> Told | None:
    if not isinstance(row, dict):
        return None
    order, status = _text(row.get("requestId"), 40), _STATUSES.get(str(row.get("status")).upper())
    if order is None or status is None:
        return None
    amount = _amount(row.get("amount"))
    if amount is None and status != "pending":
        return None
    reason = _text(row.get("errorInformation")) or _text(row.get("statusDetail"))
    return Told(
        order, status, amount, _currency(row.get("currency")), _text(row.get("transactionId")),
        reason if status == "failed" else None,
    )  # fmt: skip


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
    try:
        content = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise Unreadable("it is not JSON") from None
    if not isinstance(content, dict):
        raise Unreadable("it is no object")
    if "clientCorrelationId" in content:
        return _checked(content)
    order, batch = _text(content.get("requestId"), 40), _text(content.get("batchId"), BATCH_MAX)
    about = tuple(name for name in (order, batch) if name is not None)
    if not about:
        raise Unreadable("it names neither requestId nor batchId")
    # Our names of batches are no numbers: a number is an instruction.
    if order is None or not (order.isascii() and order.isdecimal()) or content.get("TotalTransactions") != 1:
        return Notice(about=about)
    counted = {name: content.get(name) for name in ("completed", "failed")}
    if counted == {"completed": 1, "failed": 0}:
        amount = _amount(content.get("completed_amount"))
        if amount is not None:
            return Notice(told=Told(order, "paid", amount), about=about)
    if counted == {"completed": 0, "failed": 1}:
        amount = _amount(content.get("failed_amount"))
        if amount is not None:
            return Notice(told=Told(order, "failed", amount, reason=_text(content.get("note"))), about=about)
    return Notice(about=about)


def _checked(content: Mapping[str, Any]) -> Notice:
    """A Bulk Validate Account Response."""
    name, failed = _text(content.get("clientCorrelationId"), 40), content.get("failedAccountLookups", [])
    if name is None or not isinstance(failed, list) or not all(isinstance(one, dict) for one in failed):
        raise Unreadable("it is no result of an account check")
    rows = ((_text(one.get("instructionID"), 40), _text(one.get("failureReason")) or "no reason") for one in failed)
    return Notice(about=(name,), checked=[(row, reason) for row, reason in rows if row is not None])


def _text(value: Any, longest: int = REFERENCE_MAX) -> str | None:
    if not isinstance(value, str):
        return None
    text = "".join(character for character in value if character.isprintable()).strip()[:longest]
    return text or None


def _amount(value: Any) -> Decimal | None:
    """A number, or a number as text; exact."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal, str)):
        return None
    try:
        amount = Decimal(value)
    except ArithmeticError:
        return None
    exponent = amount.as_tuple().exponent
    fits = amount.is_finite() and amount.adjusted() < 30 and isinstance(exponent, int) and exponent > -30
    return amount if fits else None


def _currency(value: Any) -> str | None:
    """The currency as it is told; one that there is not is no currency of any order, and a wrong amount then."""
    return value if isinstance(value, str) and (value in MINOR_UNITS or len(value) <= 3) else None


MOBILE_MONEY_SERVICE: Final = Service(send, ask, read, check)
