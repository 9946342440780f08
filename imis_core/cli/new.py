"""`imis new`: a deployment's folder from the template that comes with the framework. Asks what a flag does not say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import rich_click as click

_PACKAGE: Final = Path(__file__).resolve().parent.parent
# In an installed distribution the templates lie in the package, in a checkout beside it.
_PLACES: Final = (_PACKAGE / "templates", _PACKAGE.parent / "templates")


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--preset", metavar="NAME", help="Which preset to begin with.")
@click.option(
    "--data",
    "answers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Answers to the template's questions: a table of YAML, JSON or TOML.",
)
@click.option("--defaults", is_flag=True, help="Ask nothing: every question that has no answer gets its default.")
def new(folder: Path, preset: str | None, answers: Path | None, defaults: bool) -> None:
    """Make a new deployment in the folder DIR."""
    from imis_core.errors import Problem, refused

    if folder.exists() and any(folder.iterdir()):
        raise refused("new.folder_not_empty", f"{folder} is not empty; name a folder that is new or empty")
    template = template_folder()
    data = _answers(answers) if answers is not None else {}
    if preset is not None:
        data["preset"] = preset
    if "preset" in data:
        known = presets(template)
        if data["preset"] not in known:
            from imis_core.errors import suggestion

            message = f"there is no preset {data['preset']!r} (presets: {', '.join(known)})"
            problem = Problem("preset", "unknown", message + suggestion(str(data["preset"]), known))
            raise refused("new.unknown_preset", "the template has no such preset", problem)
    if not defaults and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; add --defaults, and --data FILE for other answers")
    _render(template, folder, data, defaults)


def template_folder(name: str = "deployment") -> Path:
    """Where a template lies. Raises `new.no_template`."""
    from imis_core.errors import refused

    for place in _PLACES:
        if (place / name / "copier.yml").is_file():
            return place / name
    raise refused("new.no_template", f"the template is not at {_PLACES[0] / name}; install imis-core again")


def presets(template: Path) -> list[str]:
    """The names of the template's presets."""
    return sorted(path.name for path in (template / "presets").iterdir() if path.is_dir())


def _answers(path: Path) -> dict[str, Any]:
    import tomllib

    import yaml  # type: ignore[import-untyped]

    from imis_core.errors import refused

    try:
        text = path.read_text("utf-8")
        data = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (yaml.YAMLError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise refused("new.answers", f"{path} cannot be read: {error}") from None
    except OSError as error:
        raise refused("new.answers", f"{path} cannot be read: {error.strerror}") from None
    if not isinstance(data, dict):
        raise refused("new.answers", f"{path} holds no table of answers; write `question: answer` on each line")
    return data


def render(template: Path, folder: Path, data: dict[str, Any], answers: Path | None) -> None:
    """Scaffold a folder without asking: defaults, laid over by an answers file, laid over by `data`."""
    _render(template, folder, {**(_answers(answers) if answers is not None else {}), **data}, True, say=False)


def _render(template: Path, folder: Path, data: dict[str, Any], defaults: bool, *, say: bool = True) -> None:
    import copier
    from copier.errors import CopierError

    from imis_core.errors import refused

    try:
        copier.run_copy(str(template), folder, data=data, defaults=defaults, quiet=not sys.stderr.isatty())
    except (CopierError, ValueError) as error:
        raise refused("new.answers", f"the template refuses the answers: {error}") from None
    if say:
        click.echo(f"{folder} is ready; next, in that folder: imis check, imis migrate, imis load packages data")
