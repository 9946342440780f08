"""Numbers of persons: the deployment's rule of length and check digit (health_insurance.md 1), and fresh numbers.

Whether a number is free is not known here. Plugins may have rules of their own (`imis_person_number_batch`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from attrs import evolve

from imis_core import hookspecs
from imis_core.deployment import PersonNumberRule
from imis_core.errors import Problem, Refusal, invalid
from imis_core.naming import code_problem
from imis_core.plugins import KERNEL

if TYPE_CHECKING:
    from imis_core.context import Context

DEFAULT_LENGTH: Final = 10  # of generated numbers where no rule gives a length
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # Luhn: twice a digit, digits added


class NumbersExhausted(Exception):
    """The rule's length has no room for another generated number."""


def luhn_digit(body: str) -> str:
    """The check digit that Luhn's rule appends to a body of digits."""
    total = 0
    for position, digit in enumerate(reversed(body)):
        value = ord(digit) - 48
        total += _DOUBLED[value] if position % 2 == 0 else value
    return str(-total % 10)


def modulo_digit(body: str, modulo: int) -> str:
    """The last digit of a number whose last digit is the rest of the others divided by `modulo` (2 to 10)."""
    return str(int(body) % modulo)


class NumberChecks:
    """What the deployment's rule and those of plugins say of numbers that were given; each is asked once for all."""

    def __init__(self, context: Context, numbers: Iterable[str | None]) -> None:
        asked = sorted({number for number in numbers if number is not None})
        self._refusals: dict[str, Refusal] = {}
        if not asked:
            return
        plugins, spec = context.app.plugins, hookspecs.imis_person_number_batch
        # The deployment's own rule comes first: what has the wrong length is no business of a plugin's.
        for name in sorted(plugins.implementers(spec), key=lambda name: (name != KERNEL, name)):
            for position, refusal in plugins.call_plugin(name, spec, context, asked).items():
                self._refusals.setdefault(asked[position], refusal)

    def refusal(self, path: str, number: str) -> Refusal | None:
        """Why a number is refused, at the path where it was given."""
        found = self._refusals.get(number)
        if found is None:
            return None
        return evolve(found, problems=tuple(evolve(problem, path=path) for problem in found.problems))


def deployment_rule(context: Context, numbers: Sequence[str]) -> dict[int, Refusal]:
    """The deployment's rule as an answer to the hook: refusals by position."""
    rule = NumberRule(context.settings.deployment.person_number)
    refusals = ((position, rule.refusal("number", number)) for position, number in enumerate(numbers))
    return {position: refusal for position, refusal in refusals if refusal is not None}


class NumberRule:
    """A deployment's rule; `rule` None: any number fits, and generated ones have ten digits."""

    def __init__(self, rule: PersonNumberRule | None) -> None:
        self._length = rule.length if rule else None
        checksum = rule.checksum if rule else None
        self._luhn = checksum == "luhn"
        self._modulo = int(checksum["modulo"]) if isinstance(checksum, Mapping) else None

    @property
    def _checked(self) -> bool:
        return self._luhn or self._modulo is not None

    def _digit(self, body: str) -> str:
        return luhn_digit(body) if self._modulo is None else modulo_digit(body, self._modulo)

    def refusal(self, path: str, number: str) -> Refusal | None:
        """`input.invalid`, `beneficiaries.number_length` or `.number_checksum`, or None if the number fits."""
        problem = code_problem(path, number)
        if problem is not None:
            return invalid(problem)
        if self._length is not None and len(number) != self._length:
            message = f"the number {number!r} has {len(number)} characters; numbers here have {self._length}"
            return Refusal("beneficiaries.number_length", message, (Problem(path, "number_length", message),))
        if self._checked and not self._fits(number):
            message = f"the number {number!r} fails its check digit; look for a mistyped digit"
            return Refusal("beneficiaries.number_checksum", message, (Problem(path, "number_checksum", message),))
        return None

    def _fits(self, number: str) -> bool:
        if not (number.isascii() and number.isdigit() and len(number) > 1):
            return False
        return self._digit(number[:-1]) == number[-1]

    def generate(self, serial: int) -> str:
        """The number made from a serial number of the deployment. Raises `NumbersExhausted`."""
        width = (self._length or DEFAULT_LENGTH) - self._checked
        body = str(serial).rjust(width, "0")
        if len(body) > width and self._length is not None:
            raise NumbersExhausted(f"{serial} does not fit {width} digits")
        return body + self._digit(body) if self._checked else body
