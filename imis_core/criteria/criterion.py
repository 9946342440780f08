"""A criterion as a field of a package's terms: text that is read as an expression when the terms are parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import field, frozen

from imis_core.criteria.expressions import Expression, ExpressionError
from imis_core.criteria.parser import parse_expression
from imis_core.parsing import Invalid


@frozen
class Criterion:
    """An expression with the text that said it; outside it is the text.

    An unreadable text is a problem of its field (`expression`). Whether names and types fit its unit is judged by
    whoever knows the unit, with `problems_of`.
    """

    text: str
    expression: Expression = field(eq=False, repr=False)

    @staticmethod
    def read(text: str) -> Criterion:
        """Raises `ExpressionError`."""
        return Criterion(text, parse_expression(text))

    @staticmethod
    def __structure__(kind: Any, value: object, read: Callable[[object, Any], Any]) -> Criterion:
        text = read(value, str)
        try:
            return Criterion.read(text)
        except ExpressionError as error:
            raise Invalid("expression", str(error)) from None

    def __plain__(self) -> str:
        return self.text
