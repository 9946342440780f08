"""docs/hooks.md and imis_core/hookspecs.py say the same, and the page's examples are a plugin that works."""

from __future__ import annotations

import inspect
import re
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest

from imis_core import hookspecs
from imis_core.errors import ImisError
from imis_core.testing.app import TestApp
from imis_core.testing.plugin import AppMaker

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
EXAMPLE = re.compile(r"^```python run\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def specified() -> dict[str, list[str]]:
    """Every hook of the specifications with its arguments."""
    functions = inspect.getmembers(hookspecs, inspect.isfunction)
    return {name: list(inspect.signature(f).parameters) for name, f in functions if name.startswith("imis_")}


def documented() -> dict[str, list[str]]:
    """Every hook that has a heading of its own: ### `imis_name(argument, argument)`."""
    headings = re.findall(r"^### `(imis_\w+)\(([^)]*)\)`$", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: [a.strip() for a in arguments.split(",") if a.strip()] for name, arguments in headings}


@pytest.fixture
def examples() -> ModuleType:
    """The page's examples as the module of one plugin."""
    plugin = ModuleType("attendance")
    for code in EXAMPLE.findall(PAGE.read_text("utf-8")):
        exec(compile(code, str(PAGE), "exec", dont_inherit=True), plugin.__dict__)
    return plugin


@pytest.fixture
def attendance(make_app: AppMaker, examples: ModuleType) -> TestApp:
    """A deployment with the page's plugin alone, its package and a household with two persons."""
    settings = {"schemes": {"v": {"type": "vouchers"}}}
    app = make_app(settings=settings, extra={"attendance": examples}, plugins=["attendance"], today=date(2024, 1, 1))
    app.do("locations.add", {"code": "N", "name": "North", "level": "region"})
    app.do(
        "beneficiaries.register_group",
        {
            "code": "H1",
            "location": "N",
            "members": [
                {"number": "1", "sex": "F", "birth_date": "1980-01-01", "given_name": "Ama", "family_name": "Sen",
                 "location": "N", "relationship": "head", "attributes": {"telephone": "+2201"}},
                {"number": "2", "sex": "M", "birth_date": "1981-01-01", "given_name": "Ali", "family_name": "Sen",
                 "location": "N", "relationship": "spouse"},
            ],
        },
    )  # fmt: skip
    return app


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


def test_every_hook_has_an_example_that_is_marked(examples: ModuleType) -> None:
    """Each hook is implemented once by the page's own plugin, with arguments that the hook has."""
    for name, arguments in specified().items():
        assert hasattr(examples, name), f"{name} has no example"
        assert set(inspect.signature(getattr(examples, name)).parameters) <= set(arguments), name


def test_the_examples_start_as_one_plugin(attendance: TestApp) -> None:
    """What the page registers is there when an application starts with it."""
    assert {"attendance.invite"} <= set(attendance.commands)
    assert {"attendance.roll", "reports.attendance_roll"} <= set(attendance.queries)
    assert attendance.scheme_types["vouchers"].frequency is not None
    assert "attendance.remind" in attendance.jobs
    assert list(attendance.notifiers) == ["attendance_sms", "sms", "email", "log", "file"]
    assert "bank_transfer" in attendance.channels
    assert "attendance" in attendance.sources
    assert "/attendance/{code}" in [route.path for route in attendance.routes]
    assert [mapping.name for mapping in attendance.mappings] == ["roll.v1 School"]
    assert attendance.do("reports.attendance_roll") == [{"number": "1"}, {"number": "2"}]
    attendance.jobs["attendance.remind"].handler(attendance, None)


def test_the_example_invites_and_excludes(attendance: TestApp, examples: ModuleType) -> None:
    """Its command tells one person through its notifier, excludes another by the kernel's command, refuses a third."""
    outcomes = attendance.do_all(
        "attendance.invite", [{"number": "1"}, {"number": "2", "excluded": True}, {"number": "3"}]
    )
    assert [getattr(outcome, "code", None) for outcome in outcomes] == [None, None, "not_found"]
    attendance.queue.run_due()
    assert examples.sent == ["+2201"]
    assert attendance.rows("SELECT count(*) AS excluded FROM core.exclusions") == [{"excluded": 1}]


def test_the_example_checks_households(attendance: TestApp) -> None:
    """Its objection refuses the household, with its own code."""
    nowhere = {"members": [{"number": "9", "sex": "F", "birth_date": "1990-01-01", "given_name": "A",
                            "family_name": "B", "relationship": "head"}]}  # fmt: skip
    with pytest.raises(ImisError) as refused:
        attendance.do("beneficiaries.register_group", nowhere)
    assert refused.value.code == "attendance.no_place"


def test_the_example_pays(attendance: TestApp) -> None:
    """Its select becomes an entitlement for every person, once a cycle, and an approved order for each."""
    attendance.do(
        "benefit_packages.define",
        {"scheme": "v", "code": "P", "name": "Voucher", "valid_from": "2024-01-01", "terms": {"value": "12.50"}},
    )
    cycle = attendance.do("cycles.open_next", {"scheme": "v", "package": "P", "code": "C1"})["code"]
    wanted = {"scheme": "v", "package": "P", "cycle": cycle}
    payroll = attendance.do("payroll.generate", wanted)
    assert (payroll["beneficiaries"], payroll["amount"]) == (2, "25.00")
    assert attendance.do("payroll.generate", wanted)["beneficiaries"] == 0
    attendance.do("payroll.approve", {"payroll": payroll["id"]}, as_="another")
    orders = attendance.do("payments.orders", {"payroll": payroll["id"]})
    assert [(order["recipient"], order["status"]) for order in orders] == [("1", "approved"), ("2", "approved")]
