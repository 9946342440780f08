"""The lists of commands and error codes in the documentation are those of the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
WAY_OUT = "run ./dev python docs/generate.py"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_list_of_commands_is_that_of_the_code(generate: ModuleType) -> None:
    """A command, a field or a permission that only the code or only the document knows is a mistake."""
    text = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert text == generate.regenerated(text, generate.commands_list()), f"docs/commands.md is behind: {WAY_OUT}"


def test_the_list_of_error_codes_is_that_of_the_code(generate: ModuleType) -> None:
    """A code that only the code or only the document knows is a mistake; the wording may be behind."""
    listed = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE)
    used = re.findall(r"^\| `([^`]+)` \|", generate.errors_list(), re.MULTILINE)
    assert used, "no code was found"
    assert listed == used, f"docs/errors.md is behind: {WAY_OUT}"


def test_every_command_and_query_has_a_summary(generate: ModuleType) -> None:
    """Users read the first line of a handler's docstring: in the documents, in OpenAPI, in `imis run --list`."""
    known = generate.composition()
    without = [door.name for door in (*known.commands.values(), *known.queries.values()) if not door.summary]
    assert without == []


def test_codes_are_stable_names(generate: ModuleType) -> None:
    """An error code is `<noun>.<what>` in lower case, or one of the two without a noun."""
    codes = {use.code for use in generate.uses()}
    assert {"claims.duplicate_code", "not_found", "payments.wrong_state"} <= codes
    assert [code for code in codes if not generate.CODE.match(code)] == []


def test_a_document_without_marks_is_refused(generate: ModuleType) -> None:
    """The generator never writes into a document that has no place for the list."""
    with pytest.raises(ValueError, match="lacks"):
        generate.regenerated("# Error codes\n", "| code |")
