"""Rules of the subcommands: JSON and files in and out, users, scenarios, checks and new deployments."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars
import pytest
from python_calamine import CalamineWorkbook

from imis_core.cli.transfer import FORMATS, KINDS
from imis_core.files.writing import formats
from imis_core.imports import kinds
from imis_core.opening import Playground

from .conftest import Imis

REGION = {"code": "R1", "name": "North", "level": "region"}


def region(code: str) -> str:
    return json.dumps({**REGION, "code": code})


def test_a_command_on_one_object(small: Path, imis: Imis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON is given itself, in a file or on standard input; the result is printed as JSON."""
    file = tmp_path / "region.json"
    file.write_text(region("ONE-2"), "utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO(region("ONE-3")))
    for source, code in ((region("ONE-1"), "ONE-1"), (file, "ONE-2"), ("-", "ONE-3")):
        answer = imis("-C", small, "run", "locations.add", "--data", source)
        assert (answer.code, answer.data["code"], answer.err) == (0, code, "")


def test_a_refusal_is_failed_work_and_a_wrong_form_wrong_input(small: Path, imis: Imis) -> None:
    """Exit code 1 for what the rules refuse, 2 for what is not valid, 2 for a name that is not there."""
    imis("-C", small, "run", "locations.add", "--data", region("TWICE"))
    refused = imis("-C", small, "run", "locations.add", "--data", region("TWICE"))
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("imis: locations.duplicate_code: ")
    wrong = imis("-C", small, "run", "locations.add", "--data", '{"cod": "X"}')
    assert (wrong.code, len(wrong.err.splitlines())) == (2, 1)
    assert "did you mean 'code'" in wrong.err
    unknown = imis("-C", small, "run", "locations.ad", "--data", region("X"))
    assert unknown.code == 2
    assert "did you mean 'locations.add'" in unknown.err


def test_a_list_is_a_batch(small: Path, imis: Imis) -> None:
    """A list answers results and errors in order; one refusal is exit code 1; atomic takes all or none."""
    batch = f"[{region('B1')}, {region('B1')}, {region('B2')}]"
    answer = imis("-C", small, "run", "locations.add", "--data", batch)
    assert [next(iter(outcome)) for outcome in answer.data] == ["result", "error", "result"]
    assert (answer.code, answer.data[1]["error"]["code"]) == (1, "locations.duplicate_code")
    imis("-C", small, "run", "locations.add", "--atomic", "--data", f"[{region('B3')}, {region('B1')}]")
    codes = [row["code"] for row in imis("-C", small, "run", "locations.list").data]
    assert ("B2" in codes, "B3" in codes) == (True, False)


def test_a_key_makes_a_request_repeatable(small: Path, imis: Imis) -> None:
    """The same request with the same key gives the stored answer; another request is refused."""
    first = imis("-C", small, "run", "locations.add", "--key", "k1", "--data", region("KEY"))
    again = imis("-C", small, "run", "locations.add", "--key", "k1", "--data", region("KEY"))
    other = imis("-C", small, "run", "locations.add", "--key", "k1", "--data", region("KEY2"))
    assert (first.code, again.code, other.code) == (0, 0, 1)
    assert first.data == again.data
    assert other.err.startswith("imis: idempotency.key_reused: ")


def test_the_list_of_names_needs_no_database(tmp_path: Path, imis: Imis) -> None:
    """`run --list` shows every command and query with its summary."""
    (tmp_path / "imis.toml").write_text('[deployment]\nname = "x"\ncountry = "XX"\ncurrency = "USD"\n')
    answer = imis("-C", tmp_path, "run", "--list")
    rows = {line.split()[0]: line.split()[1] for line in answer.out.splitlines()}
    assert (answer.code, rows["locations.add"], rows["locations.list"]) == (0, "command", "query")
    assert not (tmp_path / "var").exists()


def test_users_act_with_their_roles(small: Path, imis: Imis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user is added with a password from standard input, and `--as` acts as that user."""
    monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
    assert imis("-C", small, "user", "add", "anna", "--role", "clerk").out == "user anna is added\n"
    assert imis("-C", small, "run", "locations.list", "--as", "anna").code == 0
    denied = imis("-C", small, "run", "users.list", "--as", "anna")
    assert (denied.code, denied.err[:25]) == (1, "imis: permission.denied: ")
    assert imis("-C", small, "run", "locations.list", "--as", "nobody").code == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("another password\n"))
    assert imis("-C", small, "user", "passwd", "anna").out == "the password of anna is changed\n"


def test_no_password_stands_on_a_command_line(
    small: Path, imis: Imis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody on the machine reads it there: JSON with one is refused, from standard input or a file it is taken."""
    data = json.dumps({"name": "olga", "roles": ["clerk"], "password": "five blue kites"})
    for inline in (data, f"[{data}]"):
        refused = imis("-C", small, "run", "users.add", "--data", inline)
        assert (refused.code, "--data -" in refused.err, "kites" in refused.err) == (2, True, False)
    (tmp_path / "olga.json").write_text(data)
    assert imis("-C", small, "run", "users.add", "--data", tmp_path / "olga.json").code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(data.replace("olga", "olaf")))
    assert imis("-C", small, "run", "users.add", "--data", "-").code == 0
    assert imis("-C", small, "run", "users.add", "--data", '{"name": "otto", "roles": []}').code == 0


def test_a_given_password_is_marked(small: Path, imis: Imis, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--must-change` makes the user choose another one at the next login."""
    for command in (("add", "mia", "--role", "clerk"), ("passwd", "mia")):
        monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
        assert imis("-C", small, "user", *command, "--must-change").code == 0
        assert imis("-C", small, "run", "users.show", "--data", '{"user": "mia"}').data["must_change"] is True


@pytest.mark.parametrize(
    ("password", "role", "code", "told"),
    [
        ("", "clerk", 2, "no password"),
        ("short\n", "clerk", 2, "at least"),
        ("a long password\n", "clark", 2, "'clerk'"),
    ],
)
def test_a_user_that_cannot_be_added(
    small: Path, imis: Imis, monkeypatch: pytest.MonkeyPatch, password: str, role: str, code: int, told: str
) -> None:
    """No password, a short one and an unknown role are wrong input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(password))
    answer = imis("-C", small, "user", "add", "eve", "--role", role)
    assert (answer.code, told in answer.err) == (code, True)


def test_the_kinds_and_formats_are_those_of_the_rooms() -> None:
    """The lists of the help are the same as those of the rooms that do the work."""
    assert set(KINDS) == set(kinds.KINDS)
    assert {f.name: f.media_type for f in formats()} == FORMATS


def test_an_import_loads_or_lists_every_row(small: Path, imis: Imis, tmp_path: Path) -> None:
    """Good rows are loaded, the others are written to the file of errors; the exit code is 1 then."""
    file, errors = tmp_path / "places.csv", tmp_path / "wrong.csv"
    file.write_text("code,name,level\nI1,One,region\nI2,,region\n", "utf-8")
    answer = imis("-C", small, "import", "locations", file, "--errors", errors)
    assert (answer.code, answer.out) == (1, f"{file}: 1 loaded, 0 unchanged, 1 refused\n")
    assert "I2" in errors.read_text("utf-8-sig")
    assert str(errors) in answer.err
    assert imis("-C", small, "import", "locations", file, "--errors", errors).out.startswith(
        f"{file}: 0 loaded, 1 unch"
    )


def test_an_import_of_an_unknown_kind_is_wrong_input(small: Path, imis: Imis, tmp_path: Path) -> None:
    """The kind of an import is one of the contract's."""
    file = tmp_path / "places.csv"
    file.write_text("code\n", "utf-8")
    answer = imis("-C", small, "import", "places", file)
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)


@pytest.mark.parametrize("name", list(FORMATS))
def test_an_export_writes_the_whole_listing(small: Path, imis: Imis, tmp_path: Path, name: str) -> None:
    """Every format holds the same rows; the file's ending names the format."""
    imis("-C", small, "run", "locations.add", "--data", region(f"X-{name}"))
    expected = [row["code"] for row in imis("-C", small, "run", "locations.list").data]
    output = tmp_path / f"places.{name}"
    assert imis("-C", small, "export", "locations.list", "--output", output).code == 0
    assert sorted(_codes(output)) == sorted(expected)
    assert [p.name for p in tmp_path.iterdir()] == [output.name]


def _codes(path: Path) -> list[str]:
    readers: dict[str, Any] = {
        ".csv": polars.read_csv,
        ".xlsx": _read_excel,
        ".ndjson": polars.read_ndjson,
        ".parquet": polars.read_parquet,
    }
    codes: list[str] = readers[path.suffix](path)["code"].to_list()
    return codes


def _read_excel(path: Path) -> polars.DataFrame:
    header, *rows = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
    return polars.DataFrame(rows, schema=[str(name) for name in header], orient="row")


def test_an_export_names_a_query(small: Path, imis: Imis) -> None:
    """A command is no query, and an unknown one is told with a suggestion."""
    command = imis("-C", small, "export", "locations.add")
    assert (command.code, "is a command" in command.err) == (2, True)
    unknown = imis("-C", small, "export", "locations.lst")
    assert (unknown.code, "'locations.list'" in unknown.err) == (2, True)


def test_load_and_check(small: Path, imis: Imis) -> None:
    """`load` brings the deployment's files in, again does nothing, and `check` tells what is not loaded."""
    (small / "packages").mkdir()
    (small / "data").mkdir()
    package = small / "packages" / "base.toml"
    package.write_text(
        'scheme = "chf"\ncode = "BASE"\nname = "Base"\nvalid_from = 2020-01-01\n[terms]\ninsurance_months = 12\n'
        'grace_payment_months = 1\npremium_adult = "10"\npremium_child = "5"\n',
        "utf-8",
    )
    (small / "data" / "locations.csv").write_text("code,name,level\nL1,One,region\n", "utf-8")
    before = imis("-C", small, "check")
    assert (before.code, before.err) == (0, "")
    assert "chf/BASE is not in the database" in before.out
    loaded = imis("-C", small, "load", small / "packages", small / "data")
    assert (loaded.code, loaded.err) == (0, "")
    assert "1 loaded, 0 unchanged, 0 refused" in loaded.out
    assert "package BASE version 1" in loaded.out
    assert "the packages are in the database as they stand" in imis("-C", small, "check").out
    package.write_text(package.read_text("utf-8").replace('"10"', '"-1"'), "utf-8")
    refused = imis("-C", small, "load", package)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)


def test_migrate_again_does_nothing(small: Path, imis: Imis) -> None:
    """`migrate` may be repeated."""
    answer = imis("-C", small, "migrate")
    assert (answer.code, "nothing to do" in answer.out) == (0, True)


def test_plugins_and_openapi(small: Path, imis: Imis) -> None:
    """Installed plugins are listed with their state; the description has the deployment's commands."""
    assert "health_insurance  0.1.0  enabled" in imis("-C", small, "plugins", "list").out.splitlines()
    assert "/api/locations/add" in imis("-C", small, "openapi").data["paths"]


def test_a_plugin_that_is_enabled_but_missing(tmp_path: Path, imis: Imis) -> None:
    """`plugins` tells what is switched on but not installed, with exit code 1."""
    text = '[deployment]\nname = "x"\ncountry = "XX"\ncurrency = "USD"\n[plugins]\nenabled = ["gone"]\n'
    (tmp_path / "imis.toml").write_text(text)
    answer = imis("-C", tmp_path, "plugins")
    assert (answer.code, "gone  -  enabled, but not installed" in answer.out.splitlines()) == (1, True)


SCENARIO = """
title = "Places"
today = 2021-01-11
[deployment]
country = "XX"
currency = "USD"
[[step]]
name = "a region"
do = "locations.add"
with = { code = "R1", name = "North", level = "region" }
expect = { code = "%s" }
"""


def test_scenarios_are_told_by_exit_code_and_lines(imis: Imis, tmp_path: Path, playground: Playground) -> None:
    """0: all passed; 1: a step failed, shown with expected and found; 2: a file is wrong. All files are run."""
    server = playground.databases._admin.render_as_string(hide_password=False)
    good, bad, wrong = (tmp_path / f"{name}.toml" for name in ("good", "bad", "wrong"))
    good.write_text(SCENARIO % "R1", "utf-8")
    bad.write_text(SCENARIO % "R2", "utf-8")
    wrong.write_text(SCENARIO.replace("locations.add", "locations.ad") % "R1", "utf-8")

    passed = imis("scenario", good, "--database", server)
    assert (passed.code, passed.out, passed.err) == (0, f"{good}: passed, 1 steps: Places\n", "")

    failed = imis("scenario", bad, good, "--database", server)
    assert failed.code == 1
    assert failed.out.splitlines() == [
        f"{bad}: FAILED (1), 1 steps: Places",
        '  step 1 locations.add (a region): code: expected "R2", found "R1"',
        f"{good}: passed, 1 steps: Places",
    ]

    mixed = imis("scenario", wrong, bad, good, "--json", "--database", server)
    lines = [json.loads(line) for line in mixed.out.splitlines()]
    assert (mixed.code, [line["passed"] for line in lines]) == (2, [False, False, True])
    assert [line["file"] for line in lines] == [str(wrong), str(bad), str(good)]
    assert "'locations.add'" in mixed.err
    assert set(lines[0]) == {"file", "title", "passed", "steps", "failures"}


def test_a_scenario_of_a_deployment_starts_after_its_load(imis: Imis, tmp_path: Path, playground: Playground) -> None:
    """A file without [deployment] finds what the deployment's data folder holds, and leaves nothing behind."""
    server = playground.databases._admin.render_as_string(hide_password=False)
    (tmp_path / "imis.toml").write_text('[deployment]\nname = "x"\ncountry = "XX"\ncurrency = "USD"\n')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "locations.csv").write_text("code,name,level\nL1,One,region\n", "utf-8")
    (tmp_path / "scenarios").mkdir()
    file = tmp_path / "scenarios" / "one.toml"
    file.write_text('today = 2021-01-11\n[[step]]\ndo = "locations.list"\nexpect = [{ code = "L1" }]\n', "utf-8")
    assert imis("scenario", file, "--database", server).out == f"{file}: passed, 1 steps: one\n"
    (tmp_path / "data" / "locations.csv").write_text("code,name,level\nL1,,region\n", "utf-8")
    refused = imis("scenario", file, "--database", server)
    assert refused.code == 2
    assert refused.err.startswith("imis: scenario.not_loaded: ")


def test_a_scenario_runs_on_a_temporary_server_by_default(imis: Imis, tmp_path: Path) -> None:
    """Without `--database` a server is made for the run and removed after it."""
    file = tmp_path / "good.toml"
    file.write_text(SCENARIO % "R1", "utf-8")
    assert imis("scenario", file).code == 0


def test_a_new_deployment_is_right_at_once(imis: Imis, tmp_path: Path) -> None:
    """`new` renders a preset that `check` finds no mistake in; answers may come from a file."""
    answers = tmp_path / "answers.toml"
    answers.write_text('deployment = "my-scheme"\ncountry = "NP"\n', "utf-8")
    folder = tmp_path / "made"
    made = imis("new", folder, "--preset", "blank", "--data", answers, "--defaults")
    assert (made.code, made.err) == (0, "")
    checked = imis("-C", folder, "check")
    assert (checked.code, checked.err) == (0, "")
    assert 'name = "my-scheme"' in (folder / "imis.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--preset", "blnk", "--defaults"), "did you mean 'blank'"),
        (("--preset", "blank"), "--defaults"),
    ],
)
def test_a_deployment_that_cannot_be_made(imis: Imis, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    """An unknown preset, and questions without a terminal, are told before anything is written."""
    answer = imis("new", tmp_path / "made", *arguments)
    assert (answer.code, told in answer.err, len(answer.err.splitlines())) == (2, True, 1)
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_in_use_is_left_alone(imis: Imis, tmp_path: Path) -> None:
    """`new` writes into no folder that holds something."""
    (tmp_path / "here.txt").write_text("mine")
    answer = imis("new", tmp_path, "--preset", "blank", "--defaults")
    assert (answer.code, [p.name for p in tmp_path.iterdir()]) == (2, ["here.txt"])


def test_a_claim_is_explained_in_words(small: Path, imis: Imis) -> None:
    """The text of `claims.explain`, in a language that is asked for; one line and exit code 2 for what is not there."""
    line = {"item": "LAB", "quantity": 1, "price": "80"}
    person = {"number": "EX1", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
    for command, data in (
        ("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"}),
        ("catalogue.define_item", {"code": "LAB", "name": "Lab", "kind": "service", "price": "100"}),
        ("providers.register", {"code": "EXHC", "name": "HC", "level": "hospital"}),
        ("beneficiaries.register_person", person),
        (
            "claims.submit",
            {
                "code": "EX-1", "provider": "EXHC", "number": "EX1", "from": "2021-02-01", "diagnosis": "A09",
                "lines": [line],
            },
        ),
    ):  # fmt: skip
        assert imis("-C", small, "run", command, "--data", json.dumps(data)).code == 0
    told = imis("-C", small, "explain", "claim", "EX-1")
    assert (told.code, told.out.splitlines()[:3]) == (
        0,
        [
            "Claim EX-1 of the facility EXHC for care on February 1, 2021.",
            "It is rejected: no policy of the patient covered February 1, 2021.",
            "",
        ],
    )
    french = imis("-C", small, "explain", "claim", "EX-1", "--language", "fr")
    assert french.out.startswith("Demande EX-1 de l’établissement EXHC pour des soins du 1 février 2021.")
    unknown = imis("-C", small, "explain", "claim", "NIL")
    assert (unknown.code, len(unknown.err.splitlines())) == (1, 1)
    assert imis("-C", small, "explain", "claim", "EX-1", "--language", "xx").code == 2
