"""From a batch to the bank and back: files written once, reports in the bank's own messages, and the ledger's word."""

from __future__ import annotations

import base64
import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sepaxml
import sqlalchemy as sa
from lxml import etree

from imis_core.errors import ImisError
from imis_core.testing.app import TestApp
from tests.payments.debts import Debts

SCHEMA = etree.XMLSchema(file=str(Path(sepaxml.__file__).parent / "schemas" / "pain.001.001.09.xsd"))
PAIN_2 = "urn:iso:std:iso:20022:tech:xsd:pain.002.001.10"
CAMT_54 = "urn:iso:std:iso:20022:tech:xsd:camt.054.001.08"


@pytest.fixture
def debts(app: TestApp) -> Debts:
    """Three persons with accounts at a bank, owed 1200.00 each, their orders sent."""
    debts = Debts(app, ("P1", "P2", "P3"))
    app.do("payments.register_provider", {"code": "BANK", "name": "Trust Bank", "channel": "bank_file"})
    app.do_all(
        "payments.enrol_recipient",
        [{"number": f"P{n}", "provider": "BANK", "account": f"00{n}"} for n in (1, 2, 3)],
    )
    debts.order()
    app.do("payments.submit", {"payroll": "B7"})
    return debts


def set_bank(debts: Debts) -> None:
    debts.app.do("payments.set_bank", {"provider": "BANK", "debtor": "Agency", "account": "DE89370400440532013000"})


def files(debts: Debts, **more: Any) -> Any:
    return debts.app.do("payments.bank_files", {"payroll": "B7", **more})


def content(debts: Debts, file: Any) -> Any:
    found = debts.app.do("attachments.read", {"attachment": file["attachment"]})
    data = base64.b64decode(found["content"])
    assert hashlib.sha256(data).hexdigest() == file["digest"]
    tree = etree.fromstring(data)
    SCHEMA.assertValid(tree)
    return tree


def references(tree: Any) -> list[str]:
    return [element.text for element in tree.iter("{*}EndToEndId")]


def report(debts: Debts, xml: str, name: str = "bank.xml") -> Any:
    data = {"provider": "BANK", "name": name, "content": base64.b64encode(xml.encode()).decode()}
    answer = debts.app.do("payments.reconcile_file", data)
    return {key: value for key, value in answer.items() if value}


def states(debts: Debts) -> list[str]:
    return [order["status"] for order in debts.orders()]


def test_each_order_goes_into_one_file_and_never_into_another(debts: Debts) -> None:
    """Asked for again, nothing is written: an order in two files would be paid twice."""
    set_bank(debts)
    made = files(debts)
    (file,) = made["files"]
    assert (file["orders"], file["amount"], made["unwritable"]) == (3, "3600.00", 0)
    tree = content(debts, file)
    assert sorted(references(tree)) == sorted(order["id"].replace("-", "") for order in debts.orders())
    assert next(tree.iter("{*}MsgId")).text == file["id"].replace("-", "")
    assert files(debts)["files"] == []


def test_what_was_written_is_found_again_with_its_digest_in_the_log(debts: Debts) -> None:
    """A file is listed for good, always the same bytes; the sealed audit log has its digest, orders and sum."""
    set_bank(debts)
    made = files(debts, orders_max=2)["files"]
    listed = debts.app.do("payments.written_bank_files", {"payroll": "B7"})
    assert listed == made == debts.app.do("payments.written_bank_files", {"provider": "BANK"})
    assert [content(debts, file).tag for file in listed] == [content(debts, file).tag for file in made]
    entries = debts.app.rows(
        "SELECT input, accepted FROM core.audit_entries WHERE command = 'payments.bank_files' ORDER BY id"
    )
    logged = [fact for entry in entries for fact in entry["input"] if "digest" in fact]
    assert [(fact["file"], fact["digest"], fact["orders"], fact["amount"]) for fact in logged] == [
        (file["id"], file["digest"], file["orders"], file["amount"]) for file in made
    ]
    before = len(entries)
    assert files(debts)["files"] == []
    again = debts.app.rows("SELECT input FROM core.audit_entries WHERE command = 'payments.bank_files' ORDER BY id")
    assert [fact for entry in again[before:] for fact in entry["input"] if "digest" in fact] == []


