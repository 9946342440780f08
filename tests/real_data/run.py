"""Runs a folder of Synthea files through the system and checks that every row and every amount is accounted for."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from imis_core.clock import SetClock
from imis_core.deployment import settings_from
from imis_core.eligibility.rejections import Rejection
from imis_core.errors import Refusal
from imis_core.files import read_table
from imis_core.imports import ImportReport, import_file
from imis_core.opening import Playground
from imis_core.testing.app import TestApp
from imis_core.testing.auditor import assert_sound
from tests.real_data.package import PACKAGE, catalogue_item, terms_of

MAPS: Final = Path(__file__).parent / "maps"
SCHEME: Final = "synthea"
TODAY: Final = date(2021, 6, 1)  # after the last claim of the data
YEARS: Final = range(2010, 2021)
BATCH: Final = 1000
SETTINGS: Final = {
    "deployment": {"name": "synthea", "country": "US", "currency": "USD"},
    "plugins": {"enabled": ["health_insurance"]},
    "schemes": {SCHEME: {"type": "health_insurance"}},
}


@define
class Outcome:
    """What became of the data; `check()` proves that nothing is lost and that the totals tie."""

    imports: dict[str, ImportReport] = field(factory=dict)
    policies: int = 0
    held: dict[str, str] = field(factory=dict)  # household -> its last policy
    contributions: Decimal = Decimal(0)
    refusals: Counter[str] = field(factory=Counter)
    line_outcomes: Counter[str] = field(factory=Counter)
    codes: Counter[tuple[int | None, str]] = field(factory=Counter)  # (rejection, "claims" | "lines")
    processed: int = 0
    claimed: Decimal = Decimal(0)
    payable: Decimal = Decimal(0)
    paid: Decimal = Decimal(0)
    orders: int = 0
    statuses: Counter[str] = field(factory=Counter)
    ledger: dict[str, Decimal] = field(factory=dict)
    balanced: bool = False

    def check(self) -> None:
        """Every row is loaded or refused; what claims were paid is what the ledger and the orders say."""
        for report in self.imports.values():
            assert report.loaded + report.unchanged + report.refused == report.rows, report
        claims = self.imports["claims"]
        assert sum(self.statuses.values()) == claims.loaded
        assert sum(claims.outcomes.values()) == claims.loaded
        assert self.balanced
        assert self.ledger["benefits_expense"] == self.payable == self.paid
        assert self.ledger.get("benefits_payable", Decimal(0)) == 0
        assert self.ledger["cash"] == self.contributions - self.paid
        assert self.ledger["contributions_income"] == -self.contributions


def find(folder: Path, stem: str) -> Path:
    """A data file by its stem, gzipped or not."""
    found = [p for p in (folder / f"{stem}.csv", folder / f"{stem}.csv.gz") if p.exists()]
    if not found:
        raise FileNotFoundError(f"{folder} has no {stem}.csv or {stem}.csv.gz")
    return found[0]


def run(playground: Playground, folder: Path, work: Path, progress: Any = None) -> Outcome:
    """All of it on a fresh database; error files go to `work`."""
    settings = settings_from(SETTINGS, "synthea")
    with playground.application(settings, SetClock(TODAY), kind=TestApp) as app:
        assert isinstance(app, TestApp)
        outcome = Outcome()
        for kind, stem in (
            ("items", "items"), ("price_lists", "items"), ("facilities", "facilities"), ("diagnoses", "diagnoses"),
            ("persons", "persons"), ("households", "households"),
        ):  # fmt: skip
            outcome.imports[kind] = load(app, kind, folder, stem, work)
        define_package(app, folder)
        deaths = read_deaths(folder)
        for year in YEARS:
            record_deaths(app, deaths, before=date(year, 1, 1))
            enrol(app, outcome, date(year, 1, 1))
        record_deaths(app, deaths, before=TODAY)
        outcome.imports["claims"] = load(app, "claims", folder, "claims", work)
        again = load(app, "claims", folder, "claims", work)
        assert again.loaded == 0, "the same file twice changes nothing"
        pay(app, outcome)
        tally(app, outcome)
        outcome.check()
        assert_sound(app)
        return outcome


def load(app: TestApp, kind: str, folder: Path, stem: str, work: Path) -> ImportReport:
    mapping = MAPS / f"{kind}.toml"
    return import_file(
        app, kind, find(folder, stem), app.as_user("administrator"),
        lines=find(folder, "claim_lines") if kind == "claims" else None,
        mapping=mapping if mapping.exists() else None, errors=work / f"{kind}.errors.csv",
    )  # fmt: skip


def define_package(app: TestApp, folder: Path) -> None:
    """The catalogue completed, and the package that pays for all of it."""
    chunk = next(read_table(find(folder, "items")).chunks(1_000_000)).columns
    items = [dict(zip(chunk, row, strict=True)) for row in zip(*chunk.values(), strict=True)]
    wrong = [
        o for o in app.do_all("catalogue.define_item", [catalogue_item(i) for i in items]) if isinstance(o, Refusal)
    ]
    assert not wrong, wrong[:3]
    app.do("benefit_packages.define", {"scheme": SCHEME, **PACKAGE, "terms": terms_of(items)})


def read_deaths(folder: Path) -> dict[str, date]:
    """Who died when. People register first and die later, so deaths are recorded as the years go by."""
    columns = next(read_table(find(folder, "persons")).chunks(1_000_000)).columns
    pairs = zip(columns["person_id"], columns["death_date"], strict=True)
    return {person: date.fromisoformat(day) for person, day in pairs if person is not None and day is not None}


def record_deaths(app: TestApp, deaths: dict[str, date], *, before: date) -> None:
    """Record, and take out of the list, the deaths before a day."""
    due = {person: day for person, day in deaths.items() if day < before}
    outcomes = app.do_all("beneficiaries.record_death", [{"number": n, "on": d.isoformat()} for n, d in due.items()])
    wrong = [o for o in outcomes if isinstance(o, Refusal)]
    assert not wrong, wrong[:3]
    for person in due:
        del deaths[person]


def enrol(app: TestApp, outcome: Outcome, on: date) -> None:
    """Each household is enrolled, or its policy renewed, and pays in full on this day."""
    groups = app.rows("SELECT code FROM core.groups ORDER BY code")
    for start in range(0, len(groups), BATCH):
        chunk = groups[start : start + BATCH]
        renewed = [outcome.held.get(g["code"]) for g in chunk]
        new = {"scheme": SCHEME, "package": PACKAGE["code"], "on": on.isoformat()}
        asked = [{**new, "group": g["code"]} for g, r in zip(chunk, renewed, strict=True) if r is None]
        again = [{"coverage": r, "on": on.isoformat()} for r in renewed if r is not None]
        first, later = iter(app.do_all("coverage.enrol", asked)), iter(app.do_all("coverage.renew", again))
        enrolled = [next(first) if r is None else next(later) for r in renewed]
        payments = []
        for group, answer in zip(chunk, enrolled, strict=True):
            if isinstance(answer, Refusal):
                outcome.refusals[f"coverage: {answer.code}"] += 1
                outcome.held.pop(group["code"], None)
                continue
            outcome.policies += 1
            outcome.held[group["code"]] = answer["id"]
            if Decimal(answer["due"]):
                receipt = f"{group['code']}-{on.year}"
                payment = {"coverage": answer["id"], "amount": answer["due"], "receipt": receipt}
                payments.append({**payment, "on": on.isoformat()})
        for payment, paid in zip(payments, app.do_all("contributions.record", payments), strict=True):
            if isinstance(paid, Refusal):
                outcome.refusals[f"contributions.record: {paid.code}"] += 1
            else:
                outcome.contributions += Decimal(payment["amount"])


def pay(app: TestApp, outcome: Outcome) -> None:
    """Valuate, ask for payment, approve by another person, submit, and take the provider's report."""
    outcome.processed = app.do("claims.process", {"scheme": SCHEME})["valuated"]
    app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "cash_list"})
    facilities = app.rows("SELECT code FROM core.providers ORDER BY code")
    app.do_all("payments.enrol_recipient", [{"facility": f["code"], "provider": "BANK"} for f in facilities])
    period = {"from": "1900-01-01", "to": TODAY.isoformat()}
    request = app.do("claims.request_payment", {"scheme": SCHEME, **period})
    app.do("claims.approve_payment", {"request": request["id"]}, as_="second")
    batch = {"claims_batch": request["id"]}
    app.do("payments.submit", batch)
    orders = app.do("payments.orders", batch)
    rows = [{"order": o["id"], "status": "paid", "amount": o["amount"], "reference": o["id"][:8]} for o in orders]
    reconciled = app.do("payments.reconcile", {"provider": "BANK", "rows": rows})
    assert reconciled["matched"] == len(orders)
    outcome.orders = len(orders)
    outcome.paid = sum((Decimal(o["amount"]) for o in orders), Decimal(0))


def tally(app: TestApp, outcome: Outcome) -> None:
    """Totals from the queries, by claim and by line."""
    for claim in app.do("claims.list", {"scheme": SCHEME}):
        outcome.statuses[claim["status"]] += 1
        outcome.claimed += Decimal(claim["claimed"])
        outcome.payable += Decimal(claim["payable"] or 0)
    for row in app.rows("SELECT rejection, count(*) AS lines FROM core.claim_line_checks GROUP BY rejection"):
        name = "passed" if row["rejection"] is None else Rejection(row["rejection"]).label
        outcome.line_outcomes[name] = row["lines"]
    counted = {
        "claims": "SELECT s.rejection, count(*) AS n FROM core.claim_states s WHERE s.version = 1 GROUP BY 1",
        "lines": "SELECT rejection, count(*) AS n FROM core.claim_line_checks GROUP BY 1",
    }
    for what, statement in counted.items():
        for row in app.rows(statement):
            outcome.codes[row["rejection"], what] = row["n"]
    balances = app.do("ledger.balances", {"scheme": SCHEME})
    outcome.ledger = {name: Decimal(amount) for name, amount in balances["accounts"].items()}
    outcome.balanced = balances["balanced"]


__all__ = ["Outcome", "run"]
