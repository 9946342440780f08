"""Values with exact arithmetic: amounts in whole minor units, quantities in thousandths, months on the calendar."""

from __future__ import annotations

from calendar import monthrange
from datetime import MAXYEAR, date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final, NewType, cast

from attrs import frozen

# What an input says before it is known in which currency: exact decimals, never floats.
Amount = NewType("Amount", Decimal)
Quantity = NewType("Quantity", Decimal)
Percent = NewType("Percent", Decimal)
MonthDay = NewType("MonthDay", str)
Rate = NewType("Rate", Decimal)

INT64_MAX: Final = 2**63 - 1
_DIGITS_MAX: Final = 100  # more than any 64-bit number has, few enough to compute with at once
THOUSANDTHS: Final = 1000
_REMEMBERED: Final = 4096  # results kept of what batches compute over and over: prices, quantities, starts of policies

# ISO 4217 minor units that differ from two (source: the ISO 4217 list, maintained by SIX).
_NO_MINOR = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_TWO = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP "
    "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
    "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN "
    "NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
    "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG XXX YER ZAR ZMW ZWG"
)
MINOR_UNITS: Final[dict[str, int]] = {
    **dict.fromkeys(_NO_MINOR.split(), 0),
    **dict.fromkeys(_THREE.split(), 3),
    **dict.fromkeys(_TWO.split(), 2),
}


class NotExact(ValueError):
    """An amount that has more decimals than the currency, or does not fit 64 bits."""


def to_minor(amount: Decimal | int, currency: str) -> int:
    """An amount in whole minor units of the currency.

    Raises `NotExact` when it has more decimals than the currency or lies beyond 64 bits.
    """
    decimals = MINOR_UNITS[currency]
    whole = _scaled(Decimal(amount), decimals, INT64_MAX)
    if whole is None:
        raise NotExact(f"{amount} has more decimals than {currency} ({decimals})")
    return whole


@lru_cache(_REMEMBERED)
def _scaled(value: Decimal, decimals: int, largest: int) -> int | None:
    """`value` x 10^decimals as a whole number, without the 28 digits to which Decimal's own arithmetic rounds.

    None: it has more decimals. `NotExact`: it is too large.
    """
    if value.adjusted() > _DIGITS_MAX:
        raise NotExact(f"{value} is larger than can be kept")
    if value and cast(int, value.as_tuple().exponent) < -_DIGITS_MAX:
        return None
    numerator, denominator = value.as_integer_ratio()
    factor: int = 10**decimals
    whole, rest = divmod(numerator * factor, denominator)
    if rest:
        return None
    if abs(whole) > largest:
        raise NotExact(f"{value} is larger than can be kept")
    return whole


def minor_text(minor: int, currency: str) -> str:
    """Minor units as a decimal string with the currency's decimals: 44500, USD -> '445.00'."""
    decimals = MINOR_UNITS[currency]
    if decimals == 0:
        return str(minor)
    sign = "-" if minor < 0 else ""
    digits = str(abs(minor)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


@frozen
class Money:
    """Whole minor units of one currency; the edge shows it as a decimal string."""

    minor: int
    currency: str

    def __str__(self) -> str:
        return minor_text(self.minor, self.currency)


def to_thousandths(quantity: Decimal) -> int:
    """A quantity (up to three decimals, health_insurance contract) in thousandths; raises `NotExact` beyond that."""
    thousandths = _scaled(quantity, 3, INT64_MAX // THOUSANDTHS)
    if thousandths is None:
        raise NotExact(f"{quantity} has more decimals than the three of a quantity")
    return thousandths


def thousandths_text(thousandths: int) -> str:
    """7000 -> '7', 2500 -> '2.5'."""
    whole, rest = divmod(abs(thousandths), THOUSANDTHS)
    sign = "-" if thousandths < 0 else ""
    return sign + (f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole))


def round_half_up(value: Decimal) -> int:
    """A decimal amount rounded to a whole number, halves away from zero (contract-kernel.md, conventions)."""
    return int(value.to_integral_value(ROUND_HALF_UP))


def share_half_up(minor: int, percent: Decimal) -> int:
    """`minor` x percent / 100, rounded half up, computed exactly for any 64-bit amount."""
    numerator, denominator = percent.as_integer_ratio()
    divisor = 100 * denominator
    product = minor * numerator
    sign = -1 if product < 0 else 1
    return sign * ((2 * abs(product) + divisor) // (2 * divisor))


@lru_cache(_REMEMBERED)
def add_months(day: date, months: int) -> date:
    """The same day n months later, clamped to that month's last day (contract-health.md, month arithmetic).

    What would lie after the year 9999 is the calendar's last day: a period without an end.
    """
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    if year > MAXYEAR:
        return date.max
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def day_before(day: date) -> date:
    return day - timedelta(days=1)


def full_years(born: date, on: date) -> int:
    """Age in full years on a day; someone born on 29 February turns a year older on 1 March of common years."""
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))
