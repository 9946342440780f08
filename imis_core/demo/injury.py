"""A year of the employment-injury scheme: employers declare wages, people have accidents, awards are paid monthly."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any, Final

from imis_core.demo.doors import PAY_POINT, PAYER, Doors
from imis_core.demo.files import Sources
from imis_core.demo.months import Month
from imis_core.demo.summary import SchemeSummary, money_of

EMPLOYERS: Final = (
    "Cotonnerie", "Huilerie", "Transport", "Travaux publics", "Briqueterie", "Commerce de gros",
)  # fmt: skip
EMPLOYED_SHARE: Final = 0.25  # of the men and women whom an employer may take
WAGES: Final = (60_000, 180_000)  # a month
ACCIDENTS_A_MONTH: Final = 0.006  # of the workers
DEADLY_SHARE: Final = 0.08
ABSENCE_DAYS: Final = (6, 45)


class InjuryYear:
    """Workers are registered with their employers; each month brings wages, accidents, certificates and a payroll."""

    def __init__(self, doors: Doors, scheme: str, sources: Sources) -> None:
        self._doors, self._scheme, self._sources = doors, scheme, sources
        self._chance = random.Random(sources.starts.year + 2)  # noqa: S311 - whom an accident meets is no secret
        self._package = ""
        self._workers: dict[str, tuple[str, int]] = {}  # number -> employer, wage
        self._open: list[tuple[str, date]] = []  # accidents with a certificate, and its last day
        self._payrolls = 0
        self._accidents = 0
        self._deaths = 0
        self._awards = 0

    def begin(self) -> None:
        """Employers and their workers; wages of the year before are not known, the agreed wage stands for them."""
        doors = self._doors
        self._package = doors.one("benefit_packages.list", {"scheme": self._scheme})[0]["code"]
        employers = [f"E{number:02d}" for number in range(1, len(EMPLOYERS) + 1)]
        doors.accepted(
            "employment.register_employer",
            [{"scheme": self._scheme, "code": c, "name": n} for c, n in zip(employers, EMPLOYERS, strict=True)],
        )
        people = doors.rows(_EMPLOYABLE, eldest=_years_before(self._sources.starts, 60),
                            youngest=_years_before(self._sources.starts, 20))  # fmt: skip
        for row in people:
            if self._chance.random() < EMPLOYED_SHARE:
                wage = round(self._chance.uniform(*WAGES), -3)
                self._workers[row.number] = (self._chance.choice(employers), int(wage))
        since = date(self._sources.starts.year - 1, 1, 1).isoformat()
        doors.accepted(
            "employment.register",
            [
                {"employer": employer, "number": number, "from": since, "wage": str(wage)}
                for number, (employer, wage) in self._workers.items()
            ],
        )
        self._pay_at_pay_point(list(self._workers))

    def month(self, month: Month) -> None:
        """Wages are declared, accidents reported and accepted by somebody else, and the month's benefits paid."""
        self._bury()
        self._declare(month)
        for number in [n for n in self._workers if self._chance.random() < ACCIDENTS_A_MONTH]:
            self._accident(number, month)
        self._temporary(month)
        self._payroll(month)

    def _bury(self) -> None:
        """Who died of something else works no longer."""
        dead = self._doors.rows(
            "SELECT number FROM core.persons WHERE death_date IS NOT NULL AND number = ANY(:numbers)",
            numbers=list(self._workers),
        )
        for row in dead:
            del self._workers[row.number]

    def _declare(self, month: Month) -> None:
        by_employer: dict[str, list[dict[str, Any]]] = {}
        for number, (employer, wage) in self._workers.items():
            by_employer.setdefault(employer, []).append({"number": number, "wage": str(wage)})
        self._doors.accepted(
            "employment.declare_wages",
            [
                {"scheme": self._scheme, "employer": employer, "month": month.end.strftime("%Y-%m"), "rows": rows}
                for employer, rows in by_employer.items()
            ],
        )

    def _accident(self, number: str, month: Month) -> None:
        doors = self._doors
        on = month.end.replace(day=self._chance.randint(1, 20))
        accident = doors.one(
            "eii.report_accident",
            {"scheme": self._scheme, "package": self._package, "number": number, "employer": self._workers[number][0],
             "occurred_on": on.isoformat(), "reported_by": "employer"},
        )["id"]  # fmt: skip
        doors.approve("eii.accept", {"accident": accident, "kind": "work"})
        self._accidents += 1
        if self._chance.random() < DEADLY_SHARE:
            self._death(accident, number, on)
            return
        until = on + timedelta(days=self._chance.randint(*ABSENCE_DAYS))
        doors.one("eii.certify", {"accident": accident, "from": on.isoformat(), "to": until.isoformat()})
        self._open.append((accident, until))

    def _death(self, accident: str, number: str, on: date) -> None:
        doors = self._doors
        family = doors.rows(_FAMILY, number=number)
        survivors = [{"number": r.number, "relationship": r.relationship} for r in family]
        self._deaths += 1
        del self._workers[number]
        awarded = doors.one(
            "eii.award_survivors", {"accident": accident, "died_on": on.isoformat(), "survivors": survivors}
        )
        self._awards += len(awarded["awards"])
        self._pay_at_pay_point([award["person"] for award in awarded["awards"]])

    def _temporary(self, month: Month) -> None:
        for accident, _ in self._open:
            self._doors.one("eii.pay_temporary", {"accident": accident})
        self._open = [(accident, until) for accident, until in self._open if until > month.end]

    def _payroll(self, month: Month) -> None:
        doors, code = self._doors, month.end.strftime("%Y-%m")
        doors.one(
            "cycles.open",
            {"scheme": self._scheme, "code": code, "starts": month.end.replace(day=1).isoformat(),
             "ends": month.end.isoformat()},
        )  # fmt: skip
        payroll = doors.one("payroll.generate", {"scheme": self._scheme, "package": self._package, "cycle": code})["id"]
        doors.approve("payroll.approve", {"payroll": payroll})
        doors.one("payments.submit", {"payroll": payroll})
        orders = doors.one("payments.orders", {"payroll": payroll})
        doors.reconcile([o for o in orders if o["status"] == "submitted"], {})
        self._payrolls += 1

    def _pay_at_pay_point(self, numbers: list[str]) -> None:
        self._doors.accepted(
            "payments.enrol_recipient",
            [{"number": n, "provider": PAYER, "pay_point": PAY_POINT, "scheme": self._scheme} for n in numbers],
        )

    def summary(self) -> SchemeSummary:
        """Employers and workers, accidents, awards, contributions and what was paid."""
        doors = self._doors
        counts = {
            row.state: row.orders
            for row in doors.rows(
                'SELECT t.state, count(*) AS orders FROM core.orders o JOIN core.order_current t ON t."order" = o.id '
                "WHERE o.scheme = :scheme GROUP BY 1 ORDER BY 1",
                scheme=self._scheme,
            )
        }
        money = money_of(doors.app, self._scheme)
        shown = ", ".join(f"{count:,} {state}" for state, count in counts.items())
        return SchemeSummary(
            self._scheme, "employment injury", money, counts,
            (
                ("employment", f"{len(EMPLOYERS)} employers, {len(self._workers):,} workers"),
                ("contributions", f"{money.due:,} {money.currency} declared"),
                ("accidents", f"{self._accidents:,} accepted, {self._deaths:,} deadly, {self._awards:,} pensions"),
                ("payrolls", f"{self._payrolls} months; orders: {shown or 'none'}"),
                ("paid", f"{money.paid:,} {money.currency} to workers and survivors"),
            ),
        )  # fmt: skip


def _years_before(day: date, years: int) -> date:
    return date(day.year - years, 1, 1)


_EMPLOYABLE: Final = """
    SELECT p.number FROM core.persons p JOIN core.memberships m ON m.person = p.id AND m.left_on IS NULL
    WHERE p.death_date IS NULL AND p.birth_date BETWEEN :eldest AND :youngest
      AND m.relationship IN ('head', 'spouse') ORDER BY p.number
"""
# Of a head: spouses, children, parents. Of a spouse: the head, and the children.
_FAMILY: Final = """
    SELECT p.number, CASE m.relationship WHEN 'head' THEN 'spouse' ELSE m.relationship END AS relationship
    FROM core.persons d
    JOIN core.memberships h ON h.person = d.id AND h.relationship IN ('head', 'spouse') AND h.left_on IS NULL
    JOIN core.memberships m ON m."group" = h."group" AND m.left_on IS NULL AND m.person <> d.id
    JOIN core.persons p ON p.id = m.person
    WHERE d.number = :number AND m.relationship = ANY (
        CASE h.relationship WHEN 'head' THEN ARRAY['spouse', 'child', 'parent'] ELSE ARRAY['head', 'child'] END)
    ORDER BY m.ordinal
"""
