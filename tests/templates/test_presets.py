"""The presets of the deployment template: each scaffolds, is accepted, loads its own files, passes its scenarios."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from imis_core.application import Composition
from imis_core.cli.new import presets, render, template_folder
from imis_core.clock import SetClock
from imis_core.deployment import load_settings
from imis_core.imports import drift, load_paths
from imis_core.opening import Playground
from imis_core.scenarios.runner import run_scenario

TEMPLATE = template_folder()
Scaffold = Callable[..., Path]


@pytest.fixture
def scaffold(tmp_path: Path) -> Scaffold:
    def make(preset: str, **answers: Any) -> Path:
        folder = tmp_path / str(answers.get("deployment", preset))
        render(TEMPLATE, folder, {"preset": preset, **answers}, None)
        return folder

    return make


def test_the_presets_are_those_that_are_described() -> None:
    """A preset is a folder, a choice and a table of answers."""
    text = (TEMPLATE / "copier.yml").read_text("utf-8")
    assert presets(TEMPLATE) == ["blank", "chad-borsa", "gambia-nafa"]
    assert all(f"{name}: " in text for name in presets(TEMPLATE))


@pytest.mark.parametrize("preset", presets(TEMPLATE))
def test_a_preset_is_a_deployment_that_loads(scaffold: Scaffold, playground: Playground, preset: str) -> None:
    """Its settings are right, its packages and data load without a problem, twice, and nothing is left to load."""
    folder = scaffold(preset)
    settings = load_settings(folder)
    Composition(settings, str(folder / "imis.toml"))
    assert not list(folder.rglob("*.jinja"))
    paths = [folder / "packages", folder / "data"]
    with playground.application(settings, SetClock(date(2025, 1, 1))) as app:
        report = load_paths(app, paths)
        assert report.problems == []
        assert sum(file.refused for file in report.files) == 0
        again = load_paths(app, paths)
        assert again.problems == []
        assert sum(file.loaded for file in again.files) == 0
        assert drift(app, paths) == []
    assert len(report.files) == {"blank": 0, "chad-borsa": 5, "gambia-nafa": 1}[preset]


# The files as they are called in a deployment: in the template a name may hang on an answer.
SCENARIOS = sorted(
    path.relative_to(TEMPLATE / "presets").with_name(re.sub(r"{%.*?%}|\.jinja$", "", path.name))
    for path in (TEMPLATE / "presets").glob("*/scenarios/*.toml*")
)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_a_scenario_of_a_preset_passes(scaffold: Scaffold, playground: Playground, scenario: Path) -> None:
    """What the preset says of itself holds."""
    folder = scaffold(scenario.parts[0])
    result = run_scenario(folder / "scenarios" / scenario.name, playground)
    assert [f"{f.step} {f.do}: {f.reason}" for f in result.failures] == []
    assert result.steps > 0


def test_every_preset_with_a_scheme_has_scenarios() -> None:
    """A rule that no scenario shows is a rule that nobody has checked."""
    assert {path.parts[0] for path in SCENARIOS} == {name for name in presets(TEMPLATE) if name != "blank"}


@pytest.mark.parametrize("preset", presets(TEMPLATE))
def test_questions_switch_plugins_on(scaffold: Scaffold, preset: str) -> None:
    """Grievances and FHIR are asked for: in the settings, and among what is to be installed."""
    folder = scaffold(preset, grievances=True, fhir=True)
    settings = load_settings(folder)
    Composition(settings, str(folder / "imis.toml"))
    assert {"grievance", "fhir"} <= set(settings.enabled)
    wanted = (folder / "requirements.txt").read_text("utf-8").splitlines()
    assert {"imis-grievance ~= 0.1.0", "imis-fhir ~= 0.1.0"} <= set(wanted)
    without = load_settings(scaffold(preset, grievances=False, fhir=False, deployment="plain"))
    assert not {"grievance", "fhir"} & set(without.enabled)


@pytest.mark.parametrize("preset", presets(TEMPLATE))
def test_answers_go_where_they_belong(scaffold: Scaffold, preset: str) -> None:
    """Name, country, currency and database of the answers are those of the settings; no secret file is versioned."""
    folder = scaffold(
        preset, deployment="nepal-hib", country="NP", currency="NPR", languages=["ne", "en"], timezone="Asia/Kathmandu",
        calendar="bikram_sambat", database_url="postgresql://imis@localhost/imis",
    )  # fmt: skip
    settings = load_settings(folder)
    assert settings.name == "nepal-hib"
    assert (settings.deployment.country, settings.deployment.currency) == ("NP", "NPR")
    assert settings.deployment.languages == ("ne", "en")
    assert settings.deployment.calendar == "bikram_sambat"
    assert settings.database.url == "postgresql://imis@localhost/imis"
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for name in ("var/postgres/x", "keys/ids.key", ".env"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("secret")
    told = subprocess.run(
        ["git", "-C", str(folder), "ls-files", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert "imis.toml" in told
    assert not {"var/postgres/x", "keys/ids.key", ".env"} & set(told)
