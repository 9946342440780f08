"""What the subcommands share: which deployment they work on, opening it, and who acts. Imports the application late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imis_core.application import Application
    from imis_core.deployment import Settings
    from imis_core.errors import ImisError


class State:
    """The options that stand before the subcommand."""

    def __init__(self) -> None:
        self.folder = Path()
        self.debug = False

    @property
    def deployment(self) -> Path:
        """The deployment's folder. Raises `deployment.missing` if no imis.toml lies there."""
        if not (self.folder / "imis.toml").is_file():
            from imis_core.errors import refused

            where = "this folder" if self.folder == Path() else str(self.folder)
            raise refused(
                "deployment.missing",
                f"there is no imis.toml in {where}; go to a deployment's folder, or name it: imis -C DIR ...",
            )
        return self.folder

    def settings(self) -> Settings:
        """The deployment's settings. Raises `SettingsError`."""
        from imis_core.deployment import load_settings

        return load_settings(self.deployment)

    @contextmanager
    def application(self) -> Iterator[Application]:
        """The deployment's application on its database. Raises `ImisError` for what is wrong with either."""
        folder = self.deployment
        from imis_core.opening import open_application

        with open_application(folder) as app:
            yield app


def check_name(app: Application, name: str, *, query: bool = False) -> None:
    """Raise `not_found` with a suggestion if nothing of that name is registered (`query`: no query)."""
    from imis_core.errors import ImisError, refused

    if query and name in app.commands:
        raise refused("not_found", f"{name!r} is a command, not a query; run it with `imis run {name}`")
    if name not in app.queries and (query or name not in app.commands):
        raise ImisError(app.unknown_name(name))


def work_refused(error: ImisError) -> ImisError:
    """A command's refusal with its exit code: 2 if the input was wrong, 1 if the work was refused."""
    from imis_core.errors import ImisError, Unavailable

    if isinstance(error, Unavailable):
        return error
    changed = ImisError(error.refusal)
    changed.exit_code = 2 if is_wrong_input(error.code) else 1
    return changed


def is_wrong_input(code: str) -> bool:
    """Whether an error code speaks of the form of what was sent (REST answers 422)."""
    return code == "input.invalid" or code.endswith(".invalid_terms")


def read_json(source: str | None, option: str) -> Any:
    """JSON from a file, from standard input (`-`), or given itself; {} if there is none. Raises `input.invalid`."""
    import json
    import sys

    from imis_core.errors import ImisError, Problem, invalid

    if source is None:
        return {}
    try:
        if source == "-":
            text = sys.stdin.read()
        elif source.lstrip()[:1] in ("{", "["):
            text = source
        else:
            text = Path(source).read_text("utf-8-sig")
        return json.loads(text, parse_constant=_no_number)
    except OSError as error:
        problem = Problem(option, "unreadable", f"{source} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        problem = Problem(option, "encoding", f"{source} is not UTF-8 at byte {error.start}")
    except RecursionError:
        problem = Problem(option, "syntax", "the JSON is nested too deeply")
    except ValueError as error:
        problem = Problem(option, "syntax", f"not JSON: {error}")
    raise ImisError(invalid(problem))


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")
