"""A scenario file into a frozen scenario: every mistake of the file in one report, with its path. Runs no step.

The file's form is in contract.md, 'Scenario files'. What only the deployment can judge (names of commands, roles and
their scope) is checked here too, so that a wrong file is told from a scheme that fails its proof.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import field, frozen

from imis_core.application import Composition
from imis_core.deployment import (
    ADMINISTRATOR,
    DeploymentTable,
    Settings,
    SettingsError,
    load_settings,
    read_toml,
    settings_from,
)
from imis_core.errors import ImisError, Problem, Refusal, suggestion
from imis_core.parsing import InvalidInput, parse
from imis_core.plugins import PluginErrors

# Tables of imis.toml that stand beside the keys of its [deployment] in a scenario file.
BESIDE: Final = ("plugins", "schemes", "roles", "approvals", "security")
_SAVED: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_AS: Final = re.compile(r"(?P<role>[^:@]+)(:(?P<user>[^:@]+))?(@(?P<where>[^@]+))?")


@frozen
class Actor:
    """Who takes a step: a role of a user, and where (a place or a provider, as the role's scope says)."""

    role: str
    user: str
    where: str | None = None


@frozen
class Step:
    """One step. `on` is the clock's day from here on; `expect` None expects nothing of the result."""

    number: int  # from 1, as people count
    do: str
    actor: Actor
    with_: Mapping[str, Any]
    on: date | None = None
    name: str | None = None
    save: str | None = None
    expect: Any = None
    absent: tuple[str, ...] = ()
    error: str | None = None


@frozen
class Scenario:
    """A file's contents. `folder` is the deployment it belongs to, None if it carries its own."""

    file: str
    title: str
    today: date
    settings: Settings
    steps: tuple[Step, ...]
    folder: Path | None = None


class ScenarioError(ImisError):
    """A scenario file is wrong; `refusal.problems` lists every mistake."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        count = f"{len(problems)} mistake{'s' if len(problems) != 1 else ''}"
        super().__init__(Refusal("scenario.invalid", f"{file} has {count}; mend them and try again", problems))


@frozen(kw_only=True)
class _StepTable:
    name: str | None = None
    on: date | None = None
    as_: str | None = None
    do: str
    with_: dict[str, object] = field(factory=dict)
    save: str | None = None
    expect: object = None
    error: str | None = None
    absent: tuple[str, ...] = ()


@frozen(kw_only=True)
class _FileTable:
    title: str | None = None
    today: date
    deployment: object = None
    step: tuple[_StepTable, ...]


def read_scenario(path: Path, *, extra: Mapping[str, object] | None = None) -> Scenario:
    """The scenario of a file; `extra` are plugins by name that are not installed (for tests).

    Raises `ScenarioError`, and `SettingsError` or `PluginErrors` for the deployment that the file lies in.
    """
    file = str(path)
    data = _read(path)
    problems: list[Problem] = []
    table = None
    try:
        table = parse(_form(data), _FileTable)
    except InvalidInput as error:
        problems += error.problems
    problems += _meaning(data)
    folder: Path | None = None
    settings, composition = None, None
    scopes: dict[str, object] | None = None  # None: no deployment is known, so no role can be judged
    if isinstance(data.get("deployment"), Mapping):
        settings, composition = _own_deployment(data["deployment"], path, extra, problems)
        scopes = _scopes(data["deployment"].get("roles"))
    elif "deployment" in data:
        problems.append(Problem("deployment", "type", "expected a table [deployment]"))
    else:
        folder = deployment_of(path)
        if folder is None:
            message = "there is no [deployment] here, and no imis.toml in the folders above; add the one or the other"
            problems.append(Problem("deployment", "required", message))
        else:
            settings = load_settings(folder)
            composition = Composition(settings, str(folder / "imis.toml"), extra)
            scopes = {role: table.scope for role, table in settings.roles.items()}
    if scopes is not None:
        problems += _step_problems(data, {**scopes, ADMINISTRATOR: "all"}, composition)
    if problems or table is None or settings is None:
        raise ScenarioError(file, tuple({(p.path, p.reason): p for p in problems}.values()))
    pairs = zip(table.step, data["step"], strict=True)
    steps = tuple(_step(number, step, raw) for number, (step, raw) in enumerate(pairs, 1))
    return Scenario(file, table.title or path.stem, table.today, settings, steps, folder)


def _form(data: Mapping[str, Any]) -> dict[str, Any]:
    """The file without the data of its steps: what may stand there is for the command's door to say, step by step."""
    steps = data.get("step")
    if not isinstance(steps, list):
        return dict(data)
    bare = [
        {key: {} if key == "with" and isinstance(value, Mapping) else value for key, value in step.items()}
        if isinstance(step, Mapping)
        else step
        for step in steps
    ]
    return {**data, "step": bare}


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except SettingsError as error:
        raise ScenarioError(str(path), error.refusal.problems) from None


def deployment_of(path: Path) -> Path | None:
    """The nearest folder above a file that has an imis.toml; None if there is none."""
    return next((parent for parent in path.resolve().parents if (parent / "imis.toml").is_file()), None)


def _own_deployment(
    table: Mapping[str, Any], path: Path, extra: Mapping[str, object] | None, problems: list[Problem]
) -> tuple[Settings | None, Composition | None]:
    """Settings and plugins of a file that carries its own; what is wrong with them is added to `problems`."""
    known = [a.name for a in attrs.fields(DeploymentTable)]
    unknown = [key for key in table if key not in known and key not in BESIDE]
    for key in unknown:
        message = f"there is no field {key[:60]!r} here{suggestion(key, [*known, *BESIDE])}"
        problems.append(Problem(f"deployment.{key}", "unknown", message))
    data = {"deployment": {k: v for k, v in table.items() if k in known}, **{k: table[k] for k in BESIDE if k in table}}
    settings = None
    try:
        settings = settings_from(data, str(path), default_name=slug(path.stem))
        return settings, Composition(settings, str(path), extra)
    except (SettingsError, PluginErrors) as error:
        problems += [p if p.path.startswith("deployment") else p.at("deployment") for p in error.refusal.problems]
        return settings, None


def slug(stem: str) -> str:
    """A file's stem as a deployment's name: `Cash payroll_2` -> `cash-payroll-2`."""
    words = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
    return words if words[:1].isalpha() else f"scenario-{words}".rstrip("-")


def _tables(data: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The steps as they stand in the file, with their paths; what is no table is told of by the parser."""
    steps = data.get("step")
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, Mapping):
            yield f"step.{index}", step


def _meaning(data: Mapping[str, Any]) -> list[Problem]:
    """What the types of the fields cannot say; works on the raw tables, so that it reports beside mistakes of form."""
    found = []
    if data.get("step") == []:
        found.append(Problem("step", "required", "a scenario has at least one [[step]]"))
    latest = _day(data.get("today"))
    for path, step in _tables(data):
        if "error" in step:
            found += [
                Problem(f"{path}.{key}", "both", f"a step has either {key} or error: a refused step has no result")
                for key in ("expect", "absent")
                if key in step
            ]
        on = _day(step.get("on"))
        if on is not None and latest is not None and on < latest:
            message = f"the clock stands at {latest.isoformat()} and does not go back to {on.isoformat()}"
            found.append(Problem(f"{path}.on", "backwards", message))
        latest = max(filter(None, (latest, on)), default=None)
        save = step.get("save")
        if isinstance(save, str) and not _SAVED.fullmatch(save):
            found.append(Problem(f"{path}.save", "format", f"{save!r} is no name: letters, digits and '_'"))
        for index, absent in enumerate(step["absent"] if isinstance(step.get("absent"), list) else []):
            if absent == "":
                found.append(Problem(f"{path}.absent.{index}", "format", "expected the name of a field"))
    return found


def _day(value: object) -> date | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _scopes(roles: object) -> dict[str, object]:
    """The scope of each role as it stands in the file, which may have other mistakes."""
    if not isinstance(roles, Mapping):
        return {}
    return {name: role.get("scope", "all") if isinstance(role, Mapping) else "all" for name, role in roles.items()}


def _step_problems(
    data: Mapping[str, Any], scopes: Mapping[str, object], composition: Composition | None
) -> list[Problem]:
    """Commands, queries and roles that the deployment does not have."""
    found = []
    for path, step in _tables(data):
        do = step.get("do")
        if composition is not None and isinstance(do, str):
            names = [*composition.commands, *composition.queries]
            if do not in names:
                message = f"there is no command or query {do!r}{suggestion(do, names)}"
                found.append(Problem(f"{path}.do", "unknown", message))
        if isinstance(step.get("as"), str):
            found += [problem.at(f"{path}.as") for problem in _actor_problems(step["as"], scopes)]
    return found


def _actor_problems(text: str, scopes: Mapping[str, object]) -> list[Problem]:
    match = _AS.fullmatch(text)
    if match is None:
        return [Problem("", "format", f'expected "role", "role:user" or "role:user@X", found {text!r}')]
    role = match["role"]
    if role not in scopes:
        return [Problem("", "unknown", f"there is no role {role!r} in [roles]{suggestion(role, scopes)}")]
    if match["where"] is not None and scopes[role] == "all":
        message = f"the role {role!r} has the scope all, so {'@' + match['where']!r} means nothing; leave it out"
        return [Problem("", "scope", message)]
    return []


def _step(number: int, table: _StepTable, raw: Mapping[str, Any]) -> Step:
    actor = Actor(ADMINISTRATOR, ADMINISTRATOR)
    if table.as_ is not None:
        match = _AS.fullmatch(table.as_)
        assert match is not None  # _actor_problems has refused the others
        actor = Actor(match["role"], match["user"] or match["role"], match["where"])
    return Step(
        number, table.do, actor, raw.get("with", {}), table.on, table.name, table.save, table.expect, table.absent,
        table.error,
    )  # fmt: skip


__all__ = ["Actor", "Scenario", "ScenarioError", "Step", "deployment_of", "read_scenario", "slug"]
