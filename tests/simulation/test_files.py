"""`imis simulate`: the table, the CSV and the page; a page that stands alone, with charts that show the figures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from imis_core.cli import main
from imis_core.opening import Playground
from imis_core.simulation.page import page
from imis_core.simulation.tables import COLUMNS, GROUPS, as_csv, as_text

ANSWER: dict[str, Any] = {
    "scheme": "chf", "package": "PLAN <&>", "from": "2021-01-01", "to": "2021-12-31", "claims": 5, "lines": 9,
    "actual": "500.00", "like_for_like": "480.00", "before": "480.00", "after": "600.00", "difference": "120.00",
    "rejections": [{"reason": "not_covered", "before": 2, "after": 0}],
    "ceilings": {"policies_before": 1, "policies_after": 0, "above_before": "20.00", "above_after": "0.00"},
    "families": {"better": 2, "worse": 1, "same": 3, "gain": "130.00", "loss": "10.00"},
    "contributions": {
        "policies": 6, "persons": 9, "before": "300.00", "after": "360.00", "difference": "60.00",
        "break_even": "1.6667", "per_policy": "100.00", "per_person": "66.67",
    },
    **{
        group: [
            {"name": name, "claims": n, "before": "240.00", "after": "300.00", "difference": "60.00"}
            for n, name in ((2, f"{group}-1"), (3, f"{group}-2"))
        ]
        for group, _ in GROUPS
    },
}  # fmt: skip


class Page(HTMLParser):
    """What a page is made of: the tags with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_the_page_stands_alone() -> None:
    """Every element is closed; no script, no address of another host, one chart for each grouping, words escaped."""
    text = page(ANSWER, "USD")
    read = Page(text)
    assert read.open == []
    names = [tag for tag, _ in read.tags]
    assert names.count("svg") == len(GROUPS)
    assert {"script", "link", "img", "iframe"}.isdisjoint(names)
    addresses = [value or "" for _, given in read.tags for name, value in given.items() if name in ("src", "href")]
    assert [address for address in addresses if not address.startswith("#")] == []
    assert "http" not in text.replace("http://www.w3.org/", "").replace("http-equiv", "")
    assert "Package PLAN <&>: what the proposal would have cost" in read.words
    for figure in ("480.00", "600.00", "120.00", "1.6667", "100.00", "by_age-2", "not_covered"):
        assert figure in read.words, figure
    assert any("another order" in words for words in read.words)


def test_the_charts_show_before_and_after() -> None:
    """Each chart has two bars a group, told apart by their colours and named in the legend."""
    text = page(ANSWER, "USD")
    charts = text.split("<svg")[1:]
    for chart in charts:
        bars = chart.count('aria-roledescription="bar"')
        assert bars == 4
        assert ">in force<" in chart
        assert ">proposed<" in chart


def test_the_csv_has_every_figure() -> None:
    """One row a figure under the same columns; sums of a grouping are those of the whole."""
    header, *rows = list(csv.reader(as_csv(ANSWER).splitlines()))
    assert tuple(header) == COLUMNS
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert rows[0] == ["all", "cost", "5", "5", "480.00", "600.00", "120.00"]
    assert ["rejections", "not_covered", "2", "0", "", "", ""] in rows
    assert ["contributions", "break_even_factor", "", "", "", "1.6667", ""] in rows
    assert {row[0] for row in rows} == {
        "all", *(group for group, _ in GROUPS), "rejections", "ceilings", "families", "contributions",
    }  # fmt: skip


def test_the_table_says_when_claims_came_in_another_order() -> None:
    """The note stands only where what was paid and what is computed differ."""
    assert "note: the claims that are valuated come to 500.00 in fact and to 480.00" in as_text(ANSWER)
    assert "note" not in as_text({**ANSWER, "like_for_like": "500.00"})
    assert "break_even_factor" not in as_text({**ANSWER, "contributions": None})


SETTINGS = """
[deployment]
name = "office"
country = "XX"
currency = "USD"
[database]
url = "{app}"
owner_url = "{owner}"
[plugins]
enabled = ["health_insurance"]
[schemes.chf]
type = "health_insurance"
"""
PROPOSAL = """
scheme = "chf"
code = "PLAN"
name = "The plan with the laboratory in full"
valid_from = 2022-01-01
[terms]
insurance_months = 12
lump_sum = "80"
[terms.items.LAB]
"""


@pytest.fixture
def folder(playground: Playground, tmp_path: Path) -> Iterator[Path]:
    """A migrated deployment with a claim of 200 that was paid at half."""
    name = f"{playground.prefix}_simulate"
    addresses = playground.databases.template(name)
    (tmp_path / "imis.toml").write_text(SETTINGS.format(app=addresses.app, owner=addresses.owner), "utf-8")
    assert main(["-C", str(tmp_path), "migrate"]) == 0
    person = {"number": "1", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
    lab = {"code": "LAB", "name": "Lab", "kind": "service", "price": "100"}
    terms = {"insurance_months": 12, "items": {"LAB": {"percent": 50}}}
    line = {"item": "LAB", "quantity": 2, "price": "100"}
    for command, data in (
        ("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"}),
        ("catalogue.define_item", lab),
        ("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": {"LAB": "100"}}),
        ("providers.register", {"code": "HC", "name": "HC", "level": "hospital", "price_lists": ["PL"]}),
        (
            "benefit_packages.define",
            {"scheme": "chf", "code": "PLAN", "name": "Plan", "valid_from": "2019-01-01", "terms": terms},
        ),
        ("beneficiaries.register_group", {"code": "F", "members": [{**person, "relationship": "head"}]}),
        ("coverage.enrol", {"scheme": "chf", "package": "PLAN", "group": "F", "on": "2021-01-01"}),
        (
            "claims.submit",
            {"code": "C1", "provider": "HC", "number": "1", "from": "2021-02-01", "diagnosis": "A09", "lines": [line]},
        ),
        ("claims.process", {"scheme": "chf"}),
    ):
        assert main(["-C", str(tmp_path), "run", command, "--data", json.dumps(data)]) == 0
    (tmp_path / "plan.toml").write_text(PROPOSAL, "utf-8")
    yield tmp_path
    playground.databases.drop(name)


def test_the_command_writes_table_csv_and_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a package file to the three forms, and the answer as JSON; a file without a scheme or terms is refused."""
    capsys.readouterr()
    base = ["-C", str(folder), "simulate", "--from", "2021-01-01", "--to", "2021-12-31"]
    files = ["--csv", str(folder / "out.csv"), "--html", str(folder / "out.html")]
    assert main([*base, "--package", str(folder / "plan.toml"), "--contributions", *files]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("chf, package PLAN, 2021-01-01 to 2021-12-31: 1 claims, 1 lines\n")
    assert ["cost", "1", "1", "100.00", "200.00", "100.00"] in [line.split() for line in printed.splitlines()]
    rows = list(csv.reader((folder / "out.csv").read_text("utf-8").splitlines()))
    assert ["contributions", "break_even_factor", "", "", "", "2.5000", ""] in rows
    assert Page((folder / "out.html").read_text("utf-8")).open == []
    assert main([*base, "--package", str(folder / "plan.toml"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["before"], answer["after"], answer["contributions"]) == ("100.00", "200.00", None)
    (folder / "bare.toml").write_text('code = "PLAN"\n', "utf-8")
    assert main([*base, "--package", str(folder / "bare.toml")]) == 2
    assert "has no 'terms'" in capsys.readouterr().err
