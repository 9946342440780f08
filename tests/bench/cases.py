"""The cases that have a floor: import of persons; claims submitted and processed."""

from __future__ import annotations

import csv
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from imis_core.imports import import_file
from imis_core.migrations.runner import tables_of
from imis_core.testing.app import TestApp
from imis_core.testing.auditor import assert_sound
from tests.bench.floors import copy_floor, mark, written_since
from tests.bench.measure import UPDATED, Bench, Figure, compare

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
    """Families of four, enrolled and paid, with a package that covers every item and counts whatever can be counted."""
    places(app)
    app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    items = [
        {
            "code": f"I{n:02d}",
            "name": f"Item {n}",
            "kind": ("product", "service")[n % 2],
            "price": str(10 + n),
            **({"frequency_days": 3} if n % 5 == 0 else {}),
        }
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
        "max_visits": 1000,
        "items": {code: {"percent": 80, "max_provisions": 1000, "waiting_months": 1} for code in prices},
    }  # fmt: skip
    package = {"scheme": "chf", "code": "B", "name": "B", "valid_from": "2019-01-01", "terms": terms}
    app.do("benefit_packages.define", package)
    for start in range(0, families, BATCH):
        insure(app, start, min(start + BATCH, families))


def insure(app: TestApp, start: int, stop: int) -> None:
    """Register, enrol and pay families as one batch each."""
    groups = register(app, start, stop)
    pay(app, groups, enrol(app, groups))


def register(app: TestApp, start: int, stop: int) -> list[dict[str, Any]]:
    groups = [_family(n) for n in range(start, stop)]
    app.do_all("beneficiaries.register_group", groups)
    return groups


def enrol(app: TestApp, groups: Sequence[Mapping[str, Any]]) -> list[Any]:
    wanted = [{"scheme": "chf", "package": "B", "group": g["code"], "on": "2021-01-01"} for g in groups]
    return app.do_all("coverage.enrol", wanted)


def pay(app: TestApp, groups: Sequence[Mapping[str, Any]], enrolled: Sequence[Mapping[str, Any]]) -> None:
    receipts = [
        {"coverage": e["id"], "amount": e["due"], "receipt": g["code"], "on": "2021-01-01"}
        for g, e in zip(groups, enrolled, strict=True)
    ]
    # A served deployment has today's date, on which these policies have ended.
    assert {paid["status"] for paid in app.do_all("contributions.record", receipts)} <= {"active", "expired"}


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
    return list(each_claim(count, families, prefix))


def each_claim(count: int, families: int, prefix: str = "C") -> Iterator[dict[str, Any]]:
    """The same one by one, where a peak of memory is not to be theirs."""
    chance = random.Random(7)
    day = date(2021, 2, 1)
    for n in range(count):
        yield {
            "code": f"{prefix}{n:07d}", "provider": f"HC{n % 50:02d}", "diagnosis": "A09",
            "number": f"{chance.randrange(families):07d}{chance.randrange(4)}",
            "from": (day + timedelta(days=chance.randrange(100))).isoformat(),
            "lines": [
                {"item": f"I{chance.randrange(ITEMS):02d}", "quantity": 1 + chance.randrange(3), "price": "30"}
                for _ in range(5)
            ],
        }  # fmt: skip


def older_claims(at: Bench, database: str, lines: int, families: int) -> None:
    """Paid claims of five lines of the five years before the policies, spread over the persons: made in the database.

    As many rows as the claims' own history would have: lines, verdicts, states, results. Triggers and foreign keys are
    off meanwhile, statistics are taken afterwards, as they would be by then.
    """
    count = lines // 5
    with at.superuser(database) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in _OLDER:
            connection.execute(statement, {"count": count, "persons": families * 4})
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")


