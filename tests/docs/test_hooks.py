"""docs/hooks.md and imis_core/hookspecs.py say the same."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from imis_core import hookspecs

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"


def specified() -> dict[str, list[str]]:
    """Every hook of the specifications with its arguments."""
    functions = inspect.getmembers(hookspecs, inspect.isfunction)
    return {name: list(inspect.signature(f).parameters) for name, f in functions if name.startswith("imis_")}


def documented() -> dict[str, list[str]]:
    """Every hook that has a heading of its own: ### `imis_name(argument, argument)`."""
    headings = re.findall(r"^### `(imis_\w+)\(([^)]*)\)`$", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: [a.strip() for a in arguments.split(",") if a.strip()] for name, arguments in headings}


def test_every_hook_is_documented_with_its_arguments() -> None:
    """A hook or argument that only the code or only the page knows is a mistake."""
    assert specified(), "no hook was found"
    assert documented() == specified()


def test_every_hook_says_when_what_and_how_answers_combine() -> None:
    """Each hook's section names the moment, the answer, the combination and an example."""
    sections = re.split(r"^### ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]
    for section in sections:
        name = section.partition("(")[0].strip("`")
        answer = "**Arguments**" if name.startswith("imis_on_") else "**Answers**"
        for word in ("**When**", answer, "**Combined**", "**Example**"):
            assert word in section, f"{name} lacks {word}"


def test_every_hook_has_a_docstring() -> None:
    """hookspecs.py is the table of contents: each hook says in a sentence what it is."""
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction):
        if name.startswith("imis_"):
            assert inspect.getdoc(function), name
