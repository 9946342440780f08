"""The proxy means test in the terms of a package: its variables, numbers by area, what a missing answer does.

Shapes and what types cannot say; the computing is in `scores`. Source: contract-cash-transfer.md, 'Score'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from attrs import field, frozen

from imis_core.api import (
    Criterion,
    Invalid,
    InvalidInput,
    Problem,
    Rate,
    kinds_of,
    parse,
    problems_of,
    suggestion,
)

Read = Callable[[Any, Any], Any]

DECIMALS_MAX: Final = 20  # of a score
_ONE: Final = Rate(Decimal(1))


@frozen
class ByArea:
    """A number of the score: one for everybody, or one for each area that is named."""

    one: Decimal | None = None
    areas: Mapping[str, Decimal] = field(factory=dict)

    @staticmethod
    def __structure__(kind: Any, value: object, read: Read) -> ByArea:
        """A decimal, or a table of decimals by area; problems carry the area as their path."""
        if isinstance(value, Mapping):
            if not value:
                raise Invalid("required", "name at least one area, or give one number for all")
            return ByArea(areas=read(value, dict[str, Rate]))
        return ByArea(read(value, Rate))

    @property
    def values(self) -> tuple[Decimal, ...]:
        return tuple(self.areas.values()) if self.one is None else (self.one,)


@frozen
class MissingAnswer:
    """What a variable does without its answer: adds a stated number, or (None) refuses the score."""

    add: ByArea | None = None

    @staticmethod
    def __structure__(kind: Any, value: object, read: Read) -> MissingAnswer:
        if isinstance(value, Mapping):
            return MissingAnswer(read(value, _Stated).add)
        if value != "refuse":
            raise Invalid("choice", 'expected "refuse", or a number to add: { add = "0.1" }')
        return MissingAnswer()


@frozen(kw_only=True)
class _Stated:
    add: ByArea


@frozen(kw_only=True)
class Equals:
    """Adds `weight` if the answer is `value`."""

    name: str
    kind: Literal["equals"]
    of: Criterion
    value: object
    weight: ByArea
    missing: MissingAnswer | None = None


@frozen(kw_only=True)
class Continuous:
    """Adds `weight` x the answer."""

    name: str
    kind: Literal["continuous"]
    of: Criterion
    weight: ByArea
    missing: MissingAnswer | None = None


@frozen(kw_only=True)
class Band:
    """From `from` to `to`, both included; one that is absent is open."""

    from_: Rate | None = None
    to: Rate | None = None
    add: ByArea


@frozen(kw_only=True)
class Banded:
    """Adds what the first band says in which the answer lies; nothing outside all bands."""

    name: str
    kind: Literal["banded"]
    of: Criterion
    bands: tuple[Band, ...]
    missing: MissingAnswer | None = None


@frozen(kw_only=True)
class Lookup:
    """Adds what stands beside the answer; an answer that does not stand there counts as missing."""

    name: str
    kind: Literal["lookup"]
    of: Criterion
    table: dict[str, ByArea]
    missing: MissingAnswer | None = None


@frozen(kw_only=True)
class Ratio:
    """Adds `weight` x `over` / the greater of `under` and `under_min`."""

    name: str
    kind: Literal["ratio"]
    over: Criterion
    under: Criterion
    under_min: Rate = _ONE
    weight: ByArea
    missing: MissingAnswer | None = None


@frozen(kw_only=True)
class YesNo:
    """Adds `weight` if the answer is yes."""

    name: str
    kind: Literal["yes_no"]
    of: Criterion
    weight: ByArea
    missing: MissingAnswer | None = None


Variable: TypeAlias = Equals | Continuous | Banded | Lookup | Ratio | YesNo
KINDS: Final[Mapping[str, type[Variable]]] = {
    "equals": Equals, "continuous": Continuous, "banded": Banded, "lookup": Lookup, "ratio": Ratio, "yes_no": YesNo,
}  # fmt: skip


@frozen
class Variables:
    """The variables of a score in the order of the terms, each of the class of its kind."""

    items: tuple[Variable, ...] = ()

    @staticmethod
    def __structure__(kind: Any, value: object, read: Read) -> Variables:
        """A list of tables, whose `kind` says which fields they have."""
        if not isinstance(value, (list, tuple)):
            raise Invalid("type", "expected a list of variables")
        found: list[Variable] = []
        problems: list[Problem] = []
        for index, item in enumerate(value):
            try:
                found.append(read(item, _class_of(item)))
            except Exception as error:
                problems += [p.at(str(index)) for p in problems_of(error)]
        if problems:
            raise InvalidInput(tuple(problems))
        return Variables(tuple(found))


def _class_of(item: object) -> type[Variable]:
    if not isinstance(item, Mapping):
        raise Invalid("type", "expected a table of fields: name, kind and those of the kind")
    name = item.get("kind")
    if name is None:
        raise InvalidInput((Problem("kind", "required", f"give the kind: one of {', '.join(KINDS)}"),))
    if not isinstance(name, str) or name not in KINDS:
        hint = suggestion(name, KINDS) if isinstance(name, str) else ""
        raise InvalidInput((Problem("kind", "choice", f"expected one of {', '.join(KINDS)}{hint}"),))
    return KINDS[name]


@frozen(kw_only=True)
class Score:
    """round(scale x (base + what the variables add)); lower is poorer.

    `area` names the attribute of the unit that chooses among numbers by area. `round`: `half_up` is half away from
    zero, `down` toward zero, `up` away from zero.
    """

    area: Criterion | None = None
    base: ByArea
    scale: ByArea = field(factory=lambda: ByArea(Decimal(1)))
    round: Literal["half_up", "down", "up"] = "half_up"
    decimals: int = field(default=0, metadata={"max": DECIMALS_MAX})
    missing: MissingAnswer = field(factory=MissingAnswer)
    variables: Variables

    def policy(self, variable: Variable) -> MissingAnswer:
        """What the variable does without its answer."""
        return self.missing if variable.missing is None else variable.missing

    def numbers(self) -> Iterator[tuple[str, ByArea]]:
        """Every number that may differ by area, with its path within the score."""
        yield "base", self.base
        yield "scale", self.scale
        if self.missing.add is not None:
            yield "missing.add", self.missing.add
        for index, variable in enumerate(self.variables.items):
            at = f"variables.{index}"
            match variable:
                case Banded(bands=bands):
                    yield from ((f"{at}.bands.{i}.add", band.add) for i, band in enumerate(bands))
                case Lookup(table=table):
                    yield from ((f"{at}.table.{key}", number) for key, number in table.items())
                case _:
                    yield f"{at}.weight", variable.weight
            if variable.missing is not None and variable.missing.add is not None:
                yield f"{at}.missing.add", variable.missing.add


def score_problems(score: Score) -> Iterator[Problem]:
    """What the shapes cannot say: areas without an attribute, names twice, bands that are turned round."""
    for path, number in score.numbers():
        if number.areas and score.area is None:
            yield Problem(path, "area", "a number by area needs the score's `area`: the attribute that names it")
    names: set[str] = set()
    for index, variable in enumerate(score.variables.items):
        at = f"variables.{index}"
        if not variable.name.strip():
            yield Problem(f"{at}.name", "required", "give the variable a name")
        elif variable.name in names:
            yield Problem(f"{at}.name", "duplicate", f"another variable is called {variable.name!r}")
        names.add(variable.name)
        yield from (p.at(at) for p in _variable_problems(variable))


def _variable_problems(variable: Variable) -> Iterator[Problem]:
    match variable:
        case Equals(value=value) if isinstance(value, float):
            yield Problem("value", "float", f'{value!r} is a binary fraction; write it as text: "{value}"')
        case Equals(value=value) if not isinstance(value, (str, int, Decimal, date)):
            yield Problem("value", "type", "expected a text, a whole number, a decimal as text, true, false or a date")
        case Banded(bands=bands):
            if not bands:
                yield Problem("bands", "required", "give at least one band")
            for index, band in enumerate(bands):
                if band.from_ is not None and band.to is not None and band.from_ > band.to:
                    yield Problem(f"bands.{index}.to", "order", f"{band.to} is below `from` ({band.from_})")
        case Lookup(table=table) if not table:
            yield Problem("table", "required", "give at least one key")
        case Ratio(under_min=least) if least <= 0:
            yield Problem("under_min", "range", f"expected more than 0, found {least}: nothing is divided by 0")
        case _:
            return


def literal_of(variable: Equals, unit: Any, attributes: Any) -> bool | int | Decimal | str | date | None:
    """The value that an answer is compared with, as its answer's kind; None for one that is no literal at all.

    Terms are kept as JSON, where decimals and dates are texts: beside a number or a date they are read as such.
    """
    value = variable.value
    if not isinstance(value, (bool, int, Decimal, str, date)):
        return None
    if isinstance(value, str):
        own = kinds_of(variable.of.expression, unit, attributes).own
        reader = {"number": Rate, "date": date}.get(own or "text")
        if reader is not None:
            try:
                return parse(value, reader)
            except InvalidInput:
                return value  # the check of the terms says that the two are never comparable
    return value


__all__ = ["KINDS", "Band", "ByArea", "MissingAnswer", "Score", "Variable", "literal_of", "score_problems"]
