"""A simulated bank's files: credit transfers read (pain.001), reports written (pain.002, camt.053, camt.054)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import IO, Any, Final
from xml.sax.saxutils import escape

from attrs import frozen
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, iterparse

from imis_core.provider_simulator.books import PAID, RETURNED, transaction_id
from imis_core.provider_simulator.taking import Instruction, Malformed, unique
from imis_core.values import MINOR_UNITS, NotExact, minor_text, to_minor

_PAIN_1: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001."
_NAMESPACES: Final = {
    "pain.002": "pain.002.001.10", "camt.053": "camt.053.001.08", "camt.054": "camt.054.001.08",
}  # fmt: skip
_LEFT: Final = (PAID, RETURNED)  # the account was debited: what came back later is a credit of its own
_CODES: Final = {"account not found": "AC01", "account blocked": "AC06", "account dormant": "AC04"}
_OTHER_CODE: Final = "MS03"  # the reason is not specified by a code
_KIND_OF_BOOKING: Final = (
    "<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>ICDT</Cd><SubFmlyCd>OTHR</SubFmlyCd></Fmly></Domn></BkTxCd>"
)
_KIND_OF_RETURN: Final = _KIND_OF_BOOKING.replace("OTHR", "RRTN")  # reversal due to payment return


@frozen
class TransferFile:
    """A customer credit transfer initiation: its message id, the debtor's account, and what it asks to be paid."""

    message: str
    account: str
    instructions: list[Instruction]


def read_transfers(source: IO[bytes]) -> TransferFile:
    """A pain.001 file. Raises `Malformed` for anything else, and if its sums are not those of its transfers."""
    try:
        return _read(source)
    except (ParseError, DefusedXmlException) as error:
        raise Malformed(f"it is no well-formed XML without entities: {error}") from None
    except InvalidOperation:
        raise Malformed("its control sum is no number") from None


def _read(source: IO[bytes]) -> TransferFile:
    found: list[Instruction] = []
    said: dict[str, str] = {}
    path: list[Any] = []
    for event, element in iterparse(source, events=("start", "end"), forbid_dtd=True):
        name = _name(element)
        if event == "start":
            if not path and not str(element.tag).startswith(f"{{{_PAIN_1}"):
                raise Malformed(f"it is {element.tag}, no pain.001 message")
            path.append(element)
            continue
        path.pop()
        above = _name(path[-1]) if path else ""
        if above == "GrpHdr" and name in ("MsgId", "NbOfTxs", "CtrlSum"):
            said[name] = (element.text or "").strip()
        elif name == "DbtrAcct":
            said[name] = _account(element)
        elif name == "CdtTrfTxInf":
            found.append(_transfer(len(found) + 1, element))
            path[-1].remove(element)
    if not said.get("MsgId") or not found:
        raise Malformed("it has no message id, or no transfers")
    total = sum((Decimal(minor_text(one.amount_minor, one.currency)) for one in found), Decimal(0))
    if said.get("NbOfTxs") != str(len(found)) or Decimal(said.get("CtrlSum") or total) != total:
        announced = f"{said.get('NbOfTxs')} transfers of {said.get('CtrlSum')}"
        raise Malformed(f"it announces {announced}, and has {len(found)} of {total}")
    return TransferFile(said["MsgId"], said.get("DbtrAcct", ""), unique(found))


def _transfer(place: int, element: Any) -> Instruction:
    amount = _element(element, "InstdAmt")
    named = _element(element, "EndToEndId")
    if amount is None or named is None or not (named.text or "").strip():
        raise Malformed(f"transfer {place} has no amount or no EndToEndId")
    currency = amount.get("Ccy", "")
    try:
        minor = to_minor(Decimal((amount.text or "").strip()), currency) if currency in MINOR_UNITS else 0
    except (InvalidOperation, NotExact) as error:
        raise Malformed(f"transfer {place}: {error}") from None
    if minor <= 0:
        raise Malformed(f"transfer {place} has no amount above 0 in a known currency")
    account = _element(element, "CdtrAcct")
    text = _element(element, "Ustrd")
    return Instruction(
        named.text.strip(), "" if account is None else _account(account), minor, currency,
        None if text is None else (text.text or "").strip(),
    )  # fmt: skip


