"""Vouchers of a simulated provider: made, activated, redeemed, cancelled (GovStack, voucher management).

A voucher's states: 1 made, 2 activated, 3 cancelled, 5 redeemed; 9 is an error. Who redeems it is decided when it is
activated, as for any payment; `redeem` does it by hand.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from imis_core.provider_simulator.behaviour import Behaviour
from imis_core.provider_simulator.books import FAILED, PAID, PENDING, Books, NewBatch, NewPayment, transaction_id
from imis_core.provider_simulator.callbacks import number, posted
from imis_core.provider_simulator.http import Answer, Request
from imis_core.provider_simulator.taking import (
    Instruction,
    Malformed,
    due_after,
    fate,
    money,
    read_json,
    take,
    text,
    unique,
)

MADE, ACTIVATED, CANCELLED, REDEEMED, ERROR = 1, 2, 3, 5, 9
_SERIAL_DIGITS: Final = 10
_CANCELLED: Final = "cancelled"


def create(books: Books, request: Request) -> Answer:
    """VoucherPreactivationRequest: a voucher for each instruction; the serial numbers come by callback."""
    given = _object(request)
    called = _request_id(given, "requestID")
    asked = given.get("voucherInstructions")
    if not isinstance(asked, list) or not asked:
        raise Malformed("voucherInstructions is no list of instructions")
    found = unique([_instruction(place, one) for place, one in enumerate(asked)])
    groups = {one["instructionID"]: one.get("groupCode") for one in asked}
    url = request.headers.get("x-callback-url")
    new = NewBatch(
        kind="voucher", tenant=request.headers.get("platform-tenantid", ""), correlation=called,
        program=request.headers.get("x-program-id"),
        institution=request.headers.get("x-registering-institution-id"), callback_url=url,
    )  # fmt: skip
    now = time.time()
    waiting = [NewPayment(i.request_id, i.account, i.amount_minor, i.currency, i.text, None, None, None) for i in found]
    with books.transaction():
        batch_id, fresh = take(books, new, waiting, now)
        if fresh is not None:
            made = books.rows("SELECT number, request_id FROM payments WHERE batch = ?", fresh)
            books.change_all(
                "INSERT INTO vouchers (serial, payment, secret, group_code, state) VALUES (?, ?, ?, ?, ?)",
                [(_serial(r["number"]), r["number"], _secret(books, r["number"]), groups[r["request_id"]], MADE)
                 for r in made],
            )  # fmt: skip
        if url:  # told again when it is asked again: the first callback may have been lost
            body = _details(books, batch_id, called, str(given.get("batchID", "")))
            books.add_callbacks(list(posted(books.behaviour, url, called, f"{called}/{now}", body, now)))
    return _said(called, "created")


def named(request: Request) -> str:
    """The name of a request to make vouchers, under which they are made once, or to cancel some."""
    return _request_id(_object(request), "requestID")


def activate(books: Books, request: Request) -> Answer:
    """VoucherActivate: made vouchers may be redeemed from now on; those that cannot be are told by callback."""
    given = _object(request)
    called = _request_id(given, "RequestID")
    now = time.time()
    behaviour = books.behaviour
    failed = []
    with books.transaction():
        for serial in _serials(given, "VoucherInstructions"):
            row = _voucher(books, serial)
            if row is None or row["state"] not in (MADE, ACTIVATED):
                failed.append((serial, "there is no such voucher" if row is None else f"its state is {row['state']}"))
            elif row["state"] == MADE:
                books.change("UPDATE vouchers SET state = ? WHERE serial = ?", ACTIVATED, serial)
                _let_redeem(books, behaviour, row, now)
        _confirm(books, request, called, failed, now)
    return _said(called, "activation is under way")


def cancel(books: Books, request: Request) -> Answer:
    """VoucherCancellation: a voucher that was not redeemed is worth nothing any more."""
    given = _object(request)
    called = _request_id(given, "requestID")
    now = time.time()
    failed = []
    with books.transaction():
        for serial in _serials(given, "voucherInstructions"):
            row = _voucher(books, serial)
            if row is None or row["state"] not in (MADE, ACTIVATED):
                failed.append((serial, "there is no such voucher" if row is None else f"its state is {row['state']}"))
                continue
            books.change("UPDATE vouchers SET state = ? WHERE serial = ?", CANCELLED, serial)
            books.change(
                "UPDATE payments SET outcome = ?, reason = ?, due_at = ? WHERE number = ?",
                FAILED, _CANCELLED, now, row["payment"],
            )  # fmt: skip
        _confirm(books, request, called, failed, now)
    return Answer(200, _json({"responseCode": "00", "responseDescription": "cancelled", "requestID": called}))


def redeem(books: Books, request: Request) -> Answer:
    """VoucherRedemption: whoever has serial and secret number gets its worth, once."""
    given = _object(request)
    serial = str(given.get("voucherSerialNumber", ""))
    now = time.time()
    with books.transaction():
        row = _voucher(books, serial)
        able = row is not None and row["state"] == ACTIVATED and row["status"] == PENDING  # not one that failed
        good = able and row["secret"] == given.get("voucherSecretNumber")
        if good and row is not None:
            books.change(
                "UPDATE payments SET outcome = ?, reason = NULL, due_at = ? WHERE number = ?", PAID, now, row["payment"]
            )
            books.change("UPDATE vouchers SET state = ? WHERE serial = ?", REDEEMED, serial)
    worth = number(row["amount_minor"] if good and row else 0, row["currency"] if row else "XXX")
    return Answer(
        200,
        _json(
            {
                "status": int(good), "message": "redeemed" if good else "refused", "serialNumber": serial,
                "value": worth, "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
                "transactionId": transaction_id(row["payment"]) if row else "",
            }
        ),
    )  # fmt: skip


def status(books: Books, serial: str) -> Answer:
    """VoucherStatus."""
    row = _voucher(books, serial)
    if row is None:
        said = {"status": ERROR, "message": "there is no such voucher", "serialNumber": serial, "value": 0.0}
        return Answer(400, _json(said))
    worth = number(row["amount_minor"], row["currency"])
    return Answer(200, _json({"status": row["state"], "serialNumber": serial, "value": worth}))


def _let_redeem(books: Books, behaviour: Behaviour, row: Any, now: float) -> None:
    if behaviour.falls("unredeemed", row["request_id"]):
        return
    one = Instruction(row["request_id"], row["account"], row["amount_minor"], row["currency"], None)
    outcome, reason = fate(behaviour, one)
    due = now + due_after(behaviour, one.request_id)
    books.change(
        "UPDATE payments SET outcome = ?, reason = ?, due_at = ? WHERE number = ?", outcome, reason, due, row["payment"]
    )


def _voucher(books: Books, serial: str) -> Any:
    return books.row(
        "SELECT v.serial, v.payment, v.secret, v.state, p.status, p.request_id, p.account, p.amount_minor, p.currency "
        "FROM vouchers v JOIN payments p ON p.number = v.payment WHERE v.serial = ?",
        serial,
    )


def _details(books: Books, batch_id: str, named: str, batch: str) -> bytes:
    """The body of VoucherCreationResponse."""
    rows = books.rows(
        "SELECT p.request_id, p.amount_minor, p.currency, p.text, v.serial, v.secret FROM payments p "
        "JOIN batches b ON b.number = p.batch JOIN vouchers v ON v.payment = p.number WHERE b.batch_id = ? "
        "ORDER BY p.number", batch_id,
    )  # fmt: skip
    told = [
        {
            "instructionID": r["request_id"], "serialNumber": r["serial"], "voucherNumber": r["secret"],
            "currency": r["currency"], "amount": number(r["amount_minor"], r["currency"]), "narration": r["text"] or "",
        }
        for r in rows
    ]  # fmt: skip
    return _json({"requestID": named, "batchID": batch, "voucherInstructions": told})


def _confirm(books: Books, request: Request, named: str, failed: Sequence[tuple[str, str]], now: float) -> None:
    """The callback of VoucherActivateResponse and VoucherCancellationResponse, where one is wanted."""
    url = request.headers.get("x-callback-url")
    if url:
        cases = [{"serialNumber": serial, "failureReason": reason} for serial, reason in failed]
        said = {
            "requestID": f"R{int(now * 1000) % 10**11}", "registerRequestID": named, "numberFailedCases": len(cases),
            "failedCases": cases,
        }  # fmt: skip
        books.add_callbacks(list(posted(books.behaviour, url, named, f"{named}/{now}", _json(said), now)))


def _instruction(place: int, one: Any) -> Instruction:
    if not isinstance(one, Mapping):
        raise Malformed(f"instruction {place} is no object")
    named = text(one, "instructionID", 16, place) or ""
    text(one, "groupCode", 3, place, needed=False)
    amount, currency = money(one, place)
    return Instruction(
        named, text(one, "payeeFunctionalID", 20, place) or "", amount, currency,
        text(one, "narration", 50, place, needed=False),
    )  # fmt: skip


def _object(request: Request) -> Mapping[str, Any]:
    given = read_json(request.body)
    if not isinstance(given, Mapping):
        raise Malformed("the body is no object")
    return given


def _request_id(given: Mapping[str, Any], name: str) -> str:
    found = given.get(name)
    if not isinstance(found, str) or not 1 <= len(found) <= 12:
        raise Malformed(f"{name} is a text of 1 to 12 characters")
    return found


def _serials(given: Mapping[str, Any], name: str) -> list[str]:
    asked = given.get(name)
    if not isinstance(asked, list) or not all(isinstance(one, Mapping) for one in asked):
        raise Malformed(f"{name} is a list of vouchers")
    return [str(one.get("serialNumber", "")) for one in asked]


def _serial(payment: int) -> str:
    return f"{payment:0{_SERIAL_DIGITS}d}"


def _secret(books: Books, payment: int) -> str:
    """The number that redeems a voucher."""
    digest = hashlib.sha256(f"{books.behaviour.seed}/{payment}".encode()).hexdigest()
    return str(int(digest, 16) % 10**6).rjust(6, "0")


def _said(named: str, description: str) -> Answer:
    return Answer(200, _json({"ResponseCode": "00", "ResponseDescription": description, "RequestID": named}))


def _json(said: Any) -> bytes:
    return msgspec.json.encode(said)
