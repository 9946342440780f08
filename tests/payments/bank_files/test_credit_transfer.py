"""Credit transfers are judged by the official schema of ISO 20022."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sepaxml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from imis_core.payments.bank_files.credit_transfer import Debtor, Transfer, is_iban, write
from imis_core.values import Money

SCHEMA = etree.XMLSchema(file=str(Path(sepaxml.__file__).parent / "schemas" / "pain.001.001.09.xsd"))
NAMES = {"p": "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"}
NOW = datetime(2021, 3, 1, 9, 30, tzinfo=UTC)
DEBTOR = Debtor(name="National Nutrition Agency", account="DE89370400440532013000", bank="COBADEFFXXX")
texts = st.text(min_size=0, max_size=300)


def document(transfers: list[Transfer], debtor: Debtor = DEBTOR, currency: str = "GMD") -> Any:
    out = io.BytesIO()
    total = Money(sum(t.amount.minor for t in transfers), currency)
    write(out, "m" * 35, NOW, date(2021, 3, 2), debtor, iter(transfers), len(transfers), total)
    tree = etree.fromstring(out.getvalue())
    SCHEMA.assertValid(tree)
    return tree


def values(tree: Any, path: str) -> list[str]:
    return [element.text for element in tree.findall(f".//p:{path}", NAMES)]


def test_the_sums_stand_at_the_head_and_each_transfer_below() -> None:
    """Number and control sum are those of the transfers; IBANs are told from other accounts."""
    tree = document(
        [
            Transfer("a" * 32, "Awa Touray", "001-234-567", Money(150000, "GMD"), "nafa P1"),
            Transfer("b" * 32, "Ben & Söhne <Ltd>", "GB82 WEST 1234 5698 7654 32", Money(5, "GMD"), "nafa P2"),
        ]
    )
    assert values(tree, "CtrlSum") == ["1500.05", "1500.05"]
    assert values(tree, "NbOfTxs") == ["2", "2"]
    assert values(tree, "EndToEndId") == ["a" * 32, "b" * 32]
    assert values(tree, "InstdAmt") == ["1500.00", "0.05"]
    assert values(tree, "Cdtr/p:Nm")[1] == "Ben & Söhne <Ltd>"
    assert values(tree, "CdtrAcct/p:Id/p:IBAN") == ["GB82WEST12345698765432"]
    assert values(tree, "CdtrAcct/p:Id/p:Othr/p:Id") == ["001-234-567"]


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a loaded machine
@given(
    name=texts, account=st.text(min_size=1, max_size=34), text=texts, minor=st.integers(1, 10**15),
    currency=st.sampled_from(("GMD", "XAF", "KWD")), debtor=texts,
)  # fmt: skip
def test_whatever_people_are_called_the_file_is_valid(
    name: str, account: str, text: str, minor: int, currency: str, debtor: str
) -> None:
    """Control characters, brackets, emptiness and length break no file; amounts have their currency's decimals."""
    tree = document(
        [Transfer("a" * 32, name, account, Money(minor, currency), text)], Debtor(name=debtor, account="X1"), currency
    )
    (amount,) = values(tree, "InstdAmt")
    assert Decimal(amount) == Decimal(str(Money(minor, currency)))


def test_announced_sums_that_are_not_those_of_the_transfers_are_refused() -> None:
    """A file whose head lies would be paid in part."""
    one = Transfer("a" * 32, "A", "X1", Money(100, "GMD"), "x")
    with pytest.raises(ValueError, match="announced"):
        write(io.BytesIO(), "m", NOW, date(2021, 3, 2), DEBTOR, [one], 2, Money(100, "GMD"))


@pytest.mark.parametrize(
    ("account", "is_one"),
    [
        ("GB82WEST12345698765432", True), ("DE89 3704 0044 0532 0130 00", True), ("GB83WEST12345698765432", False),
        ("001234567", False), ("", False),
    ],
)  # fmt: skip
def test_an_iban_is_known_by_its_check_digits(account: str, is_one: bool) -> None:
    assert is_iban(account) is is_one


def test_memory_does_not_grow_with_the_transfers() -> None:
    """One transfer at a time: ten times the transfers take no more memory."""

    def transfers(count: int) -> Iterator[Transfer]:
        for n in range(count):
            yield Transfer(f"{n:032x}", "Awa Touray", f"{n:09d}", Money(150000, "GMD"), "nafa")

    def peak(count: int) -> int:
        tracemalloc.start()
        with open("/dev/null", "wb") as out:
            write(out, "m", NOW, date(2021, 3, 2), DEBTOR, transfers(count), count, Money(150000 * count, "GMD"))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(20_000) < 2 * peak(2_000)
