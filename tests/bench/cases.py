"""The cases that have a floor: import of persons; claims submitted and processed."""

from __future__ import annotations

import csv
import random
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from imis_core.imports import import_file
from imis_core.testing.app import TestApp
from tests.bench.measure import Bench, Figure, compare

BATCH: Final = 1000
ITEMS: Final = 50


def persons_file(folder: Path, count: int, first: int = 0) -> Path:
    """Persons with a place and an identifier each."""
    path = folder / "persons.csv"
    chance = random.Random(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["number", "given_name", "family_name", "sex", "birth_date", "location", "identifiers.national", "phone"]
        )
        for n in range(first, first + count):
            born = date(1940, 1, 1) + timedelta(days=chance.randrange(29_000))
            writer.writerow(
                [
                    f"{n:09d}",
                    f"Given{n % 997}",
                    f"Family{n % 1999}",
                    "FM"[n % 2],
                    born,
                    f"V{n % 100:03d}",
                    f"N{n}",
                    f"+235{n}",
                ]
            )
    return path


def places(app: TestApp) -> None:
    """A region with a hundred villages."""
    app.do("locations.add", {"code": "R", "name": "Region", "level": "region"})
    app.do_all(
        "locations.add",
        [{"code": f"V{n:03d}", "name": f"Village {n}", "level": "village", "parent": "R"} for n in range(100)],
    )


def import_persons(at: Bench, count: int, runs: int) -> Figure:
    """`imis import persons` of a CSV file: parsed, checked, with history, digests and audit."""
    prepared = at.clone(at.template())
    with at.app(prepared) as app:
        places(app)
    with tempfile.TemporaryDirectory() as folder:
        path = persons_file(Path(folder), count)

        def case(app: TestApp) -> None:
            report = import_file(app, "persons", path, app.as_user("administrator"))
            assert report.loaded == count, report

        return compare(at, "import of persons", count, runs, prepared, case)


def insured_families(app: TestApp, families: int) -> None:
    """Families of four, enrolled and paid, with a package that covers every item."""
    places(app)
    app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    items = [
        {"code": f"I{n:02d}", "name": f"Item {n}", "kind": ("product", "service")[n % 2], "price": str(10 + n)}
        for n in range(ITEMS)
    ]
    app.do_all("catalogue.define_item", items)
    prices = {item["code"]: item["price"] for item in items}
    app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2019-01-01", "prices": prices})
    app.do_all(
        "providers.register",
        [
            {
                "code": f"HC{n:02d}",
                "name": f"Health centre {n}",
                "level": "health_centre",
                "price_lists": ["PL"],
                "location": f"V{n:03d}",
            }
            for n in range(50)
        ],
    )
    terms = {
        "insurance_months": 12, "premium_adult": "10", "premium_child": "5",
        "deductible": {"level": "treatment", "general": "5"}, "ceiling": {"level": "policy", "general": "500"},
        "items": {code: {"percent": 80} for code in prices},
    }  # fmt: skip
    package = {"scheme": "chf", "code": "B", "name": "B", "valid_from": "2019-01-01", "terms": terms}
    app.do("benefit_packages.define", package)
    for start in range(0, families, BATCH):
        insure(app, start, min(start + BATCH, families))


def insure(app: TestApp, start: int, stop: int) -> tuple[int, int, int]:
    """Register, enrol and pay families as one batch each; the statements that each took."""
    groups = [_family(n) for n in range(start, stop)]
    begun = app.database.statements
    app.do_all("beneficiaries.register_group", groups)
    registered = app.database.statements
    enrolled = app.do_all(
        "coverage.enrol",
        [{"scheme": "chf", "package": "B", "group": g["code"], "on": "2021-01-01"} for g in groups],
    )
    quoted = app.database.statements
    paid = app.do_all(
        "contributions.record",
        [
            {"coverage": e["id"], "amount": e["due"], "receipt": g["code"], "on": "2021-01-01"}
            for g, e in zip(groups, enrolled, strict=True)
        ],
    )
    assert {p["status"] for p in paid} == {"active"}
    return registered - begun, quoted - registered, app.database.statements - quoted


def _family(n: int) -> dict[str, Any]:
    births = ("1980-02-01", "1985-05-01", "2010-03-01", "2015-07-01")
    members = [
        {
            "number": f"{n:07d}{position}", "given_name": f"Given{position}", "family_name": f"Family{n}",
            "sex": "MFMF"[position], "birth_date": born, "relationship": ("head", "spouse", "child", "child")[position],
        }
        for position, born in enumerate(births)
    ]  # fmt: skip
    return {"code": f"F{n:07d}", "location": f"V{n % 100:03d}", "members": members}


def claim_inputs(count: int, families: int, prefix: str = "C") -> list[dict[str, Any]]:
    """Claims of five lines each, in the order in which they are submitted."""
    chance = random.Random(7)
    day = date(2021, 2, 1)
    return [
        {
            "code": f"{prefix}{n:07d}", "provider": f"HC{n % 50:02d}", "diagnosis": "A09",
            "number": f"{chance.randrange(families):07d}{chance.randrange(4)}",
            "from": (day + timedelta(days=chance.randrange(100))).isoformat(),
            "lines": [
                {"item": f"I{chance.randrange(ITEMS):02d}", "quantity": 1 + chance.randrange(3), "price": "30"}
                for _ in range(5)
            ],
        }
        for n in range(count)
    ]  # fmt: skip


def claims(at: Bench, count: int, families: int, runs: int) -> Figure:
    """Claims submitted in batches of 1,000 and processed at once, with checks, audit, ledger and outbox."""
    prepared = at.clone(at.template())
    with at.app(prepared) as app:
        insured_families(app, families)
    inputs = claim_inputs(count, families)

    def case(app: TestApp) -> None:
        for start in range(0, count, BATCH):
            outcomes = app.do_all("claims.submit", inputs[start : start + BATCH])
            assert all(o["status"] == "checked" for o in outcomes)
        assert app.do("claims.process", {"scheme": "chf"})["valuated"] == count

    return compare(at, f"claims of 5 lines, batches of {BATCH:,}", count, runs, prepared, case)


def statements_per_batch(at: Bench, families: int) -> list[str]:
    """Statements of one `claims.submit` and one `claims.process` for batches of different sizes."""
    lines = []
    for size in (1, 100, BATCH):
        prepared = at.clone(at.template())
        with at.app(prepared) as app:
            insured_families(app, families)
            caller = app.as_user("administrator")
            inputs = claim_inputs(size, families)
            before = app.database.statements
            app.do_all("claims.submit", inputs, as_=caller)
            submitted = app.database.statements
            app.do("claims.process", {"scheme": "chf"}, as_=caller)
            lines.append(f"| {size:,} | {submitted - before} | {app.database.statements - submitted} |")
        at.drop(prepared)
    return lines
