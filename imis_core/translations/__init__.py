"""Sentences for people, in the languages of deployments: looked up in catalogs (gettext's .po files) and filled in.

English is the source; a language has a catalog `<language>.po` beside this module. Numbers, amounts and dates are
written as the language writes them. It knows no room and says nothing by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Final

from babel import Locale
from babel.dates import format_date
from babel.messages.pofile import read_po
from babel.numbers import get_currency_symbol, parse_pattern

from imis_core.values import MINOR_UNITS, Money

SOURCE: Final = "en"
PERCENT_DECIMALS: Final = 6
NO_BREAK: Final = "\u00a0"
_SIGN_AT_NUMBER: Final = re.compile("¤(?=[#0])")
QUANTITY_DECIMALS: Final = 3


@cache
def languages() -> tuple[str, ...]:
    """The languages that have a catalog, English among them."""
    found = {entry.name.removesuffix(".po") for entry in files(__name__).iterdir() if entry.name.endswith(".po")}
    return tuple(sorted({SOURCE, *found}))


@cache
def catalog(language: str) -> Mapping[str, str]:
    """A language's sentences by their English source; the source itself has none."""
    if language == SOURCE:
        return {}
    with (files(__name__) / f"{language}.po").open("rb") as file:
        return {str(message.id): str(message.string) for message in read_po(file) if message.id and message.string}


class Writer:
    """Writes sentences in one language. A sentence without a translation is written in English."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._locale = Locale.parse(language)
        self._sentences = catalog(language)

    def say(self, sentence: str, **values: str | int) -> str:
        """A sentence with its figures, which come written already."""
        return self._sentences.get(sentence, sentence).format(**values)

    def money(self, amount: Money) -> str:
        """An amount with its currency, with just the decimals of ISO 4217."""
        decimals = MINOR_UNITS[amount.currency]
        written_as = self._locale.currency_formats["standard"].pattern
        if get_currency_symbol(amount.currency, self._locale)[-1].isalpha():
            written_as = _SIGN_AT_NUMBER.sub(f"¤{NO_BREAK}", written_as)  # letters stand apart from digits
        pattern = parse_pattern(written_as)
        pattern.frac_prec = (decimals, decimals)
        value = Decimal(amount.minor).scaleb(-decimals)
        written: str = pattern.apply(
            value, self._locale, currency=amount.currency, currency_digits=False, numbering_system="default"
        )
        return written

    def quantity(self, value: str | Decimal) -> str:
        """A quantity with the decimals that it has, at most three."""
        return self._decimals(self._locale.decimal_formats[None].pattern, Decimal(value), QUANTITY_DECIMALS)

    def percent(self, value: Decimal) -> str:
        """A percentage, 80 for 80 %."""
        return self._decimals(self._locale.percent_formats[None].pattern, value / 100, PERCENT_DECIMALS)

    def _decimals(self, form: str, value: Decimal, most: int) -> str:
        pattern = parse_pattern(form)
        pattern.frac_prec = (0, most)
        written: str = pattern.apply(value, self._locale, numbering_system="default")
        return written

    def day(self, day: date) -> str:
        """A day of the Gregorian calendar, with the month's name."""
        return format_date(day, "long", self._locale)


def language_for(wanted: str | None, offered: tuple[str, ...]) -> str | None:
    """The language to write in: the one that is asked for, else the first of the deployment's that has a catalog.

    None: what is asked for has no catalog. A region (`sw-TZ`) is written in its language.
    """
    known = languages()
    if wanted is not None:
        plain = wanted.replace("_", "-").partition("-")[0].lower()
        return plain if plain in known else None
    return next((language for language in offered if language in known), SOURCE)
