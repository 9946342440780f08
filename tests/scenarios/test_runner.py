"""Rules of running scenarios: the clock, the users, expected errors, and what goes on between the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import frozen

from imis_core import __version__
from imis_core.hookspecs import hookimpl
from imis_core.jobs import Job
from imis_core.opening import Playground
from imis_core.plugins import Manifest
from imis_core.scenarios.runner import ScenarioResult, run_scenario

HEAD = """
title = "A test"
today = 2021-01-11
[deployment]
country = "XX"
currency = "USD"
[deployment.roles.clerk]
permissions = ["locations.*", "providers.*", "beneficiaries.*"]
scope = "place"
[deployment.roles.reader]
permissions = ["providers.list"]
[deployment.roles.facility]
permissions = ["providers.list"]
scope = "provider"
"""
REGION = '[[step]]\ndo = "locations.add"\nwith = { code = "R1", name = "North", level = "region" }\n'
Runner = Callable[..., ScenarioResult]


@pytest.fixture
def run(playground: Playground, tmp_path: Path) -> Runner:
    """Runs the text of a scenario's steps."""

    def run_text(steps: str, head: str = HEAD, **extra: Any) -> ScenarioResult:
        path = tmp_path / "some.toml"
        path.write_text(head + steps, "utf-8")
        return run_scenario(path, playground, **extra)

    return run_text


def reasons(result: ScenarioResult) -> dict[int, str]:
    return {failure.step: failure.reason for failure in result.failures}


def test_a_result_is_saved_and_referred_to(run: Runner) -> None:
    """A saved result's parts stand in later steps' data and expectations."""
    result = run(
        REGION
        + 'save = "north"\nexpect = { code = "R1" }\n'
        + '[[step]]\ndo = "locations.add"\n'
        + 'with = { code = "D1", name = "of $north.code for $$5", level = "district", parent = "$north.id" }\n'
        + '[[step]]\ndo = "locations.list"\n'
        + 'expect = [{ id = "$north.id", code = "R1" }, { code = "D1", name = "of R1 for $5" }]\n'
    )
    assert (reasons(result), result.passed, result.steps) == ({}, True, 3)


def test_a_mismatch_fails_the_step_and_the_file_goes_on(run: Runner) -> None:
    """A failed step is told with expected and found; later steps are still taken."""
    result = run(REGION + 'expect = { code = "R2" }\n' + REGION + 'error = "locations.duplicate_code"\n')
    assert reasons(result) == {1: 'code: expected "R2", found "R1"'}
    assert not result.passed


def test_an_expected_error_compares_the_code(run: Runner) -> None:
    """A refusal with another code, a success, and an unexpected refusal all fail their steps."""
    result = run(
        '[[step]]\ndo = "locations.add"\nwith = {}\nerror = "input.invalid"\n'
        '[[step]]\ndo = "locations.add"\nwith = {}\nerror = "not_found"\n'
        + REGION
        + 'error = "input.invalid"\n'
        + REGION
    )
    told = reasons(result)
    assert list(told) == [2, 3, 4]
    assert told[2].startswith("expected the error not_found, found input.invalid:")
    assert told[3].startswith("expected the error input.invalid, found the result {")
    assert told[4].startswith("expected no error, found locations.duplicate_code:")


def test_an_unknown_reference_fails_its_step(run: Runner) -> None:
    """A step that refers to what a failed step should have saved fails by itself."""
    result = run('[[step]]\ndo = "locations.add"\nsave = "north"\n' + REGION + 'expect = { id = "$north.id" }\n')
    assert "no result is saved as 'north'" in reasons(result)[2]


def test_absent_is_checked_beside_expect(run: Runner) -> None:
    """`absent` fails for a field that has a value."""
    result = run(REGION + 'absent = ["parent", "code"]\n')
    assert reasons(result) == {1: 'code: expected nothing, found "R1"'}


def test_binary_fractions_are_refused_as_everywhere(run: Runner) -> None:
    """A float in a scenario reaches the door as a float, which no amount takes."""
    result = run(
        '[[step]]\ndo = "catalogue.define_item"\n'
        'with = { code = "A", name = "A", kind = "service", price = 12.5 }\nerror = "input.invalid"\n'
    )
    assert reasons(result) == {}


def test_data_that_cannot_be_kept_is_refused_by_the_command(run: Runner) -> None:
    """What a step sends is judged by the command's door, not by the file's reader: it may be what the step proves."""
    step = '[[step]]\ndo = "locations.add"\nwith = {{ code = "R1", name = "{}", level = "region" }}\n'
    wrong = "".join(step.format(name) + 'error = "input.invalid"\n' for name in ("x" * 1_000_000, "a\\u0000b", ""))
    assert reasons(run(wrong)) == {}


def test_a_step_moves_the_clock(run: Runner) -> None:
    """`on` sets the business day from that step on: what was in the future is not any longer."""
    person = (
        '[[step]]\ndo = "beneficiaries.register_person"\nwith = { given_name = "Ada", family_name = "Ba", sex = "F", '
        'number = "N%d", birth_date = 2021-02-01 }\n'
    )
    result = run(person % 1 + 'error = "input.invalid"\n' + person % 2 + "on = 2021-02-01\n" + person % 3)
    assert reasons(result) == {}


