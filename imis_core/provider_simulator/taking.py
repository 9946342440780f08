"""Taking batches in: what a request must say, and what will come of each payment. All or nothing of a batch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid5

from attrs import frozen

from imis_core.provider_simulator.behaviour import NO_ACCOUNT, REASONS, RETURN_REASONS, Behaviour
from imis_core.provider_simulator.books import FAILED, PAID, Books, NewBatch, NewPayment
from imis_core.values import MINOR_UNITS, NotExact, to_minor

_BATCHES: Final = UUID("6d2d6e0e-5a0e-4a55-9a07-6f1f5c8f6a55")  # the name space of batch ids
_LONGEST: Final = {"requestId": 16, "paymentMode": 20, "currency": 3, "descriptionText": 50}
ACCOUNT_KEYS: Final = ("MSISDN", "accountNumber")


class Malformed(Exception):
    """The request says something that cannot be taken; the message says what."""


@frozen
class Instruction:
    """One payment that is asked for."""

    request_id: str
    account: str
    amount_minor: int
    currency: str
    text: str | None


def read_json(body: bytes) -> Any:
    """JSON whose numbers stay exact. Raises `Malformed`."""
    try:
        return json.loads(body, parse_float=Decimal)
    except ValueError as error:
        raise Malformed(f"the body is no JSON: {error}") from None


def bulk_instructions(body: bytes) -> list[Instruction]:
    """The instructions of BulkPayment. Raises `Malformed` for the first that cannot be taken."""
    given = read_json(body)
    if not isinstance(given, list) or not given:
        raise Malformed("the body is no list of credit instructions")
    return unique([_bulk_instruction(place, one) for place, one in enumerate(given)])


def unique(found: list[Instruction]) -> list[Instruction]:
    """The same; raises `Malformed` if a name stands in it twice."""
    if len({one.request_id for one in found}) < len(found):
        raise Malformed("an instruction's id stands twice in the batch")
    return found


def _bulk_instruction(place: int, one: Any) -> Instruction:
    if not isinstance(one, Mapping):
        raise Malformed(f"instruction {place} is no object")
    for name, longest in _LONGEST.items():
        text(one, name, longest, place, needed=name != "descriptionText")
    party(one, "debitParty", place)
    amount, currency = money(one, place)
    return Instruction(
        one["requestId"], party(one, "creditParty", place), amount, currency, one.get("descriptionText")
    )  # fmt: skip


def text(one: Mapping[str, Any], name: str, longest: int, place: int, *, needed: bool = True) -> str | None:
    """A text of an instruction. Raises `Malformed`."""
    found = one.get(name)
    if found is None and not needed:
        return None
    if not isinstance(found, str) or not 1 <= len(found) <= longest:
        raise Malformed(f"instruction {place}: {name} is a text of 1 to {longest} characters")
    return found


def money(one: Mapping[str, Any], place: int) -> tuple[int, str]:
    """Amount in minor units, and currency. Raises `Malformed`."""
    currency, amount = one.get("currency"), one.get("amount")
    if not isinstance(currency, str) or currency not in MINOR_UNITS:
        raise Malformed(f"instruction {place}: currency is a code of ISO 4217")
    if not isinstance(amount, int | Decimal) or isinstance(amount, bool) or amount <= 0:
        raise Malformed(f"instruction {place}: amount is a number above 0")
    try:
        return to_minor(amount, currency), currency
    except NotExact as error:
        raise Malformed(f"instruction {place}: {error}") from None


def party(one: Mapping[str, Any], name: str, place: int) -> str:
    """The account of a party. Raises `Malformed`."""
    given = one.get(name)
    for pair in given if isinstance(given, list) else ():
        if isinstance(pair, Mapping) and pair.get("key") in ACCOUNT_KEYS and isinstance(pair.get("value"), str):
            return str(pair["value"])
    raise Malformed(f"instruction {place}: {name} names no {' or '.join(ACCOUNT_KEYS)}")


def decided(
    behaviour: Behaviour, asked: Sequence[Instruction], now: float, reasons: Sequence[str] = REASONS
) -> list[NewPayment]:
    """What comes of each payment, and when; one that fails has one of the reasons."""
    found = []
    for one in asked:
        outcome, reason = fate(behaviour, one, reasons)
        found.append(
            NewPayment(
                one.request_id, one.account, one.amount_minor, one.currency, one.text, outcome, reason,
                now + due_after(behaviour, one.request_id),
            )
        )  # fmt: skip
    return found


def fate(behaviour: Behaviour, one: Instruction, reasons: Sequence[str] = REASONS) -> tuple[str, str | None]:
    """Whether a payment arrives, and if not the reason."""
    if behaviour.falls("unknown_accounts", one.account):
        return FAILED, NO_ACCOUNT
    if behaviour.falls("failures", one.request_id):
        return FAILED, behaviour.reason(one.request_id, reasons)
    return PAID, None


def due_after(behaviour: Behaviour, request: str) -> float:
    """Seconds until it is known."""
    return behaviour.delay_seconds + behaviour.chance("delay", request) * behaviour.delay_spread_seconds


def coming_back(behaviour: Behaviour, settled: Sequence[Any], now: float) -> list[tuple[int, str, float]]:
    """Which of the payments that were settled just now come back: number, reason, and when."""
    found = []
    for row in settled:
        request = row["request_id"]
        if row["status"] == PAID and behaviour.falls("returns", request):
            later = behaviour.chance("return delay", request) * behaviour.return_spread_seconds
            reason = behaviour.reason(request, RETURN_REASONS)
            found.append((row["number"], reason, now + behaviour.return_seconds + later))
    return found


def take(books: Books, new: NewBatch, payments: Sequence[NewPayment], now: float) -> tuple[str, int | None]:
    """Write a batch in the caller's transaction; its id, and its number in the books if it is new.

    One that was taken before is not taken again, whatever it says now.
    """
    known = books.batch(new.kind, new.tenant, new.correlation)
    if known is not None:
        return str(known["batch_id"]), None
    batch_id = str(uuid5(_BATCHES, f"{new.kind}/{new.tenant}/{new.correlation}"))
    return batch_id, books.take(new, batch_id, payments, now)