def test_files_are_cut_where_the_bank_has_a_limit(debts: Debts) -> None:
    """Parts of at most that many orders, whose sums are those of the whole."""
    set_bank(debts)
    made = files(debts, orders_max=2)["files"]
    assert [(file["orders"], file["amount"]) for file in made] == [(2, "2400.00"), (1, "1200.00")]
    together = [reference for file in made for reference in references(content(debts, file))]
    assert len(set(together)) == 3


def test_a_retried_order_goes_into_a_file_of_its_own(debts: Debts) -> None:
    """The failed order stays where it was; its next attempt is another order."""
    set_bank(debts)
    files(debts)
    order = debts.orders()[0]["id"]
    row = {"order": order, "status": "failed", "amount": "1200.00", "reason": "AC04"}
    debts.app.do("payments.reconcile", {"provider": "BANK", "rows": [row]})
    again = debts.app.do("payments.retry", {"order": order})["id"]
    debts.app.do("payments.submit", {"payroll": "B7"})
    (file,) = files(debts)["files"]
    assert references(content(debts, file)) == [again.replace("-", "")]


def test_without_the_debtors_account_nothing_is_written(debts: Debts) -> None:
    """The refusal says what to run; the orders wait for it."""
    with pytest.raises(ImisError) as error:
        files(debts)
    assert error.value.code == "payments.no_bank"
    set_bank(debts)
    assert len(files(debts)["files"]) == 1


def test_an_account_that_fits_into_no_file_is_counted_and_waits(debts: Debts) -> None:
    """Its order is in no file until the account is mended and the order is sent anew."""
    set_bank(debts)
    with debts.inside() as context:
        context.execute(sa.text("UPDATE core.recipients SET account = repeat('1', 40) WHERE account = '002'"))
    made = files(debts)
    assert (made["files"][0]["orders"], made["unwritable"]) == (2, 1)


def test_a_payment_status_report_settles(debts: Debts) -> None:
    """ACSC and ACCC are paid, RJCT has failed with the bank's reason, ACSP is on its way; twice changes nothing."""
    set_bank(debts)
    files(debts)
    one, two, three = (order["id"].replace("-", "") for order in debts.orders())
    transactions = "".join(
        f"<TxInfAndSts><OrgnlEndToEndId>{reference}</OrgnlEndToEndId><TxSts>{status}</TxSts>{more}</TxInfAndSts>"
        for reference, status, more in (
            (one, "ACSC", "<OrgnlTxRef><Amt><InstdAmt Ccy='USD'>1200.00</InstdAmt></Amt></OrgnlTxRef>"),
            (two, "RJCT", "<StsRsnInf><Rsn><Cd>AC04</Cd></Rsn><AddtlInf>account closed</AddtlInf></StsRsnInf>"),
            (three, "ACSP", ""),
        )
    )
    xml = (
        f"<Document xmlns='{PAIN_2}'><CstmrPmtStsRpt><GrpHdr><MsgId>1</MsgId></GrpHdr><OrgnlGrpInfAndSts>"
        f"<OrgnlMsgId>x</OrgnlMsgId><GrpSts>PART</GrpSts></OrgnlGrpInfAndSts><OrgnlPmtInfAndSts>"
        f"<OrgnlPmtInfId>x</OrgnlPmtInfId>{transactions}</OrgnlPmtInfAndSts></CstmrPmtStsRpt></Document>"
    )
    assert report(debts, xml) == {"matched": 2, "pending": 1}
    assert states(debts) == ["paid", "failed", "submitted"]
    assert debts.orders()[1]["reason"] == "AC04 account closed"
    assert report(debts, xml) == {"already_reconciled": 2, "pending": 1}


def test_a_file_that_the_bank_rejects_as_a_whole_fails_all_its_orders(debts: Debts) -> None:
    """The report names only our file; every order in it has failed, with the reason."""
    set_bank(debts)
    (file,) = files(debts)["files"]
    xml = (
        f"<Document xmlns='{PAIN_2}'><CstmrPmtStsRpt><OrgnlGrpInfAndSts><OrgnlMsgId>{file['id'].replace('-', '')}"
        "</OrgnlMsgId><GrpSts>RJCT</GrpSts><StsRsnInf><Rsn><Cd>AM05</Cd></Rsn></StsRsnInf></OrgnlGrpInfAndSts>"
        "</CstmrPmtStsRpt></Document>"
    )
    assert report(debts, xml) == {"matched": 3}
    assert states(debts) == ["failed"] * 3
    other = xml.replace(file["id"].replace("-", ""), "0" * 32)
    assert report(debts, other)["rows"] == [{"row": 1, "field": "file", "code": "unknown"}]