def _account(element: Any) -> str:
    found = _element(element, "IBAN")
    if found is None:
        other = _element(element, "Othr")
        found = None if other is None else _element(other, "Id")
    return "" if found is None else (found.text or "").strip()


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _element(element: Any, name: str) -> Any:
    return next((one for one in element.iter() if one is not element and _name(one) == name), None)


@frozen(kw_only=True)
class Reported:
    """What a report speaks of: the customer's message, the account that paid, when all was known, and the payments
    (rows of the books)."""

    message: str
    account: str
    at: float
    rows: Sequence[Any]

    @property
    def instant(self) -> str:
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def pain_002(about: Reported) -> Iterator[str]:
    """The status of every transfer: ACSC or RJCT with the reason."""
    rejected = sum(row["status"] not in _LEFT for row in about.rows)
    yield _opened("pain.002", "CstmrPmtStsRpt")
    yield f"<GrpHdr><MsgId>S-{_text(about.message, 33)}</MsgId><CreDtTm>{about.instant}</CreDtTm></GrpHdr>"
    yield (
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>{_text(about.message)}</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId>"
        f"<GrpSts>{'PART' if rejected else 'ACSC'}</GrpSts></OrgnlGrpInfAndSts>"
        f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{_text(about.message)}</OrgnlPmtInfId>\n"
    )
    for row in about.rows:
        reason = row["reason"] or ""
        why = (
            f"<StsRsnInf><Rsn><Cd>{_CODES.get(reason, _OTHER_CODE)}</Cd></Rsn>"
            f"<AddtlInf>{_text(reason, 105)}</AddtlInf></StsRsnInf>"
        )
        yield (
            f"<TxInfAndSts><OrgnlEndToEndId>{_text(row['request_id'])}</OrgnlEndToEndId>"
            f"<TxSts>{'RJCT' if row['status'] not in _LEFT else 'ACSC'}</TxSts>"
            f"{why if row['status'] not in _LEFT else ''}"
            f"<AcctSvcrRef>{transaction_id(row['number'])}</AcctSvcrRef>"
            f"<OrgnlTxRef><Amt><InstdAmt{_amount(row)}</InstdAmt></Amt></OrgnlTxRef></TxInfAndSts>\n"
        )
    yield "</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>\n"


def camt_054(about: Reported) -> Iterator[str]:
    """A notification of what was booked: a debit for each transfer that was paid."""
    yield _opened("camt.054", "BkToCstmrDbtCdtNtfctn")
    yield f"<GrpHdr><MsgId>N-{_text(about.message, 33)}</MsgId><CreDtTm>{about.instant}</CreDtTm></GrpHdr>"
    yield f"<Ntfctn><Id>N-{_text(about.message, 33)}</Id><CreDtTm>{about.instant}</CreDtTm>{_held(about)}\n"
    yield from _entries(about)
    yield "</Ntfctn></BkToCstmrDbtCdtNtfctn></Document>\n"


