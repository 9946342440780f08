"""A year of a deployment, month by month: people are registered, then each scheme goes its own way."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

from imis_core.cli.progress import progress
from imis_core.clock import SetClock
from imis_core.demo.cash import CashYear
from imis_core.demo.doors import Doors
from imis_core.demo.files import Sources
from imis_core.demo.health import HealthYear
from imis_core.demo.injury import InjuryYear
from imis_core.demo.months import Month
from imis_core.demo.summary import SchemeSummary
from imis_core.errors import Refusal
from imis_core.events import deliver_due
from imis_core.files import write_table
from imis_core.imports import import_file
from imis_core.provider_simulator.process import Running


class SchemeYear(Protocol):
    """What a scheme does in a year: once at its beginning, then each month."""

    def begin(self) -> None: ...
    def month(self, month: Month) -> None: ...
    def summary(self) -> SchemeSummary: ...


class Year:
    """Walks an application through a year; the clock stands on the last day of each month."""

    def __init__(self, doors: Doors, clock: SetClock, sources: Sources, wallet: Running) -> None:
        self._doors, self._clock, self._sources, self._wallet = doors, clock, sources, wallet
        self._deaths = list(sources.deaths)
        self.schemes = [self._scheme(code, scheme.type) for code, scheme in doors.app.settings.schemes.items()]

    def _scheme(self, code: str, kind: str) -> SchemeYear:
        if kind == "cash_transfer":
            return CashYear(self._doors, code, self._sources, self._wallet)
        if kind == "eii":
            return InjuryYear(self._doors, code, self._sources)
        return HealthYear(self._doors, code, self._sources, self._errors)

    def run(self) -> None:
        """The whole year."""
        # Real persons may be born later than the demo's year begins; registration looks at the day of the data's end.
        self._clock.set(self._sources.months[-1].end)
        self._register()
        self._record_deaths(self._sources.starts)
        self._clock.set(self._sources.starts + timedelta(days=14))
        self._doors.open_payments()
        for scheme in self.schemes:
            scheme.begin()
        with progress("Months", len(self._sources.months), "months") as bar:
            for month in self._sources.months:
                self._clock.set(month.end)
                self._record_deaths(month.end)
                for scheme in self.schemes:
                    scheme.month(month)
                while deliver_due(self._doors.app):
                    pass
                bar.advance()

    def _register(self) -> None:
        for given in self._sources.people:
            with progress(given.kind.capitalize(), None, "rows") as bar:
                import_file(
                    self._doors.app, given.kind, given.path, self._doors.clerk, mapping=given.mapping,
                    errors=self._errors / f"{given.kind}.errors.csv", progress=bar.reach,
                )  # fmt: skip

    def _record_deaths(self, until: date) -> None:
        """Deaths of real people up to a day; those that are refused are listed like any other row."""
        due = [death for death in self._deaths if death[1] <= until.isoformat()]
        self._deaths = [death for death in self._deaths if death[1] > until.isoformat()]
        asked = [{"number": number, "on": day} for number, day in due]
        outcomes = self._doors.batch("beneficiaries.record_death", asked)
        refused = [(*death, o.line()) for death, o in zip(due, outcomes, strict=True) if isinstance(o, Refusal)]
        if refused:
            path = self._errors / f"deaths-{until.isoformat()}.errors.csv"
            write_table(path, ["number", "death_date", "#errors"], iter(refused), "csv")

    @property
    def _errors(self) -> Path:
        """Where rows that were not loaded are listed."""
        folder = self._doors.app.settings.folder
        assert folder is not None
        return folder / "var" / "demo"
