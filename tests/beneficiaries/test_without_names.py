"""Persons without names where the deployment allows it (`person_names = "optional"`), in every room they pass."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import python_calamine

from imis_core.attachments.store import FOLDER, read_content
from imis_core.cards.issuing import CardsIssued
from imis_core.cards.printing import pdf
from imis_core.errors import ImisError
from imis_core.imports import import_file
from imis_core.parsing import parse
from imis_core.queries import export
from imis_core.testing.app import TestApp
from imis_core.testing.plugin import AppMaker
from imis_core.web.exports import write_export
from tests.payments.debts import Debts

BARE: dict[str, Any] = {"sex": "F", "birth_date": "1990-05-01"}
HEAD = "number,sex,birth_date\n"


@pytest.fixture
def nameless(make_app: AppMaker) -> TestApp:
    app = make_app(settings={"deployment": {"person_names": "optional"}})
    app.do("locations.add", {"code": "A", "name": "A", "level": "district"})
    return app


def names(app: TestApp, number: str) -> tuple[Any, Any]:
    shown = app.do("beneficiaries.show_person", {"number": number})
    return shown["given_name"], shown["family_name"]


def register(app: TestApp, *numbers: str, **fields: Any) -> None:
    for number in numbers:
        app.do("beneficiaries.register_person", {"number": number, **BARE, **fields})


# --- where names are required


def test_a_missing_name_is_refused_where_names_are_required(app: TestApp, tmp_path: Path) -> None:
    """By registration, as a member, from a file and in a staged import; an empty name is a missing one."""
    for data in (BARE, {**BARE, "given_name": "Awa"}, {**BARE, "given_name": "Awa", "family_name": ""}):
        with pytest.raises(ImisError) as caught:
            app.do("beneficiaries.register_person", data)
        assert ("family_name", "required") in [(p.path, p.reason) for p in caught.value.refusal.problems]
    with pytest.raises(ImisError) as caught:
        app.do("beneficiaries.register_group", {"code": "F", "members": [{**BARE, "relationship": "head"}]})
    assert ("members.0.given_name", "required") in [(p.path, p.reason) for p in caught.value.refusal.problems]
    path = tmp_path / "persons.csv"
    path.write_text(f"{HEAD}1,F,1990-05-01\n")
    assert import_file(app, "persons", path, app.as_user("administrator")).loaded == 0
    staged = app.do("registry.import", {"kind": "persons", "file": "f", "rows": [{"number": "1", **BARE}]})
    (row,) = app.do("registry.import_rows", {"import": staged["id"]})
    assert row["errors"]
    assert app.do("beneficiaries.list") == []


# --- coming in


def test_registered_changed_and_listed(nameless: TestApp) -> None:
    """No name, one name, both; a name can come later and go again; a search by name finds whom it names."""
    register(nameless, "1", "2", location="A")
    register(nameless, "3", given_name="Awa")
    assert names(nameless, "1") == (None, None)
    assert names(nameless, "3") == ("Awa", None)
    nameless.do("beneficiaries.change_person", {"number": "2", "family_name": "Bah"})
    assert names(nameless, "2") == (None, "Bah")
    assert [p["number"] for p in nameless.do("beneficiaries.list")] == ["1", "2", "3"]
    assert [p["number"] for p in nameless.do("beneficiaries.list", {"name": "bah"})] == ["2"]
    assert [p["number"] for p in nameless.do("beneficiaries.list", {"name": "awa"})] == ["3"]
    nameless.do("beneficiaries.change_person", {"number": "2", "family_name": ""})
    assert names(nameless, "2") == (None, None)


def test_households_of_nameless_people(nameless: TestApp) -> None:
    """A household's members need no names, and neither does who joins later."""
    members = [{**BARE, "number": "1", "relationship": "head"}, {**BARE, "number": "2", "relationship": "child"}]
    nameless.do("beneficiaries.register_group", {"code": "F", "location": "A", "members": members})
    nameless.do("beneficiaries.add_member", {"group": "F", **BARE, "location": "A", "relationship": "other"})
    shown = nameless.do("beneficiaries.show_group", {"group": "F"})["members"]
    assert len(shown) == 3
    assert [(names(nameless, m["number"])) for m in shown] == [(None, None)] * 3


def test_files_of_persons_and_households(nameless: TestApp, tmp_path: Path) -> None:
    """Without the columns, with empty cells, and with a column for one name only."""
    caller = nameless.as_user("administrator")
    files = {
        "persons": (f"{HEAD}1,F,1990-05-01\n", "number,given_name,family_name,sex,birth_date\n2,,,M,1980-01-01\n",
                    "number,given_name,sex,birth_date\n3,Awa,F,1980-01-01\n"),
        "households": ("code,relationship,number,sex,birth_date\nF,head,4,F,1970-01-01\nF,child,5,M,2010-01-01\n",),
    }  # fmt: skip
    for kind, contents in files.items():
        for content in contents:
            path = tmp_path / f"{kind}.csv"
            path.write_text(content)
            report = import_file(nameless, kind, path, caller)
            assert (report.loaded, report.reasons) == (content.count("\n") - 1, {}), (kind, content)
    assert [names(nameless, str(n)) for n in range(1, 6)] == [
        (None, None), (None, None), ("Awa", None), (None, None), (None, None)
    ]  # fmt: skip


