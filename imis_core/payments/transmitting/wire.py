"""What the services of the GovStack payments building block have in common: the list of details, and its values.

Two things that it leaves open are ours: `requestId` in a row of the details names the instruction, and an order's
number in decimal is the name that we give it. Touches no database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, Literal

import httpx
import msgspec

from imis_core.payments.transmitting.http import exchange
from imis_core.payments.transmitting.service import (
    REFERENCE_MAX,
    Gateway,
    NotKnown,
    NotListed,
    Page,
    Told,
    Turn,
    Unanswered,
    Unreadable,
)
from imis_core.values import MINOR_UNITS

BATCH_MAX: Final = 50  # characters of a batchId
PAGES_MAX: Final = 10_000  # a list that does not end before is none
# The specification has no word for what came back; these are those that operators have for it.
_STATUSES: Final[Mapping[str, Literal["paid", "failed", "returned", "pending"]]] = {
    "COMPLETED": "paid", "SUCCESS": "paid", "FAILED": "failed", "FAILURE": "failed",
    "REVERSED": "returned", "RETURNED": "returned", "REFUNDED": "returned",
    "IN_PROGRESS": "pending", "ONGOING": "pending", "PENDING": "pending", "REQUEST_ACCEPTED": "pending",
}  # fmt: skip
_exactly: Final = msgspec.json.Decoder(float_hook=Decimal).decode


def decoded(body: bytes) -> Any:
    """JSON with exact numbers. Raises ValueError."""
    try:
        return _exactly(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(type(error).__name__) from None


def message_of(body: bytes) -> dict[str, Any]:
    """The one object of a message. Raises `Unreadable`."""
    try:
        content = decoded(body)
    except ValueError:
        raise Unreadable("it is not JSON") from None
    if not isinstance(content, dict):
        raise Unreadable("it is no object")
    return content


def details(
    client: httpx.Client, gateway: Gateway, correlation: str, batch: str | None, turn: Turn
) -> Iterator[list[Any]]:
    """The rows of Batch Details, page by page, by our name for the batch; each page waits for its turn.

    Providers may give smaller pages than they are asked for: the list ends with a page that is shorter than its first
    one, or empty. Raises `NotKnown`, `NotListed`, `Unanswered`, and what `exchange` raises.
    """
    settings = gateway.settings
    asked = {"X-CorrelationID": correlation, "pageSize": str(settings.rows_per_page)}
    if batch is not None:
        asked["batchId"] = batch
    first: list[Any] = []
    for number in range(PAGES_MAX):
        turn()
        answer = exchange(client, gateway, "GET", "/api/v1/batch/detail", parameters={**asked, "pageNo": str(number)})
        if answer.status == 404 and number == 0:
            raise NotKnown
        if answer.status != 200:
            raise Unanswered(f"the provider answered {answer.status}")
        try:
            rows = decoded(answer.body)
        except ValueError:
            raise Unanswered("the provider's list is not JSON") from None
        if not isinstance(rows, list):
            raise Unanswered("the provider's list is no list")
        if number == 0 and not rows:
            # No rows may mean no batch, or one that is not listed yet: that is no answer.
            raise NotListed("the provider's list is empty")
        if number == 0:
            first = rows
        elif rows == first:
            return  # it does not turn pages: this is all of it
        if rows:
            yield rows
        if len(rows) < len(first) or not rows:
            return
    raise Unanswered("the provider's list does not end")


def page_of(rows: list[Any]) -> Page:
    """Rows of the details as they are understood."""
    told = [told_of(row) for row in rows]
    understood = [row for row in told if row is not None]
    batch = next((b for row in rows if isinstance(row, dict) and (b := text_of(row.get("batchId"), BATCH_MAX))), None)
    return Page(batch, understood, len(told) - len(understood))


def told_of(row: Any) -> Told | None:
    """A row of the details; None for one that says nothing that we understand."""
    if not isinstance(row, dict):
        return None
    order, status = text_of(row.get("requestId"), 40), _STATUSES.get(str(row.get("status")).upper())
    if order is None or status is None:
        return None
    amount = amount_of(row.get("amount"))
    if amount is None and status != "pending":
        return None
    reason = text_of(row.get("errorInformation")) or text_of(row.get("statusDetail"))
    return Told(
        order, status, amount, _currency(row.get("currency")), text_of(row.get("transactionId")),
        reason if status in ("failed", "returned") else None,
    )  # fmt: skip


def text_of(value: Any, longest: int = REFERENCE_MAX) -> str | None:
    """A text without what cannot be printed, cut to so many characters; None for anything else."""
    if not isinstance(value, str):
        return None
    text = "".join(character for character in value if character.isprintable()).strip()[:longest]
    return text or None


def number_of(value: Any) -> str | None:
    """A number by which something is called, as text or as a whole number of JSON; None for anything else, and for one
    that is too long to be kept: cut, it would be the number of something else."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return text_of(text) if isinstance(text, str) and len(text) <= REFERENCE_MAX else None


def amount_of(value: Any) -> Decimal | None:
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
