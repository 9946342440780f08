"""A year of a health-insurance scheme, month by month: enrolment, contributions, claims, valuation, payment."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from imis_core.application import Application
from imis_core.cli.progress import progress
from imis_core.clock import SetClock
from imis_core.commands import run_command
from imis_core.demo.files import Sources
from imis_core.demo.months import Month
from imis_core.errors import ImisError, Refusal
from imis_core.events import deliver_due
from imis_core.files import write_table
from imis_core.imports import import_file
from imis_core.security.caller import Caller

BATCH: Final = 1000
PAY_IN_PART: Final = 0.04  # share of households that pay in part, and so are not covered
PAY_NOT: Final = 0.03
PAYER: Final = "TREASURY"


class Year:
    """Walks an application through a year; the clock stands on the last day of each month."""

    def __init__(self, app: Application, clock: SetClock, clerk: Caller, approver: Caller, sources: Sources) -> None:
        self._app, self._clock, self._clerk, self._approver, self._sources = app, clock, clerk, approver, sources
        self._deaths = list(sources.deaths)
        self._scheme = next(code for code in app.settings.schemes if app.type_of(code).takes_claims)
        self._chance = random.Random(sources.starts.year)  # noqa: S311 - who pays late in the demo is no secret

    def run(self) -> None:
        """The whole year."""
        # Real persons may be born later than the demo's year begins; registration looks at the day of the data's end.
        self._clock.set(self._sources.months[-1].end)
        self._register()
        self._record_deaths(self._sources.starts)
        self._clock.set(self._sources.starts + timedelta(days=14))
        self._enrol(self._sources.starts)
        self._open_payments()
        with progress("Months", len(self._sources.months), "months") as bar:
            for month in self._sources.months:
                self._clock.set(month.end)
                self._record_deaths(month.end)
                self._claims(month)
                self._pay(month.end)
                while deliver_due(self._app):
                    pass
                bar.advance()

    def _register(self) -> None:
        for given in self._sources.people:
            with progress(given.kind.capitalize(), None, "rows") as bar:
                import_file(
                    self._app, given.kind, given.path, self._clerk, mapping=given.mapping,
                    errors=self._errors(given.kind), progress=bar.reach,
                )  # fmt: skip

    def _record_deaths(self, until: date) -> None:
        """Deaths of real people up to a day; those that are refused are listed like any other row."""
        due = [death for death in self._deaths if death[1] <= until.isoformat()]
        self._deaths = [death for death in self._deaths if death[1] > until.isoformat()]
        outcomes = self._batch("beneficiaries.record_death", [{"number": number, "on": day} for number, day in due])
        refused = [(*death, o.line()) for death, o in zip(due, outcomes, strict=True) if isinstance(o, Refusal)]
        if refused:
            name = f"deaths-{until.isoformat()}"
            write_table(self._errors(name), ["number", "death_date", "#errors"], iter(refused), "csv")

    def _errors(self, name: str) -> Path:
        folder = self._app.settings.folder
        assert folder is not None
        return folder / "var" / "demo" / f"{name}.errors.csv"

    def _batch(self, name: str, items: Sequence[dict[str, Any]], caller: Caller | None = None) -> list[Any]:
        """Outcomes of a long list, in batches."""
        outcomes: list[Any] = []
        for start in range(0, len(items), BATCH):
            outcomes += run_command(self._app, name, items[start : start + BATCH], caller or self._clerk).outcomes
        return outcomes

    def _one(self, name: str, data: dict[str, Any], caller: Caller | None = None) -> Any:
        return self._app.run(name, data, caller or self._clerk)

    def _enrol(self, on: date) -> None:
        """Every household is enrolled; most pay in full, a few in part or not at all."""
        package = self._app.run("benefit_packages.list", {"scheme": self._scheme}, self._clerk)[0]["code"]
        with self._app.database.query(self._app.system) as connection:
            groups = list(connection.execute(sa.text("SELECT code FROM core.groups ORDER BY code")).scalars())
        with progress("Policies", len(groups), "households") as bar:
            for start in range(0, len(groups), BATCH):
                chunk = groups[start : start + BATCH]
                enrolled = self._batch(
                    "coverage.enrol",
                    [{"scheme": self._scheme, "package": package, "group": g, "on": on.isoformat()} for g in chunk],
                )
                payments = [
                    self._payment(group, answer, on)
                    for group, answer in zip(chunk, enrolled, strict=True)
                    if not isinstance(answer, Refusal) and Decimal(answer["due"]) > 0
                ]
                _all_accepted(self._batch("contributions.record", [p for p in payments if p is not None]))
                bar.advance(len(chunk))

    def _payment(self, group: str, answer: Any, on: date) -> dict[str, Any] | None:
        luck = self._chance.random()
        if luck < PAY_NOT:
            return None
        due = Decimal(answer["due"])
        amount = due if luck > PAY_NOT + PAY_IN_PART else (due / 2).quantize(Decimal(1)) or due
        return {
            "coverage": answer["id"], "amount": str(amount), "receipt": f"{group}-{on.year}",
            "on": (on + timedelta(days=self._chance.randrange(14))).isoformat(),
        }  # fmt: skip

    def _open_payments(self) -> None:
        self._one(
            "payments.register_provider",
            {"code": PAYER, "name": "The scheme's treasurer", "channel": "cash_list",
             "pay_points": [{"code": "MAIN", "name": "Main office"}]},
        )  # fmt: skip
        facilities = self._app.run("providers.list", {}, self._clerk)
        _all_accepted(
            self._batch(
                "payments.enrol_recipient",
                [{"facility": f["code"], "provider": PAYER, "pay_point": "MAIN"} for f in facilities],
            )
        )

    def _claims(self, month: Month) -> None:
        import_file(
            self._app, "claims", month.claims, self._clerk, lines=month.lines,
            mapping=self._sources.claims_mapping, lines_mapping=self._sources.lines_mapping,
            errors=self._errors(month.claims.stem),
        )  # fmt: skip
        self._one("claims.process", {"scheme": self._scheme})

    def _pay(self, end: date) -> None:
        """Ask for the month's payment, approve it as somebody else, pay, and take the treasurer's report."""
        request = self._one(
            "claims.request_payment", {"scheme": self._scheme, "from": "1900-01-01", "to": end.isoformat()}
        )
        self._one("claims.approve_payment", {"request": request["id"]}, self._approver)
        batch = {"claims_batch": request["id"]}
        self._one("payments.submit", batch)
        orders = self._one("payments.orders", batch)
        rows = [{"order": o["id"], "status": "paid", "amount": o["amount"]} for o in orders]
        self._one("payments.reconcile", {"provider": PAYER, "rows": rows})


def _all_accepted(outcomes: Sequence[Any]) -> None:
    wrong = next((o for o in outcomes if isinstance(o, Refusal)), None)
    if wrong is not None:
        raise ImisError(wrong)
