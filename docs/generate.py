"""The lists in the documentation that the code knows better: commands and queries, and error codes.

Writes between the marks `<!-- generated -->` and `<!-- end -->` of docs/commands.md and docs/errors.md; what stands
around them is written by hand. Run `./dev python docs/generate.py`; a test fails while a list is behind the code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import NOTHING, frozen

from imis_core.application import Composition
from imis_core.commands import Command
from imis_core.deployment import settings_from
from imis_core.errors import ImisError
from imis_core.parsing import outside_name
from imis_core.queries import Query
from imis_core.values import Amount, Money, MonthDay, Percent, Quantity, Rate
from imis_core.web.problems import status_of

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
START, END = "<!-- generated -->", "<!-- end -->"
KINDS: Final[Mapping[Any, str]] = {
    str: "text", int: "whole number", bool: "true or false", date: "date", datetime: "time", Decimal: "decimal",
    Amount: "amount", Quantity: "quantity", Percent: "percentage", Rate: "rate", MonthDay: "day of the year",
    Money: "money", object: "anything", Any: "anything",
}  # fmt: skip


def plugins() -> list[str]:
    """The plugins of this repository, by their folders."""
    return sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))


def composition() -> Composition:
    """The kernel with all plugins of the repository, without a database."""
    tables = {"deployment": {"country": "XX", "currency": "USD"}, "plugins": {"enabled": plugins()}}
    return Composition(settings_from(tables, "docs", default_name="docs"))


# --- commands and queries


def shape(kind: Any) -> str:
    """A class as the contract writes it: `{code: text, scheme?: text, lines: [{item: text}]}`."""
    hints = get_type_hints(kind)
    return "{" + ", ".join(_field(a, hints[a.name]) for a in attrs.fields(kind)) + "}"


def _field(attribute: Any, kind: Any) -> str:
    name, default = outside_name(attribute), attribute.default
    optional = "?" if default is not NOTHING or _is_optional(kind) else ""
    text = f"{name}{optional}: {_kind(kind)}"
    if default is not NOTHING and default is not None and not hasattr(default, "factory") and default != ():
        text += f" = {default}"
    return text


def _is_optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType) and NoneType in get_args(kind)


def _kind(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_kind(a) for a in arguments if a is not NoneType)
    if origin is Literal:
        return " | ".join(str(a) for a in arguments)
    if origin in (tuple, list, frozenset):
        return f"[{_kind(arguments[0])}]"
    if origin is not None and issubclass(origin, Mapping):
        return "{NAME: " + _kind(arguments[1]) + "}"
    if kind in KINDS:
        return KINDS[kind]
    if attrs.has(kind):
        return shape(kind)
    return str(kind.__name__)


def commands_list() -> str:
    """Every command and query by noun: what it does, what it takes and answers, which permission it needs."""
    known = composition()
    doors: list[Command | Query] = [*known.commands.values(), *known.queries.values()]
    lines: list[str] = []
    for noun in sorted({door.noun for door in doors}):
        lines += [f"## {noun}", ""]
        for door in sorted((d for d in doors if d.noun == noun), key=lambda d: d.name):
            lines += [*_door(door), ""]
    return "\n".join(lines).rstrip()


def _door(door: Command | Query) -> Iterator[str]:
    answer = shape(door.result) if attrs.has(door.result) else _kind(door.result)
    kind = "command" if isinstance(door, Command) else "query"
    if isinstance(door, Query) and door.listing:
        answer = f"[{answer}]"
    yield f"### {door.name}"
    yield ""
    yield f"A {kind}. {door.summary}"
    if door.permission != door.name:
        yield f"Permission: `{door.permission}`."
    yield ""
    yield "```text"
    yield f"takes   {shape(door.input)}"
    yield f"answers {answer}"
    yield "```"


# --- error codes


@frozen
class Use:
    """One place where the code refuses: the error's code (with `*` for what is known only at run time), its message."""

    code: str
    message: str


