"""Rules of scenario files: every mistake is told at once, with its path; a wrong file is no failed scenario."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from imis_core.deployment import SettingsError
from imis_core.scenarios.files import Actor, ScenarioError, read_scenario, slug

OWN = '[deployment]\ncountry = "XX"\ncurrency = "USD"\n'
STEP = '[[step]]\ndo = "locations.add"\nwith = { code = "R1", name = "North", level = "region" }\n'


def write(folder: Path, text: str, name: str = "some.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def problems(path: Path) -> dict[str, str]:
    """The messages of a wrong file by path."""
    with pytest.raises(ScenarioError) as caught:
        read_scenario(path)
    assert caught.value.exit_code == 2
    return {p.path: p.message for p in caught.value.refusal.problems}


def test_a_file_carries_its_deployment(tmp_path: Path) -> None:
    """The keys of [deployment] stand beside its tables; the name is the file's stem, made a slug."""
    text = f'today = 2021-01-11\n{OWN}roles = {{ clerk = {{ permissions = ["*"], scope = "place" }} }}\n{STEP}'
    scenario = read_scenario(write(tmp_path, text, "Two roles_1.toml"))
    assert scenario.settings.name == "two-roles-1"
    assert scenario.settings.scope_of("clerk") == "place"
    assert (scenario.title, scenario.today, scenario.folder) == ("Two roles_1", date(2021, 1, 11), None)
    assert scenario.steps[0].actor == Actor("administrator", "administrator")


@pytest.mark.parametrize(
    ("stem", "name"),
    [("cash_payroll", "cash-payroll"), ("2024 Été", "scenario-2024-t"), ("_", "scenario"), ("A--b", "a-b")],
)
def test_slug(stem: str, name: str) -> None:
    """A stem becomes lower-case words joined by hyphens, beginning with a letter."""
    assert slug(stem) == name


@pytest.mark.parametrize(
    ("text", "actor"),
    [
        ("clerk", Actor("clerk", "clerk")),
        ("clerk@HC1", Actor("clerk", "clerk", "HC1")),
        ("clerk:anna@HC1", Actor("clerk", "anna", "HC1")),
        ("administrator:ben", Actor("administrator", "ben")),
    ],
)
def test_who_takes_a_step(tmp_path: Path, text: str, actor: Actor) -> None:
    """`as` is a role, a user and where; a role alone is the user of that name."""
    roles = 'roles = { clerk = { permissions = ["*"], scope = "provider" } }\n'
    scenario = read_scenario(write(tmp_path, f'today = 2021-01-11\n{OWN}{roles}{STEP}as = "{text}"\n'))
    assert scenario.steps[0].actor == actor


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """Form, meaning, settings, names and roles come in one report."""
    path = write(
        tmp_path,
        """
        titel = "A slip"
        today = 2021-01-11
        [deployment]
        country = "xx"
        curency = "USD"
        roles = { clerk = { permissions = ["*"] }, local = { permissions = ["*"], scope = "place" } }
        [[step]]
        do = "locations.add"
        [[step]]
        on = 2021-01-10
        do = "locations.add"
        expect = {}
        error = "not_found"
        [[step]]
        do = "locations.add"
        as = "clark"
        save = "a-b"
        whit = {}
        [[step]]
        as = "clerk@R1"
        [[step]]
        do = "locations.add"
        as = "local:@R1"
        with = 3
        """,
    )
    found = problems(path)
    assert "'title'" in found["titel"]
    assert "two capitals" in found["deployment.country"]
    assert "'currency'" in found["deployment.curency"]
    assert "required" in found["deployment.currency"]
    assert "does not go back" in found["step.1.on"]
    assert "either expect or error" in found["step.1.expect"]
    assert "'clerk'" in found["step.2.as"]
    assert "no name" in found["step.2.save"]
    assert "'with'" in found["step.2.whit"]
    assert "required" in found["step.3.do"]
    assert "scope all" in found["step.3.as"]
    assert "expected" in found["step.4.as"]
    assert "table" in found["step.4.with"]
    assert len(found) == 13


def test_a_command_that_nobody_registers_is_a_wrong_file(tmp_path: Path) -> None:
    """An unknown name is told before anything is run, with a suggestion."""
    found = problems(write(tmp_path, f"today = 2021-01-11\n{OWN}{STEP}{STEP.replace('.add', '.ad')}"))
    assert list(found) == ["step.1.do"]
    assert "did you mean 'locations.add'" in found["step.1.do"]


def test_the_clock_goes_on_from_the_latest_day(tmp_path: Path) -> None:
    """A step's `on` is compared with the latest day before it, not with `today` alone."""
    steps = f"{STEP}on = 2021-03-01\n{STEP}{STEP}on = 2021-02-01\n"
    assert list(problems(write(tmp_path, f"today = 2021-01-11\n{OWN}{steps}"))) == ["step.2.on"]


def test_a_scenario_has_steps(tmp_path: Path) -> None:
    """A file without steps proves nothing and is wrong."""
    assert "step" in problems(write(tmp_path, f"today = 2021-01-11\n{OWN}"))
    assert "step" in problems(write(tmp_path, f"step = []\ntoday = 2021-01-11\n{OWN}"))


@pytest.mark.parametrize("text", ["today = ", "today = 2021-01-11 # \x00", ""])
def test_a_file_that_is_no_scenario(tmp_path: Path, text: str) -> None:
    """What is no TOML, and an empty file, are wrong files."""
    assert problems(write(tmp_path, text))


def test_a_missing_file(tmp_path: Path) -> None:
    """A file that is not there is wrong input."""
    assert "there is no file" in problems(tmp_path / "none.toml")[""]


def test_a_plugin_that_is_not_installed_is_told_with_its_path(tmp_path: Path) -> None:
    """What is wrong with plugins and schemes of a file is told below `deployment`."""
    text = f'today = 2021-01-11\n{OWN}plugins = {{ enabled = ["nothing_like_it"] }}\n{STEP}'
    assert "not installed" in problems(write(tmp_path, text))["deployment.plugins.enabled.nothing_like_it"]


def test_without_deployment_a_file_belongs_to_the_folder_above(tmp_path: Path) -> None:
    """The nearest folder above with an imis.toml is the deployment."""
    (tmp_path / "scenarios" / "deep").mkdir(parents=True)
    write(tmp_path, '[deployment]\nname = "here"\ncountry = "XX"\ncurrency = "USD"\n', "imis.toml")
    path = write(tmp_path / "scenarios" / "deep", f"today = 2021-01-11\n{STEP}")
    scenario = read_scenario(path)
    assert (scenario.settings.name, scenario.folder) == ("here", tmp_path.resolve())


def test_a_wrong_deployment_above_is_told_as_such(tmp_path: Path) -> None:
    """Mistakes of imis.toml are told of imis.toml, not of the scenario."""
    write(tmp_path, '[deployment]\nname = "here"\n', "imis.toml")
    with pytest.raises(SettingsError, match=r"deployment\.country"):
        read_scenario(write(tmp_path, f"today = 2021-01-11\n{STEP}"))


def test_a_file_without_any_deployment(tmp_path: Path) -> None:
    """A file needs a [deployment] or a deployment above it."""
    assert "imis.toml" in problems(write(tmp_path, f"today = 2021-01-11\n{STEP}"))["deployment"]
