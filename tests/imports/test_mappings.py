"""Mapping files, places from paths, and who may do what an import does."""

from __future__ import annotations

from pathlib import Path

import pytest

from imis_core.errors import ImisError
from imis_core.imports.paths import slug
from imis_core.testing.app import TestApp
from tests.imports.conftest import Load, errors_of

COLUMNS = ("who", "vorname", "nachname", "geschlecht", "born", "mobile", "region", "district", "village")
MAP = """
path = ["region", "district", "village"]
[columns]
number = "who"
given_name = "vorname"
family_name = "nachname"
sex = "geschlecht"
birth_date = "born"
[constants]
identifier_system = "national"
[values.sex]
w = "F"
m = "M"
[attributes]
phone_number = "mobile"
"""


def row(number: str, *place: str | None) -> tuple[str | None, ...]:
    return (number, "Ana", "Silva", "w", "1980-01-01", "12", *place)


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "persons.toml"
    path.write_text(MAP)
    return path


def test_places_of_paths_are_made_once_parents_first(app: TestApp, load: Load, mapping: Path) -> None:
    """Names become locations below one another; the same names again are the same places."""
    rows = [row("1", "North", "East Side", "Ém"), row("2", "North", "East Side", None), row("3", None, None, None)]
    assert load("persons", COLUMNS, rows, mapping=mapping).loaded == 3
    assert load("persons", COLUMNS, [row("4", "north", "East  side", "Fo")], mapping=mapping, name="more").loaded == 1
    places = app.rows(
        "SELECT l.code, p.code AS parent, l.level FROM core.locations l LEFT JOIN core.locations p ON p.id = l.parent"
    )
    assert {tuple(place.values()) for place in places} == {
        ("north", None, "region"),
        ("north/east-side", "north", "district"),
        ("north/east-side/ém", "north/east-side", "village"),
        ("north/east-side/fo", "north/east-side", "village"),
    }
    people = app.rows(
        "SELECT p.number, l.code, p.sex, p.attributes FROM core.persons p LEFT JOIN core.locations l ON l.id = p.place "
        "ORDER BY 1"
    )
    assert tuple(people[0].values()) == ("1", "north/east-side/ém", "F", {"phone_number": "12"})
    assert [p["code"] for p in people] == ["north/east-side/ém", "north/east-side", None, "north/east-side/fo"]


def test_a_gap_in_a_path_is_listed(load: Load, mapping: Path) -> None:
    """A village without its district lies nowhere that is known."""
    report = load("persons", COLUMNS, [row("1", "North", None, "Em"), row("2", "North", "East", "Em")], mapping=mapping)
    assert (report.loaded, report.reasons) == (1, {"import.path_gap": 1})
    assert "'district'" in errors_of(report)[0][1]


def test_a_place_that_cannot_be_made_refuses_its_rows(load: Load, mapping: Path) -> None:
    """A name too long for a place is the reason of its rows, and of no others."""
    report = load(
        "persons", COLUMNS, [row("1", "N" * 3000, None, None), row("2", "North", None, None)], mapping=mapping
    )
    assert (report.loaded, report.refused) == (1, 1)


def test_slugs_keep_letters_of_any_script() -> None:
    """Codes are made of letters and digits, whatever the script; a name of signs alone is a dash."""
    assert [slug(name) for name in (" Mayo-Kebbi  Est", "काठमाडौं"[:1], "A/B", "…")] == [
        "mayo-kebbi-est",
        "क",
        "a-b",
        "-",
    ]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('[colums]\nnumber = "who"', "mapping.unknown_table", "columns"),
        ('[columns]\nnumbr = "who"', "mapping.unknown_field", "'number'"),
        ('[columns]\nnumber = "whoo"', "mapping.unknown_column", "'who'"),
        ('path = ["regon"]\n[columns]\nnumber = "who"', "mapping.unknown_column", "'region'"),
        ('[columns]\nnumber = "who"\n[values.sexx]\nm = "M"', "mapping.unknown_field", "'sex'"),
        ("[columns\n", "mapping.format", "TOML"),
    ],
)
def test_a_mistake_in_a_mapping_is_one_line_with_a_suggestion(
    app: TestApp, load: Load, tmp_path: Path, text: str, code: str, words: str
) -> None:
    """Nothing is loaded by a mapping that is wrong."""
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(ImisError) as caught:
        load("persons", COLUMNS, [row("1", "North", None, None)], mapping=path)
    assert caught.value.code == code
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert app.rows("SELECT count(*) AS n FROM core.locations")[0]["n"] == 0