def test_a_staged_import(nameless: TestApp) -> None:
    """Rows without names are right, and no row is a duplicate of another because both have none."""
    rows = [{"number": str(n), **BARE, "location": "A"} for n in range(3)]
    staged = nameless.do("registry.import", {"kind": "persons", "file": "f", "rows": rows})
    assert nameless.do("registry.import_rows", {"import": staged["id"]}) == []
    assert len(nameless.do("registry.import_rows", {"import": staged["id"], "valid": True})) == 3
    nameless.as_user("ben")
    nameless.do("registry.approve_import", {"import": staged["id"]}, as_="ben")
    assert [names(nameless, str(n)) for n in range(3)] == [(None, None)] * 3


# --- who is the same


def test_lacking_a_name_is_no_likeness(nameless: TestApp) -> None:
    """Nobody is alike for want of a name, whatever else agrees; an identifier that both have counts."""
    register(nameless, "1", "2", location="A")
    register(nameless, "3", location="A", given_name="Awa")
    register(nameless, "4", location="A", family_name="Touray")
    assert nameless.do("registry.find_duplicates") == {"found": 0}
    nid = [{"system": "nid", "value": "7"}]
    register(nameless, "5", "6", location="A", identifiers=nid)
    assert nameless.do("registry.find_duplicates", {"persons": ["1", "5"]}) == {"found": 1}
    (found,) = nameless.do("registry.duplicates")
    assert (found["first"], found["second"], found["reasons"]) == ("5", "6", ["identifier"])


def test_merged_and_parted_again(nameless: TestApp) -> None:
    """A nameless person keeps or takes the place of another one, and comes back as she was."""
    register(nameless, "1", "2")
    register(nameless, "3", given_name="Awa", family_name="Bah")
    merge = nameless.do("beneficiaries.merge", {"keep": "1", "drop": "2"})
    nameless.do("registry.undo_merge", {"merge": merge["merge"]})
    assert (names(nameless, "1"), names(nameless, "2")) == ((None, None), (None, None))
    nameless.do("beneficiaries.merge", {"keep": "3", "drop": "1"})
    assert names(nameless, "3") == ("Awa", "Bah")


# --- going out


def test_the_export_of_a_person_and_of_the_list(nameless: TestApp) -> None:
    """Who has no name has all the rest."""
    register(nameless, "1")
    exported = nameless.do("beneficiaries.export_person", {"number": "1"})
    assert "1990-05-01" in str(exported)
    result = nameless.queries["beneficiaries.list"].result
    chunks = [list(chunk) for chunk in export(nameless, "beneficiaries.list", {}, nameless.as_user("administrator"))]
    with write_export(iter(chunks), result, "text/csv") as file:
        header, row = file.read().decode().splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert (cells["number"], cells["given_name"], cells["family_name"]) == ("1", "", "")


def test_a_card_without_a_name(nameless: TestApp) -> None:
    """The card says number, birth date and sex; its signed code is read again; it is printed."""
    terms = {"insurance_months": 12, "premium_adult": "10"}
    package = {"scheme": "chf", "code": "P", "name": "P", "valid_from": "2020-01-01", "terms": terms}
    nameless.do("benefit_packages.define", package)
    register(nameless, "1")
    policy = nameless.do("coverage.enrol", {"scheme": "chf", "package": "P", "person": "1"})
    nameless.do("contributions.record", {"coverage": policy["id"], "amount": policy["due"], "receipt": "R"})
    issued = parse(nameless.do("cards.issue", {"coverage": policy["id"]}), CardsIssued).cards
    assert [(card.number, card.name) for card in issued] == [("1", None)]
    verified = nameless.do("cards.verify", {"code": issued[0].code})
    assert (verified["good"], verified["number"], verified["name"]) == (True, "1", None)
    text = pypdfium2.PdfDocument(pdf(issued, "Mutuelle", "en", sheets=False))[0].get_textpage().get_text_bounded()
    assert "1990-05-01" in text
    assert "None" not in text


def test_a_cash_list_without_a_name(nameless: TestApp) -> None:
    """The workbook and the PDF name the recipient by number; the name's cell is empty."""
    debts = Debts(nameless, ("9",))
    register(nameless, "1")
    nameless.do("payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list"})
    for number in ("1", "9"):
        nameless.do("payments.enrol_recipient", {"number": number, "provider": "POST"})
    debts.order()
    nameless.do("payments.submit", {"payroll": "B7"})
    (made,) = nameless.do("payments.cash_lists", {"payroll": "B7"})["files"]
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(_content(nameless, made["xlsx"])))
    rows = book.get_sheet_by_index(0).to_python()
    assert [row[1:4] for row in rows[1:3]] == [["1", "", "H-1"], ["9", "Awa Touray", "H-9"]]
    text = "".join(
        page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(_content(nameless, made["pdf"]))
    )
    assert "Awa Touray" in text
    assert "None" not in text


def _content(app: TestApp, attachment: str) -> bytes:
    number = app.ids.decode("attachments", attachment)
    (row,) = app.rows("SELECT digest FROM core.attachments WHERE id = :number", number=number)
    return read_content(app.var / FOLDER, row["digest"])
