"""An ISO 20022 customer credit transfer initiation (pain.001.001.09) from orders. It knows no database.

Written as it is read: whatever the number of transfers, one is in memory at a time. The same transfers give the same
bytes. Texts are cut to the lengths that the message allows, and characters that XML 1.0 cannot hold are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from typing import BinaryIO, Final
from xml.sax.saxutils import escape

from attrs import frozen

from imis_core.values import Money

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
NAME_MAX: Final = 140  # characters, as Max140Text
ACCOUNT_MAX: Final = 34  # as Max34Text
TEXT_MAX: Final = 140
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}\Z")
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@frozen
class Transfer:
    """One payment. `reference` (at most 35 characters) comes back in every report about it."""

    reference: str
    name: str
    account: str
    amount: Money
    text: str


@frozen(kw_only=True)
class Debtor:
    """Who pays, from which account, at which bank. `bank`: its BIC, or absent where the bank knows itself."""

    name: str
    account: str
    bank: str | None = None


def write(
    out: BinaryIO, message: str, made_at: datetime, on: date, debtor: Debtor, transfers: Iterable[Transfer],
    count: int, total: Money,
) -> None:  # fmt: skip
    """Write one message with one batch of transfers; `message` (at most 35 characters) names the file to the bank.

    Raises `ValueError` if there are not `count` transfers of `total` together: the sums stand at the beginning.
    """
    written, summed = 0, 0
    out.write(_head(message, made_at, on, debtor, count, total).encode())
    for transfer in transfers:
        out.write(_transfer(transfer).encode())
        written, summed = written + 1, summed + transfer.amount.minor
    out.write(b"</PmtInf></CstmrCdtTrfInitn></Document>\n")
    if (written, summed) != (count, total.minor):
        raise ValueError(f"{written} transfers of {summed} minor units where {count} of {total.minor} were announced")


def is_iban(account: str) -> bool:
    """Whether an account is an IBAN: its form, and its check digits (ISO 13616: the rest by 97 is 1)."""
    compact = account.replace(" ", "").upper()
    if not _IBAN.match(compact):
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _head(message: str, made_at: datetime, on: date, debtor: Debtor, count: int, total: Money) -> str:
    name = _text(debtor.name, NAME_MAX)
    bank = f"<BICFI>{_text(debtor.bank, 11)}</BICFI>" if debtor.bank else "<Othr><Id>NOTPROVIDED</Id></Othr>"
    sums = f"<NbOfTxs>{count}</NbOfTxs><CtrlSum>{total}</CtrlSum>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{NAMESPACE}"><CstmrCdtTrfInitn>'
        f"<GrpHdr><MsgId>{_text(message, 35)}</MsgId><CreDtTm>{made_at.isoformat(timespec='seconds')}</CreDtTm>{sums}"
        f"<InitgPty><Nm>{name}</Nm></InitgPty></GrpHdr>"
        f"<PmtInf><PmtInfId>{_text(message, 35)}</PmtInfId><PmtMtd>TRF</PmtMtd><BtchBookg>true</BtchBookg>{sums}"
        f"<ReqdExctnDt><Dt>{on.isoformat()}</Dt></ReqdExctnDt><Dbtr><Nm>{name}</Nm></Dbtr>"
        f"<DbtrAcct><Id>{_account(debtor.account)}</Id><Ccy>{total.currency}</Ccy></DbtrAcct>"
        f"<DbtrAgt><FinInstnId>{bank}</FinInstnId></DbtrAgt>\n"
    )


def _transfer(one: Transfer) -> str:
    return (
        f"<CdtTrfTxInf><PmtId><EndToEndId>{_text(one.reference, 35)}</EndToEndId></PmtId>"
        f'<Amt><InstdAmt Ccy="{one.amount.currency}">{one.amount}</InstdAmt></Amt>'
        f"<Cdtr><Nm>{_text(one.name, NAME_MAX)}</Nm></Cdtr><CdtrAcct><Id>{_account(one.account)}</Id></CdtrAcct>"
        f"<RmtInf><Ustrd>{_text(one.text, TEXT_MAX)}</Ustrd></RmtInf></CdtTrfTxInf>\n"
    )


def _account(account: str) -> str:
    if is_iban(account):
        return f"<IBAN>{account.replace(' ', '').upper()}</IBAN>"
    return f"<Othr><Id>{_text(account, ACCOUNT_MAX)}</Id></Othr>"


def _text(text: str, longest: int) -> str:
    """Text that XML and the message take; what is empty is told as a dash, since the elements may not be empty."""
    kept = " ".join(_NO_XML.sub("", text).split())[:longest].strip()
    return escape(kept or "-")