def camt_053(about: Reported) -> Iterator[str]:
    """A statement of the account: it was empty, and owes what was paid."""
    paid = [row for row in about.rows if row["status"] in _LEFT]
    currency = about.rows[0]["currency"]
    yield _opened("camt.053", "BkToCstmrStmt")
    yield f"<GrpHdr><MsgId>A-{_text(about.message, 33)}</MsgId><CreDtTm>{about.instant}</CreDtTm></GrpHdr>"
    yield f"<Stmt><Id>A-{_text(about.message, 33)}</Id><CreDtTm>{about.instant}</CreDtTm>{_held(about)}"
    closing = minor_text(sum(row["amount_minor"] for row in paid), currency)
    for kind, amount, way in (("OPBD", minor_text(0, currency), "CRDT"), ("CLBD", closing, "DBIT")):
        yield (
            f'<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp><Amt Ccy="{currency}">{amount}</Amt>'
            f"<CdtDbtInd>{way}</CdtDbtInd><Dt><Dt>{about.instant[:10]}</Dt></Dt></Bal>\n"
        )
    yield from _entries(about)
    yield "</Stmt></BkToCstmrStmt></Document>\n"


def camt_054_of_returns(about: Reported) -> Iterator[str]:
    """A notification of what came back: a credit with the return's reason for each."""
    named = _text(f"R{about.rows[0]['number']}-{about.message}")
    yield _opened("camt.054", "BkToCstmrDbtCdtNtfctn")
    yield f"<GrpHdr><MsgId>{named}</MsgId><CreDtTm>{about.instant}</CreDtTm></GrpHdr>"
    yield f"<Ntfctn><Id>{named}</Id><CreDtTm>{about.instant}</CreDtTm>{_held(about)}\n"
    for row in about.rows:
        reference = f"R{transaction_id(row['number'])}"
        yield (
            f"<Ntry><Amt{_amount(row)}</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>"
            f"<BookgDt><Dt>{about.instant[:10]}</Dt></BookgDt><AcctSvcrRef>{reference}</AcctSvcrRef>{_KIND_OF_RETURN}"
            f"<NtryDtls><TxDtls><Refs><AcctSvcrRef>{reference}</AcctSvcrRef>"
            f"<EndToEndId>{_text(row['request_id'])}</EndToEndId></Refs><Amt{_amount(row)}</Amt>"
            f"<CdtDbtInd>CRDT</CdtDbtInd><RtrInf><Rsn><Cd>{_OTHER_CODE}</Cd></Rsn>"
            f"<AddtlInf>{_text(row['reason'] or '', 105)}</AddtlInf></RtrInf></TxDtls></NtryDtls></Ntry>\n"
        )
    yield "</Ntfctn></BkToCstmrDbtCdtNtfctn></Document>\n"


REPORTS: Final[dict[str, Callable[[Reported], Iterator[str]]]] = {
    "pain.002": pain_002, "camt.053": camt_053, "camt.054": camt_054,
}  # fmt: skip


def _entries(about: Reported) -> Iterator[str]:
    day = f"<BookgDt><Dt>{about.instant[:10]}</Dt></BookgDt>"
    for row in about.rows:
        if row["status"] in _LEFT:
            reference = transaction_id(row["number"])
            yield (
                f"<Ntry><Amt{_amount(row)}</Amt><CdtDbtInd>DBIT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>{day}"
                f"<AcctSvcrRef>{reference}</AcctSvcrRef>{_KIND_OF_BOOKING}"
                f"<NtryDtls><TxDtls><Refs><AcctSvcrRef>{reference}</AcctSvcrRef>"
                f"<EndToEndId>{_text(row['request_id'])}</EndToEndId></Refs><Amt{_amount(row)}</Amt>"
                "<CdtDbtInd>DBIT</CdtDbtInd></TxDtls></NtryDtls></Ntry>\n"
            )


def _opened(kind: str, root: str) -> str:
    name = f"urn:iso:std:iso:20022:tech:xsd:{_NAMESPACES[kind]}"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{name}"><{root}>'


def _held(about: Reported) -> str:
    return f"<Acct><Id><Othr><Id>{_text(about.account or 'UNKNOWN', 34)}</Id></Othr></Id></Acct>"


def _amount(row: Any) -> str:
    return f' Ccy="{row["currency"]}">{minor_text(row["amount_minor"], row["currency"])}'


def _text(text: str, longest: int = 35) -> str:
    return escape(text[:longest])