def test_a_place_limits_what_a_user_sees(run: Runner) -> None:
    """A role of scope place sees its places, more of them with later steps, and none without `@`."""
    place = '[[step]]\ndo = "locations.add"\nwith = { code = "%s", name = "%s", level = "region" }\n'
    person = (
        '[[step]]\ndo = "beneficiaries.register_person"\n'
        'with = { number = "%s", given_name = "Ada", family_name = "Ba", sex = "F", birth_date = 1990-01-01, '
        'location = "%s" }\n'
    )
    show = '[[step]]\ndo = "beneficiaries.show_person"\nwith = { person = "%s" }\nas = "%s"\n'
    refused = 'error = "not_found"\n'
    result = run(
        place % ("R1", "A")
        + place % ("R2", "B")
        + person % ("N1", "R1")
        + person % ("N2", "R2")
        + show % ("N1", "clerk:anna@R1")
        + show % ("N2", "clerk:anna@R1")
        + refused
        + show % ("N1", "clerk:eve")
        + refused
        + show % ("N2", "clerk:anna@R2")
        + show % ("N1", "clerk:anna")
        + show % ("N2", "clerk:anna@R1")
    )
    assert reasons(result) == {}


def test_a_place_that_is_not_there_fails_the_step(run: Runner) -> None:
    """`@X` that names nothing is told, whatever error the step expects."""
    result = run('[[step]]\ndo = "locations.list"\nas = "clerk:anna@R9"\nerror = "not_found"\n')
    assert reasons(result) == {1: "as anna@R9: there is no place 'R9'"}


def test_roles_add_up_and_permissions_are_the_roles(run: Runner) -> None:
    """A user may what the roles of its steps so far permit; administrators are told apart by name."""
    listing = '[[step]]\ndo = "users.list"\nas = "%s"\n'
    result = run(
        listing % "reader:ann"
        + 'error = "permission.denied"\n'
        + listing % "administrator:ben"
        + 'expect = [{ name = "administrator" }, { name = "ann", roles = ["reader"] }, { name = "ben" }]\n'
        + listing % "administrator:ann"
        + listing % "reader:ann"
    )
    assert reasons(result) == {}


def test_each_file_has_a_database_of_its_own(run: Runner) -> None:
    """What one run wrote is not there for the next."""
    assert reasons(run(REGION)) == reasons(run(REGION)) == {}


@frozen(kw_only=True)
class Nothing:
    pass


def plugin_with_job(handler: Callable[[Any, Any], object], name: str = "night") -> ModuleType:
    """A plugin that has one daily job."""
    module = ModuleType(name)

    @hookimpl
    def imis_plugin() -> Manifest:
        return Manifest(name=name, version="1", kernel=f"=={__version__}")

    @hookimpl
    def imis_register_jobs() -> Iterable[Job]:
        return (Job("night.count", Nothing, handler, "Counts its runs", daily=True),)

    module.imis_plugin = imis_plugin  # type: ignore[attr-defined]
    module.imis_register_jobs = imis_register_jobs  # type: ignore[attr-defined]
    return module


def test_daily_jobs_run_once_on_each_day_of_the_clock(run: Runner) -> None:
    """After the first step of a day the jobs of that day are run, and not again on it."""
    days: list[str] = []
    module = plugin_with_job(lambda app, _: days.append(app.clock.today().isoformat()))
    head = HEAD.replace("[deployment.roles.clerk]", 'plugins = { enabled = ["night"] }\n[deployment.roles.clerk]')
    listing = '[[step]]\ndo = "locations.list"\n'
    result = run(listing + listing + listing + "on = 2021-01-14\n" + listing, head, extra={"night": module})
    assert reasons(result) == {}
    assert days == ["2021-01-11", "2021-01-14"]


def test_a_failing_job_fails_the_step(run: Runner) -> None:
    """A job that fails is told once, with its cause, at the step after which it ran."""

    def fail(_: Any, __: Any) -> None:
        raise RuntimeError("no paper left")

    head = HEAD.replace("[deployment.roles.clerk]", 'plugins = { enabled = ["night"] }\n[deployment.roles.clerk]')
    listing = '[[step]]\ndo = "locations.list"\n'
    told = reasons(run(listing + listing, head, extra={"night": plugin_with_job(fail)}))
    assert list(told) == [1]
    assert told[1].startswith("the job night.count failed: RuntimeError: no paper left (test_runner.py:")


def test_the_json_line(run: Runner) -> None:
    """The line of `--json` has the contract's members."""
    line = run(REGION + 'name = "a region"\nexpect = { code = "R2" }\n').as_json()
    assert {key: line[key] for key in ("title", "passed", "steps")} == {"title": "A test", "passed": False, "steps": 1}
    assert line["file"].endswith("some.toml")
    assert line["failures"] == [
        {"step": 1, "do": "locations.add", "name": "a region", "reason": 'code: expected "R2", found "R1"'}
    ]
