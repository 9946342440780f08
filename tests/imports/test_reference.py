"""`imis load`: a folder's files into the database, twice without effect, changed rows replaced or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from imis_core.errors import ImisError
from imis_core.imports import drift, load_paths
from imis_core.testing.app import TestApp
from tests.imports.conftest import SAMPLES, counts, write

KINDS = ("locations", "items", "price_lists", "facilities", "diagnoses")
PACKAGE = """
scheme = "chf"
code = "BASIC"
name = "Basic"
valid_from = 2020-01-01
[terms]
insurance_months = 12
premium_adult = "100"
premium_child = "50"
[terms.items]
CONS = { limit = "coinsurance", percent = 80 }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A deployment's packages/ and data/, the files in an order in which they could not be loaded."""
    for name in ("packages", "data/deep"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "packages" / "basic.toml").write_text(PACKAGE)
    for kind in KINDS:
        write(tmp_path / "data" / ("deep" if kind == "locations" else "") / f"{kind}.csv", *SAMPLES[kind])
    (tmp_path / "data" / "README.txt").write_text("not data")
    (tmp_path / "data" / ".items.csv").write_text("hidden")
    return tmp_path


@pytest.fixture
def deployed(app: TestApp, folder: Path) -> TestApp:
    """The application as one of that folder."""
    app.settings = evolve(app.settings, folder=folder)
    return app


def paths(folder: Path) -> list[Path]:
    return [folder / "packages", folder / "data"]


def test_a_folder_loads_in_the_order_in_which_kinds_name_one_another(deployed: TestApp, folder: Path) -> None:
    """Places before facilities, items before price lists and packages, wherever the files lie."""
    report = load_paths(deployed, paths(folder))
    assert report.problems == []
    assert [file.kind for file in report.files] == list(KINDS)
    assert [text for _, text in report.packages] == ["BASIC version 1"]
    assert not (folder / "var").exists()


def test_the_same_folder_twice_does_nothing(deployed: TestApp, folder: Path) -> None:
    """No table has a row more but the audit, which notes that packages were defined again."""
    load_paths(deployed, paths(folder))
    before = counts(deployed)
    report = load_paths(deployed, paths(folder))
    assert [(file.loaded, file.refused) for file in report.files] == [(0, 0)] * len(KINDS)
    after = counts(deployed)
    assert {name for name in after if after[name] != before[name]} <= {"core.audit_entries"}


def test_changed_rows_and_packages_replace_what_nothing_uses(deployed: TestApp, folder: Path) -> None:
    """A price, a price list and a package's terms are changed, and changed back."""
    load_paths(deployed, paths(folder))
    items, prices, package = (
        folder / "data/items.csv",
        folder / "data/price_lists.csv",
        folder / "packages/basic.toml",
    )
    first = [path.read_text() for path in (items, prices, package)]
    for path, old, new in ((items, "5.00", "6.00"), (prices, "4.50", "5.50"), (package, "100", "120")):
        path.write_text(path.read_text().replace(old, new))
    for expected in ("6.00", "5.00"):
        report = load_paths(deployed, paths(folder))
        assert report.problems == []
        assert {file.kind: file.loaded for file in report.files if file.loaded} == {"items": 1, "price_lists": 2}
        shown = {item["code"]: item["price"] for item in deployed.do("catalogue.items")}
        assert shown["CONS"] == expected
        for path, text in zip((items, prices, package), first, strict=True):
            path.write_text(text)
    shown = deployed.do("benefit_packages.show", {"scheme": "chf", "package": "BASIC"})
    assert shown["terms"]["premium_adult"] == "100"
    assert drift(deployed, paths(folder)) == []


def test_a_package_in_use_is_refused_with_the_difference_and_the_advice(deployed: TestApp, folder: Path) -> None:
    """Who is insured under a version keeps it."""
    load_paths(deployed, paths(folder))
    person = {"given_name": "Ana", "family_name": "Silva", "sex": "F", "birth_date": "1980-01-01"}
    group = deployed.do("beneficiaries.register_group", {"members": [{**person, "relationship": "head"}]})
    deployed.do("coverage.enrol", {"scheme": "chf", "package": "BASIC", "group": group["id"]})
    package = folder / "packages" / "basic.toml"
    package.write_text(PACKAGE.replace("100", "120"))
    (line,) = load_paths(deployed, paths(folder)).problems
    assert line.startswith(f"{package}: benefit_packages.in_use: ")
    assert "terms.premium_adult" in line
    assert "later valid_from" in line
    (told,) = drift(deployed, paths(folder))
    assert told == "basic.toml: chf/BASIC differs from the database's version 1 in terms; run `imis load`"


def test_refused_rows_are_listed_in_var_load(deployed: TestApp, folder: Path) -> None:
    """The deployment's own folder gets the error file, which is no data file itself."""
    items = folder / "data" / "items.csv"
    items.write_text(items.read_text() + "BAD,Bad,service,free,,\n")
    (line,) = load_paths(deployed, paths(folder)).problems
    target = folder / "var" / "load" / "items.errors.csv"
    assert str(target) in line
    assert "1 of 3 rows refused" in line
    corrected = target.read_text("utf-8-sig").replace(",free,", ",1,")
    target.write_text(corrected)
    report = load_paths(deployed, [target])
    assert [file.loaded for file in report.files] == [1]
    assert target.read_text() == corrected


