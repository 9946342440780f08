"""Errors as the framework tells them: a stable code, what and where, and the way out. Raises nothing by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from attrs import field, frozen

WORD_MAX: Final = 100  # characters of a word that a suggestion looks at


@frozen
class Problem:
    """One thing wrong with an input: where (`members.0.sex`), a short stable reason (`required`), and a sentence."""

    path: str
    reason: str
    message: str

    def at(self, prefix: str) -> Problem:
        """The same problem seen from one level further out."""
        if not prefix:
            return self
        return Problem(f"{prefix}.{self.path}" if self.path else prefix, self.reason, self.message)


@frozen
class Refusal:
    """An error as a value: what a handler returns for an item that it refuses (and then writes nothing for it)."""

    code: str
    message: str
    problems: tuple[Problem, ...] = ()
    details: Mapping[str, Any] = field(factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The refusal as the members of a problem document (RFC 9457) that every door shows alike."""
        answer: dict[str, Any] = {"code": self.code, "detail": self.message}
        if self.problems:
            answer["errors"] = [{"path": p.path, "reason": p.reason, "message": p.message} for p in self.problems]
        answer.update(self.details)
        return answer

    def line(self) -> str:
        """The refusal on one line, as the command line prints it."""
        text = f"{self.code}: {self.message}"
        if self.problems:
            text += " (" + "; ".join(f"{p.path or 'input'}: {p.message}" for p in self.problems[:20]) + ")"
        return " ".join(text.split())


class ImisError(Exception):
    """A refusal on its way to a door. `exit_code` 2 marks wrong input, 1 work that failed."""

    exit_code = 2

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.line())
        self.refusal = refusal

    @property
    def code(self) -> str:
        return self.refusal.code


class Unavailable(ImisError):
    """Something outside is missing or full (database, disk, port): the same call may succeed later."""

    exit_code = 1


def refused(code: str, message: str, *problems: Problem, **details: Any) -> ImisError:
    """An exception to raise where no list of outcomes is at hand; the doors turn it into an answer."""
    return ImisError(Refusal(code, message, problems, details))


def invalid(*problems: Problem) -> Refusal:
    """`input.invalid` with its paths."""
    return Refusal("input.invalid", "the input is not valid; mend the listed fields and send it again", problems)


def not_found(path: str, what: str, name: str) -> Refusal:
    """`not_found`: an entity that is not there, or not there for this caller (the answer does not tell which)."""
    return Refusal(
        "not_found",
        f"there is no {what} {name!r} that you may see",
        (Problem(path, "not_found", f"no {what} {name!r}"),),
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'premium_adult'?` for a near miss, else nothing."""
    close = get_close_matches(word[:WORD_MAX], list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
