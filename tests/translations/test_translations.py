"""The catalogs are whole, and figures are written as each language writes them."""

from __future__ import annotations

import ast
from datetime import date
from decimal import Decimal
from pathlib import Path
from string import Formatter

import pytest

import imis_core
from imis_core.claims.explaining import _LEVELS, _STATUS, WHY
from imis_core.eligibility.terms import CAPPED
from imis_core.translations import Writer, catalog, language_for, languages
from imis_core.values import Money

ROOT = Path(imis_core.__file__).parent
OTHERS = ("fr", "ne", "sw")


def said_in_code() -> set[str]:
    """Every sentence that stands in a call of `say` anywhere in the kernel."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "say":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(first.value)
    return found


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_languages_are_those_of_the_catalogs() -> None:
    """English is the source; French, Nepali and Swahili have catalogs."""
    assert languages() == ("en", *OTHERS)


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_translated_and_none_is_stale(language: str) -> None:
    """A sentence of the code without a translation, and a translation without a sentence, fail here."""
    tables = {*WHY.values(), *_STATUS.values(), *_LEVELS.values(), *CAPPED, "visit"}
    assert set(catalog(language)) == said_in_code() | tables


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_carries_the_figures_of_its_source(language: str) -> None:
    """No placeholder is lost, invented or misspelt; no translation is the English sentence."""
    for source, sentence in catalog(language).items():
        assert placeholders(sentence) == placeholders(source), source
        assert sentence != source or source == "consultation" or source == "hospitalisation", source


def test_amounts_have_the_decimals_of_their_currency() -> None:
    """0, 2 or 3 decimals by ISO 4217, whatever the language's own data say; no digit is lost."""
    english = Writer("en")
    assert english.money(Money(123456, "USD")) == "$1,234.56"
    assert english.money(Money(1234, "XAF")) == "FCFA\xa01,234"
    assert english.money(Money(1234567, "KWD")) == "KWD\xa01,234.567"
    assert english.money(Money(50, "UGX")) == "UGX\xa050"
    assert english.money(Money(9007199254740993, "USD")) == "$90,071,992,547,409.93"


def test_figures_are_written_as_the_language_writes_them() -> None:
    """Decimal comma and names of months in French, lakhs in Nepali, symbols where they belong."""
    french, nepali, swahili = (Writer(language) for language in OTHERS)
    assert french.money(Money(123456, "EUR")) == "1\u202f234,56\xa0€"
    assert french.percent(Decimal("12.5")) == "12,5\xa0%"
    assert french.day(date(2021, 2, 1)) == "1 février 2021"
    assert nepali.day(date(2021, 2, 1)) == "2021 फेब्रुअरी 1"
    assert nepali.quantity("1234567.5") == "12,34,567.5"
    assert swahili.day(date(2021, 2, 1)) == "1 Februari 2021"


@pytest.mark.parametrize(
    ("wanted", "offered", "language"),
    [
        (None, ("sw", "en"), "sw"),
        (None, ("am", "fr"), "fr"),  # the first that has a catalog
        (None, ("am",), "en"),
        ("fr", ("en",), "fr"),
        ("fr-TD", ("en",), "fr"),
        ("FR_td", ("en",), "fr"),
        ("xx", ("en",), None),
    ],
)
def test_which_language_is_written(wanted: str | None, offered: tuple[str, ...], language: str | None) -> None:
    """What is asked for, by its plain language; else the deployment's first one with a catalog; else English."""
    assert language_for(wanted, offered) == language
