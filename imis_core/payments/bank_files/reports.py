"""What a bank reports in ISO 20022 messages, as rows for reconciliation: pain.002, camt.053 and camt.054.

- pain.002 (payment status): `ACCC` and `ACSC` are paid, `RJCT` failed; other states (`ACCP`, `ACSP`, `PDNG`, ...) are
  no outcome yet. A message or batch that is rejected as a whole fails all its payments, which are named by the file.
- camt.053 and camt.054 (statement, notification): booked debits with our reference are paid; credits that carry a
  return are returned, with the bank's reason. Whatever names none of our references is the bank's own matter.

Files are from outside: no entities, no DTD, streamed, so that a statement of a million entries takes little memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import IO, Any, Final, Literal

from attrs import frozen
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse

from imis_core.payments.order_names import order_named

PAID: Final = frozenset({"ACCC", "ACSC"})
REJECTED: Final = "RJCT"
_KINDS: Final = re.compile(r"urn:iso:std:iso:20022:tech:xsd:(pain\.002|camt\.053|camt\.054)\.001\.\d\d\Z")
# What speaks of a whole message or batch (we write one batch a message, under one name): its state, and that name.
_WHOLE: Final = {
    "OrgnlGrpInfAndSts": ("GrpSts", "OrgnlMsgId"), "OrgnlPmtInfAndSts": ("PmtInfSts", "OrgnlPmtInfId"),
}  # fmt: skip
_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,5})?\Z", re.ASCII)  # of ISO 20022
NO_REFERENCE: Final = "NOTPROVIDED"


class NoReport(Exception):
    """The file is none of the messages that are read; the message says what it is."""


@frozen
class Line:
    """One payment in a report. `order` is an order's id; `amount` None where the bank tells none.

    `file` instead of an order: all payments of the file of that name (our message id).
    """

    order: str | None
    status: Literal["paid", "failed", "returned", "pending"]
    amount: Decimal | None
    currency: str | None
    reference: str | None
    reason: str | None
    file: str | None = None


def order_reference(order: str) -> str:
    """An order's id as it stands in a bank file: without dashes, since a reference has 35 characters."""
    return order.replace("-", "")


def read(source: IO[bytes]) -> Iterator[Line]:
    """The lines of a report in order. Raises `NoReport` for anything else, also in the middle of a file."""
    try:
        yield from _lines(source)
    except (ParseError, DefusedXmlException) as error:
        raise NoReport(f"it is no well-formed XML without entities: {error}") from None


def _lines(source: IO[bytes]) -> Iterator[Line]:
    kind = ""
    path: list[Any] = []
    for event, element in iterparse(source, events=("start", "end"), forbid_dtd=True):
        if event == "start":
            if not kind:
                kind = _kind(element.tag)
            path.append(element)
            continue
        path.pop()
        name = _name(element)
        if kind == "pain.002" and name == "TxInfAndSts":
            yield _status(element)
        elif kind == "pain.002" and name in _WHOLE and _child_text(element, _WHOLE[name][0]) == REJECTED:
            yield _whole(element, _child_text(element, _WHOLE[name][1]))
        elif kind != "pain.002" and name == "Ntry":
            yield from _entry(element)
        if name in ("TxInfAndSts", "Ntry"):
            element.clear()
            if path:
                path[-1].remove(element)  # what was told is forgotten
    if not kind:
        raise NoReport("it is empty")


def _kind(tag: str) -> str:
    namespace, _, _ = tag[1:].partition("}") if tag.startswith("{") else ("", "", "")
    found = _KINDS.match(namespace)
    if found is None:
        raise NoReport(f"it is {namespace or tag!r}, not a pain.002, camt.053 or camt.054 message of ISO 20022")
    return found[1]


def _status(element: Any) -> Line:
    state = _find(element, "TxSts")
    status: Literal["paid", "failed", "pending"] = (
        "paid" if state in PAID else "failed" if state == REJECTED else "pending"
    )
    amount, currency = _amount(_element(element, "OrgnlTxRef"), "InstdAmt")
    named = _find(element, "OrgnlEndToEndId") or ""
    return Line(order_named(named), status, amount, currency, _find(element, "AcctSvcrRef"), _reason(element))


def _whole(element: Any, file: str | None) -> Line:
    return Line(None, "failed", None, None, None, _reason(element), file=file or "")


def _entry(entry: Any) -> Iterator[Line]:
    """The transactions of a booked entry; an entry without details is one of its own."""
    status = _element(entry, "Sts")
    booked = status is not None and ((status.text or "").strip() or _find(status, "Cd")) == "BOOK"
    if not booked:
        return
    direction = _child_text(entry, "CdtDbtInd")
    reversal = _child_text(entry, "RvslInd") in ("true", "1")
    details = [d for d in entry.iter() if _name(d) == "TxDtls"] or [entry]
    for one in details:
        named = _find(one, "EndToEndId")
        if named is None or named == NO_REFERENCE:
            continue
        way = _child_text(one, "CdtDbtInd") or direction
        returned = _element(one, "RtrInf") is not None or reversal
        if way == "DBIT" and not returned:
            outcome: Literal["paid", "returned"] = "paid"
        elif way == "CRDT" and returned:
            outcome = "returned"
        else:
            continue  # money that came in under somebody else's reference
        amount, currency = _amount(one, "Amt")
        if amount is None:
            amount, currency = _amount(entry, "Amt")
        yield Line(order_named(named), outcome, amount, currency, _find(one, "AcctSvcrRef"), _reason(one))


def _reason(element: Any) -> str | None:
    for holder in ("StsRsnInf", "RtrInf"):
        inside = _element(element, holder)
        if inside is not None:
            said = [_find(inside, "Cd") or _find(inside, "Prtry"), _find(inside, "AddtlInf")]
            return " ".join(part for part in said if part) or None
    return None


def _amount(element: Any, name: str) -> tuple[Decimal | None, str | None]:
    found = None if element is None else _element(element, name)
    if found is None:
        return None, None
    text = (found.text or "").strip()
    return Decimal(text) if _AMOUNT.match(text) else None, found.get("Ccy")


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _element(element: Any, name: str) -> Any:
    """The first element of a name anywhere below."""
    return next((one for one in element.iter() if one is not element and _name(one) == name), None)


def _find(element: Any, name: str) -> str | None:
    found = _element(element, name)
    text = None if found is None else (found.text or "").strip()
    return text or None


def _child_text(element: Any, name: str) -> str | None:
    found = next((one for one in element if _name(one) == name), None)
    text = None if found is None else (found.text or "").strip()
    return text or None
