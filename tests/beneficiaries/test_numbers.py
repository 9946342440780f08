"""Rules of persons' numbers, against plain oracles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imis_core.beneficiaries.numbers import NumberRule, NumbersExhausted, luhn_digit, modulo_digit
from imis_core.deployment import PersonNumberRule

DIGITS = st.text("0123456789", min_size=1, max_size=25)


def luhn_valid(number: str) -> bool:
    """Luhn's rule as it is usually told: from the right every second digit doubled, 9 taken off above 9; sum by ten."""
    total = 0
    for place, digit in enumerate(int(d) for d in number[::-1]):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


@given(DIGITS)
def test_luhn_digit_completes_a_number(body: str) -> None:
    """Exactly one digit makes a body of digits valid by Luhn's rule."""
    valid = [d for d in "0123456789" if luhn_valid(body + d)]
    assert [luhn_digit(body)] == valid


def test_a_known_luhn_number() -> None:
    """The textbook's example: 7992739871 takes the digit 3."""
    assert luhn_digit("7992739871") == "3"


@given(DIGITS, st.integers(2, 10))
def test_modulo_digit_is_the_rest(body: str, modulo: int) -> None:
    """The last digit is the rest of the other digits divided by k."""
    number = body + modulo_digit(body, modulo)
    assert int(number[:-1]) % modulo == int(number[-1])


RULES = st.builds(
    PersonNumberRule,
    length=st.none() | st.integers(7, 30),
    checksum=st.none() | st.just("luhn") | st.integers(2, 10).map(lambda k: {"modulo": k}),
)


@given(RULES, st.integers(1, 999_999))
def test_generated_numbers_satisfy_their_own_rule(rule: PersonNumberRule, serial: int) -> None:
    """A generated number has the rule's length and check digit, and another serial gives another number."""
    checks = NumberRule(rule)
    number = checks.generate(serial)
    assert checks.refusal("number", number) is None
    assert len(number) == (rule.length or 10)
    assert checks.generate(serial + 1 if serial < 999_999 else 1) != number


@given(st.integers(0, 10**8 - 1), st.integers(0, 8), st.integers(1, 9))
def test_luhn_finds_every_mistyped_digit(serial: int, place: int, shift: int) -> None:
    """One wrong digit is always found."""
    checks = NumberRule(PersonNumberRule(length=9, checksum="luhn"))
    number = checks.generate(serial)
    wrong = number[:place] + str((int(number[place]) + shift) % 10) + number[place + 1 :]
    refusal = checks.refusal("number", wrong)
    assert refusal is not None
    assert refusal.code == "beneficiaries.number_checksum"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("", "input.invalid"),
        ("12345678", "beneficiaries.number_length"),
        ("1234567890", "beneficiaries.number_length"),
        ("12345678A", "beneficiaries.number_checksum"),
        ("१२३४५६७८९", "beneficiaries.number_checksum"),
        ("123456789", "beneficiaries.number_checksum"),
    ],
)
def test_a_number_that_breaks_the_rule_is_refused(number: str, code: str) -> None:
    """Empty, too short, too long, no digits, wrong check digit: each has its code."""
    refusal = NumberRule(PersonNumberRule(length=9, checksum={"modulo": 7})).refusal("number", number)
    assert refusal is not None
    assert refusal.code == code


def test_a_length_can_be_used_up() -> None:
    """A serial number that does not fit the length is told, never cut."""
    with pytest.raises(NumbersExhausted):
        NumberRule(PersonNumberRule(length=3, checksum="luhn")).generate(100)
