"""What may be a code or a name: the same rule for locations, providers, items, diagnoses, persons and groups.

Checks form only; whether a code is free or known is the rooms' business.
"""

from __future__ import annotations

from typing import Final

from imis_core.errors import Problem

CODE_MAX: Final = 60  # characters
NAME_MAX: Final = 300


def code_problem(path: str, code: str) -> Problem | None:
    """What is wrong with a code (1 to 60 printable characters, no blanks around them), or None."""
    return _problem(path, code, CODE_MAX, "code")


def name_problem(path: str, name: str) -> Problem | None:
    """What is wrong with a name (1 to 300 printable characters, no blanks around them), or None."""
    return _problem(path, name, NAME_MAX, "name")


def _problem(path: str, text: str, longest: int, what: str) -> Problem | None:
    if 0 < len(text) <= longest and text.isprintable() and text[0] != " " and text[-1] != " ":
        return None
    if not text.strip():
        return Problem(path, "required", f"a {what} cannot be empty")
    if len(text) > longest:
        return Problem(path, "too_long", f"a {what} has at most {longest} characters, this one has {len(text)}")
    return Problem(path, "format", f"a {what} has printable characters and no blanks around them, found {text[:60]!r}")


def problems_of_texts(codes: dict[str, str | None], names: dict[str, str | None]) -> list[Problem]:
    """The problems of several codes and names by path; absent ones (None) have none."""
    found = [code_problem(path, text) for path, text in codes.items() if text is not None]
    found += [name_problem(path, text) for path, text in names.items() if text is not None]
    return [problem for problem in found if problem is not None]