_OLDER: Final = (
    """
    INSERT INTO core.claims (id, scheme, code, provider, person, place, from_date, to_date, target_date, claimed_on,
        visit_type, facility_level, adult, diagnosis, category, currency, claimed_minor, audit)
    SELECT 1000000000 + n, 'chf', 'OLD' || n, 1 + n %% 50, p.id, NULL, d, d, d, d, 'other', 'health_centre', true, g.id,
           'visit', 'USD', 15000, 0
    FROM generate_series(1, %(count)s) AS n
    JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM core.persons) p
      ON p.place = n %% least(%(persons)s, (SELECT count(*) FROM core.persons))
    CROSS JOIN LATERAL (SELECT date '2016-01-01' + (n %% 1700)::int AS d) day
    CROSS JOIN (SELECT min(id) AS id FROM core.diagnoses) g
    """,
    """
    INSERT INTO core.claim_lines (claim, line, item, service, quantity_thousandths, price_minor)
    SELECT c.id, l, i.first + (c.id + l) %% 50, true, 1000, 3000
    FROM core.claims c CROSS JOIN generate_series(1, 5) AS l CROSS JOIN (SELECT min(id) AS first FROM core.items) i
    WHERE c.code LIKE 'OLD%%'
    """,
    """
    INSERT INTO core.claim_line_checks (claim, line, quantity_thousandths, list_price_minor, cover_kind, cover,
        package_version)
    SELECT claim, line, 1000, 3000, 'coverage', 1, 1 FROM core.claim_lines WHERE claim > 1000000000
    """,
    """
    INSERT INTO core.claim_states (claim, version, state, audit)
    SELECT id, v, CASE v WHEN 1 THEN 1 WHEN 2 THEN 4 ELSE 5 END, 0 FROM core.claims CROSS JOIN generate_series(1, 3) v
    WHERE code LIKE 'OLD%%'
    """,
    """
    INSERT INTO core.claim_current (claim, scheme, state, version, valuation)
    SELECT id, 'chf', 5, 3, 1 FROM core.claims WHERE code LIKE 'OLD%%'
    """,
    """
    INSERT INTO core.claim_results (claim, line, valuation, unit_price_minor, limited_milli, deducted_milli,
        shared_minor, above_ceiling_minor, payable_minor)
    SELECT claim, line, 1, 3000, 3000000, 0, 2400, 0, 2400 FROM core.claim_lines WHERE claim > 1000000000
    """,
    """
    INSERT INTO core.claim_valuations (claim, valuation, approved_minor, payable_minor, audit)
    SELECT id, 1, 15000, 12000, 0 FROM core.claims WHERE code LIKE 'OLD%%'
    """,
)


def scale(at: Bench, count: int, older: int) -> list[str]:
    """So many claims of as many families, and twice as many claims, with `older` lines in the tables.

    The auditor looks at what came of it, unless there are older lines: those are rows without a history.
    """
    families = count
    prepared = at.clone(at.template())
    with at.app(prepared) as app:
        insured_families(app, families)
    if older:
        older_claims(at, prepared, older, families)
    lines = []
    for size in (count, 2 * count):
        database, beside = at.clone(prepared), at.clone(prepared)
        with at.app(database) as app, at.superuser(database) as watcher:
            inputs = claim_inputs(size, families)
            caller = app.as_user("administrator")
            app.do("claims.process", {"scheme": "chf", "claims": []}, as_=caller)
            transaction = mark(watcher)
            before, started = app.database.statements, time.perf_counter()
            for start in range(0, size, BATCH):
                app.do_all("claims.submit", inputs[start : start + BATCH], as_=caller)
            submitted, between = app.database.statements, time.perf_counter()
            app.do("claims.process", {"scheme": "chf"}, as_=caller)
            ended = time.perf_counter()
            of_batch = (submitted - before) / (size / BATCH)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            tables = [t.fullname for m in app.plugins.manifests.values() for t in tables_of(m)]
            with at.superuser(beside) as connection:
                floor = copy_floor(
                    connection, written_since(watcher, transaction, [t for t in tables if t not in UPDATED])
                )
            lines.append(
                f"| {size:,} | {older:,} | {between - started:.1f} s | {ended - between:.1f} s "
                f"| {size / (ended - started):,.0f}/s | {of_batch:.1f} | {app.database.statements - submitted} "
                f"| COPY {floor:.1f} s | **{floor / (ended - started):.2f}** | {peak} MB |"
            )
            if not older:
                assert_sound(app)
        at.drop(database)
        at.drop(beside)
    return lines


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


def statements_per_batch(at: Bench, families: int, older: int = 0) -> list[str]:
    """Statements of one `claims.submit` and one `claims.process` for batches of different sizes."""
    lines = []
    for size in (1, 100, BATCH):
        prepared = at.clone(at.template())
        with at.app(prepared) as app:
            insured_families(app, families)
        if older:
            older_claims(at, prepared, older, families)
        with at.app(prepared) as app:
            caller = app.as_user("administrator")
            inputs = claim_inputs(size, families)
            before = app.database.statements
            app.do_all("claims.submit", inputs, as_=caller)
            submitted = app.database.statements
            app.do("claims.process", {"scheme": "chf"}, as_=caller)
            lines.append(f"| {size:,} | {older:,} | {submitted - before} | {app.database.statements - submitted} |")
        at.drop(prepared)
    return lines