def test_refused_rows_are_listed_beside_the_file_where_there_is_no_deployment(app: TestApp, folder: Path) -> None:
    """Without a deployment's folder the file's own takes the error file, which the next load passes over."""
    items = folder / "data" / "items.csv"
    items.write_text(items.read_text() + "BAD,Bad,service,free,,\n")
    load_paths(app, paths(folder))
    assert (folder / "data" / "items.errors.csv").exists()
    assert [file.path.name for file in load_paths(app, paths(folder)).files].count("items.csv") == 1
    assert not (folder / "var").exists()


def test_every_mistake_of_a_package_is_a_line_with_its_file(deployed: TestApp, folder: Path) -> None:
    """Unknown keys, wrong terms and files that are no TOML; the other files are loaded all the same."""
    packages = folder / "packages"
    (packages / "keys.toml").write_text(PACKAGE.replace("valid_from", "valid_form"))
    (packages / "terms.toml").write_text(
        PACKAGE.replace("premium_adult", "premium_adlt").replace("percent = 80", "percent = 180")
    )
    (packages / "toml.toml").write_text("scheme = \n")
    report = load_paths(deployed, paths(folder))
    assert [text for _, text in report.packages] == ["BASIC version 1"]
    assert all("\n" not in line for line in report.problems)
    by_file = {
        name: [line for line in report.problems if f"/{name}.toml: " in line] for name in ("keys", "terms", "toml")
    }
    assert sum(map(len, by_file.values())) == len(report.problems)
    assert any("did you mean 'valid_from'" in line for line in by_file["keys"])
    assert any("terms.premium_adlt" in line and "premium_adult" in line for line in by_file["terms"])
    assert any("terms.items.CONS.percent" in line for line in by_file["terms"])
    assert "not TOML" in by_file["toml"][0]


def test_a_data_file_that_cannot_be_read_is_a_line(deployed: TestApp, folder: Path) -> None:
    """The other files are loaded, and the line names the file once."""
    (folder / "data" / "diagnoses.csv").write_bytes("code,name\nA,é\n".encode("latin-1"))
    report = load_paths(deployed, paths(folder))
    assert [line.count("diagnoses.csv") for line in report.problems] == [1]
    assert len(report.files) == len(KINDS) - 1


def test_names_of_files_tell_their_kind(deployed: TestApp, folder: Path) -> None:
    """`items-2026.csv` is a further file of items; a slip of the pen is told; other files are left alone."""
    write(folder / "data" / "items-2026.csv", ("code", "name", "kind", "price"), [("NEW", "New", "service", 1)])
    write(folder / "data" / "facilites.csv", *SAMPLES["facilities"])
    write(folder / "data" / "statistics.csv", ("a",), [("1",)])
    report = load_paths(deployed, paths(folder))
    (line,) = report.problems
    assert "'facilites'; did you mean 'facilities'?" in line
    assert [file.path.name for file in report.files][1:3] == ["items-2026.csv", "items.csv"]
    with pytest.raises(ImisError) as caught:
        load_paths(deployed, [folder / "data" / "statistics.csv"])
    assert caught.value.code == "import.unknown_kind"
    with pytest.raises(ImisError) as caught:
        load_paths(deployed, [folder / "nowhere"])
    assert caught.value.code == "files.not_found"


def test_drift_of_a_scheme_that_is_switched_off(deployed: TestApp, folder: Path) -> None:
    """A package of a scheme that imis.toml does not have is named, and nobody is told to load it."""
    load_paths(deployed, paths(folder))
    (folder / "packages" / "other.toml").write_text(PACKAGE.replace('scheme = "chf"', 'scheme = "gone"'))
    (told,) = drift(deployed, paths(folder))
    assert told.startswith("other.toml: gone/BASIC is of a scheme that imis.toml does not have")
    assert "imis load" not in told


def test_drift_tells_what_is_not_in_the_database(deployed: TestApp, folder: Path) -> None:
    """Before the first load everything; after it nothing; then each file whose rows or terms are others."""
    told = drift(deployed, paths(folder))
    assert len(told) == len(KINDS) + 1
    assert "locations.csv: 2 rows are not in the database as they stand; run `imis load`" in told
    assert any("BASIC is not in the database" in line for line in told)
    load_paths(deployed, paths(folder))
    assert drift(deployed, paths(folder)) == []
    (folder / "packages" / "basic.toml").write_text(PACKAGE.replace("2020-01-01", "2021-06-01"))
    diagnoses = folder / "data" / "diagnoses.csv"
    diagnoses.write_text(diagnoses.read_text().replace("Malaria", "Malaria, unspecified"))
    (folder / "packages" / "broken.toml").write_text("=")
    told = drift(deployed, [*paths(folder), folder / "nowhere"])
    assert [line.partition(":")[0].rpartition("/")[2] for line in told] == [
        "diagnoses.csv",
        "basic.toml",
        "broken.toml",
    ]
    assert "from 2021-06-01 is not in the database" in told[1]


def test_several_packages_of_one_file(deployed: TestApp, folder: Path) -> None:
    """[[package]] tables are packages of their own; one that is wrong is named."""
    content = PACKAGE.replace("[terms", "[package.terms").replace('\nscheme = "chf"', '\n[[package]]\nscheme = "chf"')
    second = content.replace("BASIC", "SECOND").replace('"100"', '"-1"')
    (folder / "packages" / "basic.toml").write_text(content + second)
    report = load_paths(deployed, paths(folder))
    assert [text for _, text in report.packages] == ["BASIC version 1"]
    assert "basic.toml: SECOND: benefit_packages.invalid_terms: terms.premium_adult" in report.problems[0]
