"""The demo: a year of a scheme on invented people or on real files, begun anew each time, in no folder but its own."""

from __future__ import annotations

import contextlib
import csv
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imis_core.database import embedded
from imis_core.database.embedded import EmbeddedServerError
from imis_core.demo.months import cut
from imis_core.demo.run import MARKER, run
from imis_core.demo.summary import SchemeSummary, Summary
from imis_core.errors import ImisError
from imis_core.files import read_table
from imis_core.provider_simulator.process import simulator

REAL = Path(__file__).parents[1] / "real_data"
PACKAGE = """
scheme = "borsa"
code = "FAMILY"
name = "Family package"
valid_from = 2010-01-01
[terms]
insurance_months = 12
grace_payment_months = 1
premium_adult = "300"
premium_child = "150"
[terms.items]
"""


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder that every account may enter; the servers of the folders in it are removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="demo-test-"))
    folder.chmod(0o755)
    yield folder
    for lock in folder.rglob("start.lock"):
        with contextlib.suppress(EmbeddedServerError):
            embedded.remove(lock.parent)
    shutil.rmtree(folder)


def demo(folder: Path, data: Path | None = None, households: int = 40) -> Summary:
    said: list[str] = []
    summary = run(households=households, data=data, seed=1, serve=False, port=0, folder=folder, say=said.append)
    assert any("log in as demo" in line for line in said)
    return summary


def scheme(summary: Summary, code: str = "borsa") -> SchemeSummary:
    return next(one for one in summary.schemes if one.scheme == code)


def copy_of_real(target: Path, *, maps: bool) -> Path:
    shutil.copytree(REAL / "sample", target)
    if maps:
        shutil.copytree(REAL / "maps", target / "maps")
    (target / "answers.yml").write_text("deployment: synthea\ncountry: US\ncurrency: USD\nlanguages: [en]\n")
    return target


def test_the_demo_begins_anew_each_time(base: Path) -> None:
    """A second run makes the folder anew and comes to the same; while it runs it is left alone."""
    folder = base / "demo"
    first = demo(folder)
    assert first.balanced
    assert first.households == 40
    assert scheme(first).counts["paid"] > 0
    assert [one.scheme for one in first.schemes] == ["borsa", "soutien", "travail"]
    assert all(one.money.paid > 0 for one in first.schemes)
    (folder / "imis.toml").write_text("spoilt")
    second = demo(folder)
    assert (second.persons, second.schemes) == (first.persons, first.schemes)
    assert second.listed == first.listed
    assert not list((folder / "var" / "demo").glob("*.lines.csv")), "no month lists another month's lines"
    with embedded.acquire(folder / "var" / "postgres"), pytest.raises(ImisError) as caught:
        demo(folder)
    assert caught.value.code == "demo.in_use"
    assert (folder / "imis.toml").exists()


def test_some_are_paid_by_mobile_money(base: Path) -> None:
    """Through a provider with books of its own, which agree with ours and the ledger; nothing of it keeps running."""
    summary = demo(base / "demo")
    (line,) = [text for name, text in scheme(summary, "soutien").lines if name == "mobile money"]
    assert "no payment differs from ours, the ledger ties" in line
    assert not line.startswith("0 payments")
    with simulator(base / "demo" / "wallet") as provider:  # its books are not held by anybody any more
        books = {row["status"]: row["payments"] for row in provider.books()["payments"]}
        assert line.startswith(f"{books['paid']} payments of ")
        assert books.keys() <= {"paid", "failed"}


def test_a_folder_of_somebody_elses_is_left_alone(base: Path) -> None:
    """Neither a folder with other files nor a file is written over."""
    (base / "mine").mkdir()
    (base / "mine" / "letter.txt").write_text("dear")
    for folder in (base / "mine", base / "mine" / "letter.txt"):
        with pytest.raises(ImisError) as caught:
            demo(folder)
        assert caught.value.code == "demo.folder_not_empty"
    assert (base / "mine" / "letter.txt").read_text() == "dear"


def test_a_demo_that_failed_half_way_may_be_begun_anew(base: Path) -> None:
    """Wrong answers leave a folder that the next run takes for its own."""
    data = base / "data"
    data.mkdir()
    (data / "answers.yml").write_text("currency: nonsense\n")
    with pytest.raises(ImisError) as caught:
        demo(base / "demo", data)
    assert caught.value.code == "new.answers"
    (data / "answers.yml").unlink()
    assert (base / "demo" / MARKER).exists()
    assert demo(base / "demo", data, households=5).balanced


