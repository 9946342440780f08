"""Attributes of persons and groups: checked against `[deployment.attributes]` where it is given, else free JSON.

Values are kept as JSON: dates and declared decimals as text. Attributes are no amounts (contract.md refuses floats for
those only), so a number with a point such as 1.5 is taken, as the decimal that was written: the shortest one that is
this binary fraction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from math import isfinite
from typing import Any, Final, Literal

import msgspec
import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.tables import attribute_values
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.deployment import AttributeRule
from imis_core.errors import Problem, suggestion
from imis_core.parsing import TEXT_MAX, InvalidInput, parse
from imis_core.values import INT64_MAX

DEPTH_MAX: Final = 4  # levels of lists and tables within one attribute
DECIMALS_MAX: Final = 60  # of a number with a point: products of many stay within the database's digits
SIZE_MAX: Final = 64 * 1024  # bytes of all attributes of one person or group
NAME_MAX: Final = 100
_TYPES: Final[Mapping[str, type]] = {
    "text": str, "choice": str, "int": int, "decimal": Decimal, "bool": bool, "date": date,
}  # fmt: skip

Unique = tuple[str, str]  # attribute and value


@frozen
class CheckedAttributes:
    """Attributes as they are stored: JSON text, and the values that no other may have."""

    json: str
    unique: tuple[Unique, ...] = ()


EMPTY: Final = CheckedAttributes("{}")


class AttributeRules:
    """The declared attributes of persons or of groups; `declared` None: attributes are free."""

    def __init__(self, declared: Mapping[str, AttributeRule] | None, of: Literal["person", "group"]) -> None:
        self._of = of
        self._free = declared is None
        self._rules = {name: rule for name, rule in (declared or {}).items() if rule.of == of}
        self._required = [name for name, rule in self._rules.items() if rule.required]

    def check(self, path: str, given: Mapping[str, Any] | None, problems: list[Problem]) -> CheckedAttributes:
        """The attributes as stored; what is wrong with them goes to `problems` under `path`.NAME."""
        if not given and not self._required:
            return EMPTY
        values: dict[str, Any] = {}
        count = len(problems)
        for name, value in (given or {}).items():
            if value is None:
                continue
            at = f"{path}.{name[:NAME_MAX]}"
            if self._free:
                values[name] = _free(at, name, value, problems)
            elif name in self._rules:
                values[name] = _declared(at, self._rules[name], value, problems)
            else:
                message = f"no attribute {name[:NAME_MAX]!r} of a {self._of} is declared{suggestion(name, self._rules)}"
                problems.append(Problem(at, "unknown", message))
        for name in self._required:
            if name not in values:
                problems.append(Problem(f"{path}.{name}", "required", "this attribute is required"))
        if len(problems) > count:
            return EMPTY
        encoded = msgspec.json.encode(values)
        if len(encoded) > SIZE_MAX:
            message = f"attributes take {len(encoded)} bytes, at most {SIZE_MAX} are kept"
            problems.append(Problem(path, "too_long", message))
            return EMPTY
        unique = tuple((n, str(values[n])) for n in values if not self._free and self._rules[n].unique)
        return CheckedAttributes(encoded.decode(), unique)


def _declared(path: str, rule: AttributeRule, value: object, problems: list[Problem]) -> object:
    if rule.type == "decimal" and isinstance(value, float):
        value = _fraction(path, value, problems)
        if value is None:
            return None
        value = Decimal(repr(value))
    try:
        read: object = parse(value, _TYPES[rule.type])
    except InvalidInput as error:
        problems += [problem.at(path) for problem in error.problems]
        return None
    if rule.type == "choice" and read not in rule.choices:
        message = f"expected one of {', '.join(rule.choices)}; found {read!r}{suggestion(str(read), rule.choices)}"
        problems.append(Problem(path, "choice", message))
    return format(read, "f") if isinstance(read, Decimal) else read


def _free(path: str, name: str, value: object, problems: list[Problem]) -> object:
    reason = "the name of an attribute is 1 to 100 printable characters"
    if not (0 < len(name) <= NAME_MAX and name.isprintable()):
        problems.append(Problem(path, "format", reason))
        return None
    return _json(path, value, 0, problems)


def _json(path: str, value: object, depth: int, problems: list[Problem]) -> object:
    """A free value as JSON keeps it; the common scalars come first."""
    if isinstance(value, str):
        return _text(path, value, problems)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        if abs(value) > INT64_MAX:
            problems.append(Problem(path, "range", "the number is larger than can be kept"))
        return value
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return _fraction(path, value, problems)
    if isinstance(value, (list, tuple, Mapping)):
        return _nested(path, value, depth + 1, problems)
    problems.append(Problem(path, "type", f"a value of the type {type(value).__name__} cannot be kept"))
    return None


def _fraction(path: str, value: float, problems: list[Problem]) -> float | None:
    """A number with a point that can be computed with exactly, as it is."""
    if isfinite(value) and abs(value) <= INT64_MAX:
        exponent = Decimal(repr(value)).as_tuple().exponent
        if isinstance(exponent, int) and exponent >= -DECIMALS_MAX:
            return value
    problems.append(Problem(path, "range", "the number is larger, or has more decimals, than can be kept"))
    return None


def _nested(
    path: str, value: list[Any] | tuple[Any, ...] | Mapping[Any, Any], depth: int, problems: list[Problem]
) -> object:
    if depth > DEPTH_MAX:
        problems.append(Problem(path, "too_deep", f"lists and tables lie at most {DEPTH_MAX} levels deep"))
        return None
    if isinstance(value, Mapping):
        return {
            _text(path, str(key), problems): _json(f"{path}.{str(key)[:NAME_MAX]}", inner, depth, problems)
            for key, inner in value.items()
        }
    return [_json(f"{path}.{index}", inner, depth, problems) for index, inner in enumerate(value)]


def _text(path: str, value: str, problems: list[Problem]) -> str:
    if len(value) > TEXT_MAX or "\x00" in value or not value.isprintable():
        try:
            parse(value, str)
        except InvalidInput as error:
            problems += [problem.at(path) for problem in error.problems]
            return ""
    return value


def taken_values(context: Context, of: Literal["person", "group"], wanted: Iterable[Unique]) -> set[Unique]:
    """Which of these unique values somebody has already, whoever may see them."""
    pairs = set(wanted)
    if not pairs:
        return set()
    table = attribute_values.c
    rows = context.execute(
        sa.select(table.attribute, table.value).where(
            table.of == of,
            table.attribute == any_of({p[0] for p in pairs}, sa.Text),
            table.value == any_of({p[1] for p in pairs}, sa.Text),
        )
    )
    return {(row.attribute, row.value) for row in rows} & pairs


def not_unique(path: str, value: Unique) -> Problem:
    name, shown = value
    return Problem(f"{path}.{name}", "not_unique", f"another one has {name} = {shown[:60]!r} already")