def test_a_column_that_nearly_is_a_field_is_not_left_out_in_silence(load: Load) -> None:
    """`birthdate` is taken for a slip of the pen; a column that is like no field is left out."""
    columns = ("number", "given_name", "family_name", "sex", "birthdate", "shoe size")
    with pytest.raises(ImisError, match="did you mean 'birth_date'"):
        load("persons", columns, [("1", "Ana", "Silva", "F", "1980-01-01", "40")])
    columns = ("number", "given_name", "family_name", "sex", "birth_date", "shoe size")
    assert load("persons", columns, [("1", "Ana", "Silva", "F", "1980-01-01", "40")]).loaded == 1


def test_a_path_for_what_lies_nowhere_is_refused(load: Load, tmp_path: Path) -> None:
    """Items lie in no place: a mapping that gives them one is wrong."""
    path = tmp_path / "map.toml"
    path.write_text('path = ["region"]\n[columns]\ncode = "code"\n')
    with pytest.raises(ImisError) as caught:
        load("items", ("code", "region"), [("A", "North")], mapping=path)
    assert caught.value.code == "import.no_path"


def test_declared_attributes_are_read_by_their_type(make_app: object, tmp_path: Path) -> None:
    """Whole numbers and true or false of a file are what the deployment declares them to be."""
    from imis_core.imports import import_file

    attributes = {"rooms": {"type": "int"}, "roof": {"type": "bool"}, "phone": {"type": "text"}}
    app = make_app(settings={"deployment": {"attributes": attributes}})  # type: ignore[operator]
    file = tmp_path / "persons.csv"
    file.write_text(
        "given_name,family_name,sex,birth_date,attributes.rooms,attributes.roof,phone\n"
        "Ana,Silva,F,1980-01-01,3,true,12\nBen,Silva,M,1980-01-01,three,yes,12\n"
    )
    report = import_file(app, "persons", file, app.as_user("administrator"))
    assert (report.loaded, report.refused) == (1, 1)
    assert app.rows("SELECT attributes FROM core.persons")[0]["attributes"] == {"rooms": 3, "roof": True, "phone": "12"}


ROLES = {
    "roles": {
        "clerk": {"permissions": ["beneficiaries.register_person"]},
        "reader": {"permissions": ["eligibility.check"]},
    }
}


def test_an_import_does_what_its_caller_may_do(make_app: object, tmp_path: Path, mapping: Path) -> None:
    """The kind's command, the recording of deaths and the making of places each need their permission."""
    from imis_core.imports import import_file

    app = make_app(settings=ROLES)  # type: ignore[operator]
    file = tmp_path / "persons.csv"
    file.write_text("number,given_name,family_name,sex,birth_date\n1,Ana,Silva,F,1980-01-01\n")
    with pytest.raises(ImisError, match=r"permission\.denied.*beneficiaries\.register_person"):
        import_file(app, "persons", file, app.as_user("rita", "reader"))
    clerk = app.as_user("carl", "clerk")
    assert import_file(app, "persons", file, clerk).loaded == 1
    file.write_text("number,given_name,family_name,sex,birth_date,death_date\n2,Ana,Silva,F,1980-01-01,2000-01-01\n")
    with pytest.raises(ImisError, match=r"permission\.denied.*beneficiaries\.record_death"):
        import_file(app, "persons", file, clerk)
    file.write_text(",".join(COLUMNS) + "\n3,Ana,Silva,w,1980-01-01,,North,,\n")
    report = import_file(app, "persons", file, clerk, mapping=mapping)
    assert report.reasons == {"permission.denied": 1}
    app.do("locations.add", {"code": "north", "name": "North", "level": "region"})
    assert import_file(app, "persons", file, clerk, mapping=mapping).loaded == 1