def test_real_files_with_mappings_and_packages_run_a_year(base: Path) -> None:
    """A folder in another system's words: its mappings, its answers and its packages are taken; the year balances."""
    data = copy_of_real(base / "data", maps=True)
    (data / "packages").mkdir()
    with (data / "items.csv").open(encoding="utf-8", newline="") as file:
        items = [row["code"] for row in csv.DictReader(file)]
    covered = "".join(f'"{code}" = {{ limit = "coinsurance", percent = 50 }}\n' for code in items)
    (data / "packages" / "family.toml").write_text(PACKAGE + covered)
    summary = demo(base / "demo", data)
    assert summary.balanced
    assert (scheme(summary).money.currency, summary.persons, summary.households) == ("USD", 134, 60)
    assert scheme(summary).counts["paid"] > 0
    assert scheme(summary).money.paid > 0
    claims = sum(read_table(path).row_count for path in (base / "demo" / "var" / "demo").glob("claims-??.csv"))
    assert sum(scheme(summary).counts.values()) + summary.listed == claims == 4555


def test_files_of_another_system_run_as_they_are(base: Path) -> None:
    """Without any mapping or answer: places by their names, deaths as the year goes by, a currency that fits."""
    summary = demo(base / "demo", REAL / "sample")
    assert summary.balanced
    assert (scheme(summary).money.currency, summary.persons, summary.households) == ("USD", 134, 60)
    assert scheme(summary).counts["paid"] > 0
    assert scheme(summary).counts["person_invalid"] > 0
    claims = sum(read_table(path).row_count for path in (base / "demo" / "var" / "demo").glob("claims-??.csv"))
    assert sum(scheme(summary).counts.values()) + summary.listed == claims == 4555


def test_plain_files_run_a_year_with_a_starter_package(base: Path) -> None:
    """Without packages/, maps/ and price lists the demo writes what lacks, and the files' own columns do."""
    data = copy_of_real(base / "data", maps=False)
    summary = demo(base / "demo", data)
    assert summary.balanced
    assert scheme(summary).money.paid > 0
    starter = base / "demo" / "packages" / "borsa" / "starter.toml"
    assert starter.read_text().count("percent = 80") == 254
    assert not (data / "packages").exists()


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("households.csv",), "demo.no_claims"),
        (("households.csv", "claims.csv.gz"), "demo.no_claims"),
        (("maps/items.toml",), "demo.no_households"),
        (("items.csv",), "demo.reference_data"),
    ],
)
def test_a_folder_that_lacks_files_is_told_so(base: Path, names: tuple[str, ...], code: str) -> None:
    """What is there asks for the rest of it."""
    data = base / "data"
    for name in names:
        source = REAL / name if name.startswith("maps") else REAL / "sample" / name
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, data / name)
    with pytest.raises(ImisError) as caught:
        demo(base / "demo", data)
    assert caught.value.code == code


def test_claims_and_lines_are_cut_by_month(tmp_path: Path) -> None:
    """Each line goes with its claim; what is earlier, or says no day, comes first, what is later last; none is lost."""
    claims, lines = tmp_path / "claims.csv", tmp_path / "lines.csv"
    days = {"A": "2020-03-05", "B": "2020-02-28", "C": "2019-07-01", "D": "x", "E": "2091-01-01"}
    filler = {f"F{i}": "2020-12-31" for i in range(20)}
    claims.write_text(
        "claim_id,from,to\n" + "".join(f"{c},2018-01-01,{day}\n" for c, day in {**days, **filler}.items()) + "G,1,2,3\n"
    )
    lines.write_text(
        "claim_id,item\n" + "".join(f"{c},I\n" for c in (*days, *filler, "A", "unknown")) + "A,I,too,many\n"
    )
    months = cut(tmp_path, claims, lines, None, None, 2025)
    assert [str(month.end) for month in months[:2]] == ["2020-01-31", "2020-02-29"]

    def codes(path: Path) -> list[str]:
        return [line.partition(",")[0] for line in path.read_text().splitlines()[1:]]

    assert [codes(month.claims) for month in months[:3]] == [["C", "D", "G"], ["B"], ["A"]]
    assert [codes(month.lines) for month in months[:3]] == [["C", "D", "unknown"], ["B"], ["A", "A", "A"]]
    assert codes(months[11].claims) == ["E", *filler]