def test_a_notification_of_bookings_settles_and_takes_returns(debts: Debts) -> None:
    """Booked debits are paid, credits with a return are returned, and what is pending or not ours is left alone."""
    set_bank(debts)
    files(debts)
    one, two, _ = (order["id"].replace("-", "") for order in debts.orders())

    def entry(reference: str, way: str, amount: str = "1200.00", status: str = "BOOK", more: str = "") -> str:
        return (
            f"<Ntry><Amt Ccy='USD'>{amount}</Amt><CdtDbtInd>{way}</CdtDbtInd><Sts><Cd>{status}</Cd></Sts><NtryDtls>"
            f"<TxDtls><Refs><EndToEndId>{reference}</EndToEndId></Refs>{more}</TxDtls></NtryDtls></Ntry>"
        )

    def notification(*entries: str) -> str:
        inside = "".join(entries)
        return f"<Document xmlns='{CAMT_54}'><BkToCstmrDbtCdtNtfctn><Ntfctn>{inside}</Ntfctn></BkToCstmrDbtCdtNtfctn></Document>"  # noqa: E501

    first = notification(
        entry(one, "DBIT"), entry(two, "DBIT", status="PDNG"), entry("NOTPROVIDED", "DBIT"), entry(one, "CRDT")
    )
    assert report(debts, first) == {"matched": 1}
    assert states(debts) == ["paid", "submitted", "submitted"]
    back = "<RtrInf><Rsn><Cd>AC06</Cd></Rsn></RtrInf>"
    assert report(debts, notification(entry(one, "CRDT", more=back), entry(two, "DBIT", "1200.01"))) == {
        "matched": 1, "wrong_amount": 1,
    }  # fmt: skip
    assert states(debts) == ["returned", "submitted", "submitted"]
    assert debts.orders()[0]["reason"] == "AC06"


@pytest.mark.parametrize(
    "xml",
    [
        "<a/>",
        "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:pain.001.001.09'/>",
        f"<Document xmlns='{PAIN_2}'><CstmrPmtStsRpt>",
        f"<!DOCTYPE a [<!ENTITY e 'x'>]><Document xmlns='{PAIN_2}'>&e;</Document>",
    ],
)
def test_anything_else_is_refused_whole(debts: Debts, xml: str) -> None:
    """Another message, half a file, and XML with entities (which can blow up) are no report."""
    with pytest.raises(ImisError) as error:
        report(debts, xml)
    assert error.value.code == "file.format"
    assert states(debts) == ["submitted"] * 3


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"provider": "POST"}, "provider"), ({"debtor": " "}, "debtor"), ({"account": "1" * 35}, "account"),
        ({"bank": "abc"}, "bank"),
    ],
)  # fmt: skip
def test_a_wrong_debtor_is_refused_with_its_field(debts: Debts, data: dict[str, Any], field: str) -> None:
    debts.app.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    with pytest.raises(ImisError) as error:
        debts.app.do("payments.set_bank", {"provider": "BANK", "debtor": "A", "account": "1", **data})
    assert [problem.path for problem in error.value.refusal.problems] == [field]


def test_the_bank_is_not_asked_to_pay_in_the_past(debts: Debts) -> None:
    set_bank(debts)
    with pytest.raises(ImisError) as error:
        files(debts, on=date(2020, 12, 31).isoformat())
    assert error.value.code == "input.invalid"


def test_a_file_costs_the_same_statements_whatever_its_orders(debts: Debts) -> None:
    """No statement per order."""
    set_bank(debts)
    before = debts.app.database.statements
    files(debts)
    first = debts.app.database.statements - before
    more = Debts(debts.app, [f"Q{n}" for n in range(40)])
    more.batch = 8
    debts.app.do_all(
        "payments.enrol_recipient",
        [{"number": f"Q{n}", "provider": "BANK", "account": f"9{n}"} for n in range(40)],
    )
    more.order()
    debts.app.do("payments.submit", {"payroll": "B7"})
    before = debts.app.database.statements
    assert files(debts)["files"][0]["orders"] == 43
    assert debts.app.database.statements - before <= first + 1
