"""Text of the criteria language into expressions: precedence, limits of size, errors with their position.

From loosest to tightest: or, and, not, comparison, + and -, *, unary minus. Whether names and types fit is not judged
here (`imis_core.criteria.checks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Final, cast

from imis_core.criteria.expressions import (
    FUNCTIONS,
    OPERATORS,
    Aggregate,
    And,
    Boolean,
    Comparison,
    Day,
    Expression,
    ExpressionError,
    Fact,
    Function,
    Literal_,
    Missing,
    Name,
    Negative,
    Not,
    Number,
    OneOf,
    Operator,
    Or,
    Product,
    Sum,
    Text,
    Who,
)
from imis_core.criteria.tokens import KEYWORDS, Token, tokens_of

LENGTH_MAX: Final = 2000  # characters of one expression
DEPTH_MAX: Final = 50  # parentheses, nots and signs inside one another
# Products keep every digit: so many factors of 60 digits stay within what the database's numbers hold.
TIMES_MAX: Final = 100
_DATE_LENGTH: Final = len("2020-01-31")


def parse_expression(text: str) -> Expression:
    """The expression that a text says. Raises `ExpressionError` with the message and the position in the text."""
    if len(text) > LENGTH_MAX:
        raise ExpressionError(
            f"an expression has at most {LENGTH_MAX} characters, this one has {len(text)}", LENGTH_MAX + 1
        )
    return _Parser(tokens_of(text)).whole()


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._times = 0

    def whole(self) -> Expression:
        if self._ended:
            raise ExpressionError("the expression is empty", 1)
        expression = self._any_of()
        if not self._ended:
            raise self._unexpected("an operator or the end")
        return expression

    # The present token.

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    @property
    def _ended(self) -> bool:
        return self._token.kind == "end"

    def _next_is(self, value: str) -> bool:
        token = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        return token.kind == "sign" and token.value == value

    def _accept(self, *values: str) -> str | None:
        """The present keyword or sign if it is one of these; then the next token is present."""
        token = self._token
        if token.kind in ("keyword", "sign") and token.value in values:
            self._at += 1
            return token.value
        return None

    def _expect(self, value: str) -> None:
        if self._accept(value) is None:
            raise self._unexpected(repr(value))

    def _unexpected(self, wanted: str) -> ExpressionError:
        token = self._token
        if token.kind == "end":
            return ExpressionError(f"expected {wanted}, found the end", token.position)
        hint = ""
        if token.kind == "word" and token.value.lower() in KEYWORDS:
            hint = f"; keywords are lower case: {token.value.lower()}"
        elif token.kind == "keyword":
            hint = f"; an attribute of that name is written `{token.value}`"
        elif token.kind == "sign" and token.value in OPERATORS and self._at:
            previous = self._tokens[self._at - 1]
            hint = {"==": "; equal is written =", "<>": "; unequal is written !="}.get(previous.value + token.value, "")
        return ExpressionError(f"expected {wanted}, found {token.value!r}{hint}", token.position)

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ExpressionError(f"an expression is at most {DEPTH_MAX} levels deep", self._token.position)
        yield
        self._depth -= 1

    # Conditions.

    def _any_of(self) -> Expression:
        operands = [self._all_of()]
        while self._accept("or"):
            operands.append(self._all_of())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _all_of(self) -> Expression:
        operands = [self._negation()]
        while self._accept("and"):
            operands.append(self._negation())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _negation(self) -> Expression:
        if self._accept("not"):
            with self._deeper():
                return Not(self._negation())
        return self._comparison()

    def _comparison(self) -> Expression:
        left = self._sum()
        operator = self._accept(*OPERATORS, "in", "is")
        if operator is None:
            if self._token.kind == "keyword" and self._token.value == "not":
                raise ExpressionError(
                    "'not' stands before a condition: not x in [...], not x = 1", self._token.position
                )
            return left
        if operator == "in":
            made: Expression = OneOf(left, self._values())
        elif operator == "is":
            known = self._accept("not") is not None
            self._expect("missing")
            made = Missing(left, known)
        else:
            made = Comparison(cast(Operator, operator), left, self._sum())
        if self._token.kind in ("keyword", "sign") and self._token.value in (*OPERATORS, "in", "is"):
            raise ExpressionError("one comparison at a time; join two by and, or use parentheses", self._token.position)
        return made

    def _values(self) -> tuple[Literal_, ...]:
        self._expect("[")
        values = [self._literal()]
        while self._accept(","):
            values.append(self._literal())
        self._expect("]")
        return tuple(values)

    def _literal(self) -> Literal_:
        minus = self._accept("-") is not None
        if minus and self._token.kind != "number":
            raise self._unexpected("a number")
        found = self._maybe_literal()
        if found is None:
            raise self._unexpected("a value such as 12, 'text', true or date '2020-01-31'")
        return Number(-found.value) if minus and isinstance(found, Number) else found

    # Values.

    def _sum(self) -> Expression:
        terms = [self._product()]
        while (sign := self._accept("+", "-")) is not None:
            term = self._product()
            terms.append(term if sign == "+" else Negative(term))
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def _product(self) -> Expression:
        factors = [self._signed()]
        while self._accept("*"):
            self._times += 1
            if self._times > TIMES_MAX:
                raise ExpressionError(
                    f"an expression has at most {TIMES_MAX} multiplications", self._tokens[self._at - 1].position
                )
            factors.append(self._signed())
        return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def _signed(self) -> Expression:
        if self._accept("-"):
            with self._deeper():
                return Negative(self._signed())
        return self._operand()

    def _operand(self) -> Expression:
        if self._accept("("):
            with self._deeper():
                inner = self._any_of()
            self._expect(")")
            return inner
        found = self._maybe_literal()
        if found is not None:
            return found
        if self._token.kind == "word" and self._token.value in FUNCTIONS and self._next_is("("):
            return self._aggregate()
        return self._name()

    def _maybe_literal(self) -> Literal_ | None:
        token = self._token
        if token.kind == "number":
            self._at += 1
            return Number(Decimal(token.value))
        if token.kind == "text":
            self._at += 1
            return Text(token.value)
        word = self._accept("true", "false")
        if word is not None:
            return Boolean(word == "true")
        if self._token.kind == "keyword" and self._token.value == "date":
            return Day(self._date())
        return None

    def _date(self) -> date:
        self._expect("date")
        token = self._token
        if token.kind != "text":
            raise self._unexpected("a day such as date '2020-01-31'")
        self._at += 1
        if len(token.value) == _DATE_LENGTH:  # the standard library also reads other forms of ISO 8601
            try:
                return date.fromisoformat(token.value)
            except ValueError:
                pass
        raise ExpressionError(f"there is no such day: {token.value!r}; write date '2020-01-31'", token.position)

    def _name(self) -> Name:
        token = self._token
        if token.kind not in ("word", "quoted"):
            raise self._unexpected("a value, a name or a condition")
        self._at += 1
        of: Who | Fact | None = None
        if token.kind == "word" and self._accept("."):
            if token.value not in ("head", "primary", "claim", "facility"):
                raise ExpressionError(f"{token.value!r} has no parts; head. and primary. have", token.position)
            of = cast("Who | Fact", token.value)
            token = self._token
            if token.kind not in ("word", "quoted"):
                raise self._unexpected("a name")
            self._at += 1
        on = None
        if self._accept("on"):
            if token.value != "age":
                raise ExpressionError("only age is taken on a date", self._tokens[self._at - 1].position)
            on = self._date()
        return Name(token.value, of, on)

    def _aggregate(self) -> Aggregate:
        function = cast(Function, self._token.value)
        self._at += 2  # the name and its parenthesis
        with self._deeper():
            argument = None
            if function in ("sum", "min", "max"):
                argument = self._name()
                self._expect("of")
            self._expect("members")
            where = self._any_of() if self._accept("where") else None
        self._expect(")")
        return Aggregate(function, argument, where)


__all__ = ["DEPTH_MAX", "LENGTH_MAX", "TIMES_MAX", "parse_expression"]
