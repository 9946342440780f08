"""A year of the health-insurance scheme: enrolment, contributions, then claims, valuation and payment by month."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from imis_core.claims.states import NAMES
from imis_core.cli.progress import progress
from imis_core.demo.doors import BATCH, PAY_POINT, PAYER, Doors
from imis_core.demo.files import Sources
from imis_core.demo.months import Month
from imis_core.demo.starter import claims_mapping
from imis_core.demo.summary import SchemeSummary, money_of
from imis_core.eligibility.rejections import Rejection
from imis_core.errors import Refusal
from imis_core.imports import import_file

PAY_IN_PART: Final = 0.04  # share of households that pay in part, and so are not covered
PAY_NOT: Final = 0.03


class HealthYear:
    """Every household is enrolled; facilities claim each month and are paid."""

    def __init__(self, doors: Doors, scheme: str, sources: Sources, errors: Path) -> None:
        self._doors, self._scheme, self._sources, self._errors = doors, scheme, sources, errors
        self._mapping: Path | None = None
        self._chance = random.Random(sources.starts.year)  # noqa: S311 - who pays late in the demo is no secret

    def begin(self) -> None:
        """Every household is enrolled; most pay in full, a few in part or not at all."""
        doors, on = self._doors, self._sources.starts
        # Other schemes may take claims too: the files say nothing of them.
        self._mapping = claims_mapping(
            self._errors / "maps", self._sources.months[0].claims, self._sources.claims_mapping, self._scheme
        )
        package = doors.one("benefit_packages.list", {"scheme": self._scheme})[0]["code"]
        groups = [row.code for row in doors.rows("SELECT code FROM core.groups ORDER BY code")]
        with progress("Policies", len(groups), "households") as bar:
            for start in range(0, len(groups), BATCH):
                chunk = groups[start : start + BATCH]
                enrolled = doors.batch(
                    "coverage.enrol",
                    [{"scheme": self._scheme, "package": package, "group": g, "on": on.isoformat()} for g in chunk],
                )
                payments = [
                    self._payment(group, answer, on)
                    for group, answer in zip(chunk, enrolled, strict=True)
                    if not isinstance(answer, Refusal) and Decimal(answer["due"]) > 0
                ]
                doors.accepted("contributions.record", [p for p in payments if p is not None])
                bar.advance(len(chunk))
        facilities = doors.one("providers.list", {})
        doors.accepted(
            "payments.enrol_recipient",
            [{"facility": f["code"], "provider": PAYER, "pay_point": PAY_POINT} for f in facilities],
        )

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

    def month(self, month: Month) -> None:
        """The month's claims are loaded and valuated; payment is asked for, approved by somebody else, and made."""
        doors = self._doors
        import_file(
            doors.app, "claims", month.claims, doors.clerk, lines=month.lines,
            mapping=self._mapping, lines_mapping=self._sources.lines_mapping,
            errors=self._errors / f"{month.claims.stem}.errors.csv",
        )  # fmt: skip
        doors.one("claims.process", {"scheme": self._scheme})
        request = doors.one(
            "claims.request_payment", {"scheme": self._scheme, "from": "1900-01-01", "to": month.end.isoformat()}
        )
        doors.approve("claims.approve_payment", {"request": request["id"]})
        batch = {"claims_batch": request["id"]}
        doors.one("payments.submit", batch)
        doors.reconcile(doors.one("payments.orders", batch), {})

    def summary(self) -> SchemeSummary:
        """Policies, people covered, contributions, claims by outcome, what facilities were paid."""
        doors = self._doors
        policies = {
            row.state: row.policies
            for row in doors.rows(
                "SELECT state, count(*) AS policies FROM core.coverages WHERE scheme = :scheme GROUP BY 1 ORDER BY 1",
                scheme=self._scheme,
            )
        }
        (covered,) = doors.rows(
            "SELECT count(DISTINCT m.person) FROM core.coverage_members m JOIN core.coverages c ON c.id = m.coverage "
            "WHERE c.state = 'active' AND c.scheme = :scheme",
            scheme=self._scheme,
        )
        claims: dict[str, int] = {}
        for row in doors.rows(_STATES, scheme=self._scheme):
            name = NAMES[row.state] if row.rejection is None else Rejection(row.rejection).label
            claims[name] = claims.get(name, 0) + row.claims
        money = money_of(doors.app, self._scheme)
        shown = ", ".join(f"{count:,} {state}" for state, count in policies.items())
        outcomes = ", ".join(f"{count:,} {name}" for name, count in claims.items())
        return SchemeSummary(
            self._scheme, "health insurance", money, claims,
            (
                ("coverage", f"{shown} policies; {covered[0]:,} persons covered"),
                ("contributions", f"{money.received:,} {money.currency} received"),
                ("claims", f"{sum(claims.values()):,} stored: {outcomes}"),
                ("paid", f"{money.paid:,} {money.currency} to facilities"),
            ),
        )  # fmt: skip


_STATES: Final = """
    SELECT t.state, s.rejection, count(*) AS claims FROM core.claim_current t
    JOIN core.claim_states s ON s.claim = t.claim AND s.version = t.version
    WHERE t.scheme = :scheme GROUP BY 1, 2 ORDER BY 1, 2
"""