REFUSING: Final = {"Refusal", "refused", "failure", "EmbeddedServerError"}
CODE: Final = re.compile(r"([a-z_*]+\.[a-z_*]+|not_found|internal)\Z")
# Nouns of errors that only the command line and the start of a process tell.
NOT_REST: Final = {
    "demo",
    "deployment",
    "files",
    "import",
    "keys",
    "mapping",
    "new",
    "plugins",
    "scenario",
    "serve",
    "settings",
}


def uses() -> Iterator[Use]:
    """Every refusal in the kernel and the plugins whose code stands in the source."""
    folders = [ROOT / "imis_core", *(ROOT / "plugins" / name / f"imis_{name}" for name in plugins())]
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield from _uses_in(ast.parse(path.read_text("utf-8")))


def _uses_in(tree: ast.AST) -> Iterator[Use]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _called(node.func) in (*REFUSING, "StateTable"):
            around = [f for f in functions if f.lineno <= node.lineno <= (f.end_lineno or 0)]
            yield from _uses_of_call(node, _variables(around[-1]) if around else {})
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:  # a table of codes with their messages
            code, message = (next(_texts(part, {}), "") for part in node.elts)
            if CODE.match(code) and " " in message:
                yield Use(code, message)


def _uses_of_call(node: ast.Call, variables: Mapping[str, list[ast.expr]]) -> Iterator[Use]:
    if _called(node.func) == "StateTable":
        for noun in _texts(node.args[0], variables):
            yield Use(f"{noun}.wrong_state", "* is *; it cannot become * (possible from here: *)")
    elif len(node.args) > 1:
        for code in _texts(node.args[0], variables):
            for message in list(_texts(node.args[1], variables)) or [""]:
                yield Use(code, message)


def _variables(function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    """What each local name of a function is set to."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    return function.attr if isinstance(function, ast.Attribute) else ""


def _texts(node: ast.expr, variables: Mapping[str, list[ast.expr]]) -> Iterator[str]:
    """The texts that an expression may give; `*` stands for what is filled in at run time."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "*" for v in node.values)
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, variables)
        yield from _texts(node.orelse, variables)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        yield next(_texts(node.left, variables), "*") + next(_texts(node.right, variables), "*")
    elif isinstance(node, ast.Name):
        before = [value for value in variables.get(node.id, ()) if value.lineno < node.lineno]
        if before:
            yield from _texts(max(before, key=lambda value: value.lineno), {})


def errors_list() -> str:
    """A table of codes with their HTTP status and the sentences that come with them."""
    found: dict[str, list[str]] = {}
    for use in uses():
        if CODE.match(use.code):
            found.setdefault(use.code, []).append(use.message)
    lines = ["| code | REST | what is said |", "|---|---|---|"]
    for code in sorted(found):
        said = "<br>".join(dict.fromkeys(_cell(m) for m in found[code] if m))
        lines.append(f"| `{code}` | {_status(code)} | {said} |")
    return "\n".join(lines)


def _status(code: str) -> str:
    noun = code.partition(".")[0]
    if noun in NOT_REST:
        return "-"
    return "503" if noun == "database" else str(status_of(code))


def _cell(message: str) -> str:
    return " ".join(message.split()).replace("|", "\\|").replace("*", "…").replace("……", "…").replace("<", "&lt;")


# --- writing


def regenerated(text: str, generated: str) -> str:
    """A document with the part between the marks replaced. Raises `ValueError` if it lacks the marks."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"the document lacks {START} or {END}")
    return f"{before}{START}\n{generated}\n{END}{after}"


def documents() -> Iterable[tuple[Path, str]]:
    """Each document with a generated part, and what that part should be."""
    return ((DOCS / "commands.md", commands_list()), (DOCS / "errors.md", errors_list()))


def main() -> int:
    """Bring the generated parts up to date."""
    try:
        for path, generated in documents():
            path.write_text(regenerated(path.read_text("utf-8"), generated), "utf-8")
    except (ImisError, ValueError) as error:
        print(f"docs/generate.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
