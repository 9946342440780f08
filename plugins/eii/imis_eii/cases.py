"""Accidents with all that hangs on them, loaded for a whole batch, changed in memory, written back as sets.

Each command loads its cases under a lock, lets the items change them one after the other, and writes what is new: a
constant number of statements whatever the number of items. This module decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from attrs import define, field, frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.api import (
    Context,
    Money,
    Refusal,
    StateTable,
    insert_rows,
    parsed_terms,
    persons,
    take_ids,
    versions_by_id,
)
from imis_eii.rules.amounts import rounded
from imis_eii.rules.survivors import Span, first_change
from imis_eii.tables import accidents, award_amounts, awards, certificates, full_rates, lumps
from imis_eii.terms import EiiTerms

REPORTED: Final = "reported"
ACCEPTED: Final = "accepted"
DECLINED: Final = "declined"
APPEALED: Final = "appealed"
ACCIDENT_STATES: Final = StateTable(
    "eii",
    {
        REPORTED: (ACCEPTED, DECLINED),
        ACCEPTED: (APPEALED,),  # only as not from work: see `deciding`
        DECLINED: (APPEALED,),
        APPEALED: (ACCEPTED, DECLINED),
    },
)
SELF: Final = "self"
PENSION: Final = "pension"
LUMP_SUM: Final = "lump_sum"
PERIOD: Final = "period"
FUNERAL: Final = "funeral"
ONCE: Final = "once"
MONTH_DAYS: Final = 30  # of a monthly amount that is paid per day

Steps = tuple[tuple[str, str], ...]  # name and value, as text


@frozen(kw_only=True)
class Lump:
    """An amount that is paid once. `award`: it came with one; `days`: of a period of temporary benefit."""

    kind: str
    person: int
    due_on: date
    amount_minor: int
    days: int | None = None
    award: int | None = None
    steps: Steps = ()


@define(eq=False, kw_only=True)
class Award:
    """A pension or lump sum as the items of the batch so far leave it. `spans`: what each day is worth."""

    id: int
    accident: int
    person: int
    number: str
    relationship: str
    kind: str
    per: str
    starts: date
    ends: date | None
    ended_by: str | None = None
    share: Decimal | None = None
    once_minor: int | None = None
    awarded_minor: int = 0
    revision: int = 0
    indexed_until: date | None = None
    corrected_from: date | None = None
    spans: list[Span] = field(factory=list)
    is_new: bool = False
    changed: bool = False
    respanned: bool = False

    def runs(self, on: date) -> bool:
        """Whether it is a pension that is paid for a day."""
        return self.kind == PENSION and self.starts <= on and (self.ends is None or on <= self.ends)

    def amount_on(self, on: date) -> int:
        """What the day is worth; 0 outside its spans."""
        return next((s.amount for s in self.spans if s.starts <= on and (s.ends is None or on <= s.ends)), 0)

    def set_spans(self, spans: Sequence[Span]) -> None:
        """Give the award other amounts, as a further revision; payroll makes good what was paid otherwise."""
        if list(spans) == self.spans:
            return
        day = None if self.is_new else first_change(self.spans, spans)
        if day is not None:
            self.corrected_from = min(day, self.corrected_from or day)
        self.spans = list(spans)
        if not self.respanned:
            self.revision += 1
            self.respanned = self.changed = True


@define(eq=False, kw_only=True)
class Case:
    """An accident with its terms, certificates, payments and awards, as the items of the batch so far leave it."""

    id: int
    code: str
    scheme: str
    version: int
    currency: str
    person: int
    number: str
    born: date
    employer: int
    occurred_on: date
    status: str
    kind: str | None
    reason: str | None
    decided_on: date | None
    monthly: Fraction | None
    daily: Fraction | None
    died_on: date | None
    extended: bool
    steps: Steps
    terms: EiiTerms
    certificates: list[tuple[date, date]] = field(factory=list)
    lumps: list[Lump] = field(factory=list)
    awards: list[Award] = field(factory=list)
    full_rates: dict[date, int] = field(factory=dict)
    changed: bool = False

    def money(self, amount: int | Fraction) -> Money:
        """Minor units, rounded, in the accident's currency."""
        return Money(amount if isinstance(amount, int) else rounded(amount), self.currency)

    def pensioners(self) -> list[Award]:
        """Survivors with a pension, in the order in which they were given."""
        return [a for a in self.awards if a.relationship != SELF and a.kind == PENSION]

    def cash_refusal(self) -> Refusal | None:
        """Why no benefit in cash is due: not accepted (yet), or not from work."""
        if self.status != ACCEPTED:
            return Refusal("eii.not_accepted", f"accident {self.code} is {self.status}; accept it before any benefit")
        if self.kind == "non_work":
            return Refusal(
                "eii.not_work_related", f"accident {self.code} did not come from work; it has no cash benefit"
            )
        return None

    def wages(self) -> tuple[Fraction, Fraction]:
        """Monthly and daily wage; an accepted accident has them."""
        assert self.monthly is not None
        assert self.daily is not None
        return self.monthly, self.daily

    def move(self, status: str, on: date, reason: str | None) -> Refusal | None:
        """Decide on the accident; `eii.wrong_state` where its state does not allow that."""
        if not ACCIDENT_STATES.allows(self.status, status):
            return ACCIDENT_STATES.refusal(f"accident {self.code}", self.status, status)
        self.status, self.decided_on, self.reason, self.changed = status, on, reason, True
        return None


def no_terms(case: Case, benefit: str) -> Refusal:
    """`eii.no_benefit`: the package does not have that benefit."""
    return Refusal("eii.no_benefit", f"the package of accident {case.code} has no terms of {benefit}")


@define
class Work:
    """The cases of a batch, by the name under which they were asked for and by number, and what is to be written."""

    by_name: dict[str, Case]
    by_number: dict[int, Case]
    new_certificates: list[tuple[Case, date, date, str | None]] = field(factory=list)
    new_lumps: list[tuple[Case, Lump]] = field(factory=list)
    new_rates: list[tuple[Case, date, int]] = field(factory=list)

    def add_lump(self, case: Case, lump: Lump) -> None:
        case.lumps.append(lump)
        self.new_lumps.append((case, lump))

    def set_rate(self, case: Case, starts: date, minor: int) -> None:
        case.full_rates[starts] = minor
        self.new_rates.append((case, starts, minor))

    def write(self, context: Context) -> None:
        """Write all that changed."""
        _write_cases(context, [c for c in self.by_number.values() if c.changed])
        audit = context.audit
        made = self.new_certificates
        insert_rows(
            context.connection,
            certificates,
            {
                "accident": [case.id for case, _, _, _ in made],
                "first_day": [first for _, first, _, _ in made],
                "last_day": [last for _, _, last, _ in made],
                "doctor": [doctor for _, _, _, doctor in made],
                "certified_on": [context.today] * len(made),
                "audit": [audit] * len(made),
            },
        )
        _write_awards(context, [(c, a) for c in self.by_number.values() for a in c.awards if a.is_new or a.changed])
        insert_rows(
            context.connection,
            full_rates,
            {
                "accident": [case.id for case, _, _ in self.new_rates],
                "starts": [starts for _, starts, _ in self.new_rates],
                "amount_minor": [minor for _, _, minor in self.new_rates],
                "audit": [audit] * len(self.new_rates),
            },
        )
        _write_lumps(context, self.new_lumps)


def load(context: Context, names: Iterable[str], *, lock: bool = True) -> Work:
    """The accidents that are named by code or id and that the caller may see, with all that hangs on them."""
    found = {name: row.id for name, row in context.named(accidents, names, accidents.c.id, accidents.c.code)}
    cases = _cases(context, found.values(), lock)
    return Work({name: cases[number] for name, number in found.items() if number in cases}, cases)


def load_by_award(context: Context, names: Iterable[str], *, lock: bool = True) -> tuple[Work, dict[str, Award]]:
    """The cases of awards that are named by id, and the awards by that name."""
    wanted = {name: number for name in names if (number := context.ids.decode("awards", name)) is not None}
    rows = context.execute(
        sa.select(awards.c.id, awards.c.accident).where(awards.c.id == _any(wanted.values()), context.scoped(awards))
    ).all()
    cases = _cases(context, {row.accident for row in rows}, lock)
    known = {award.id: award for case in cases.values() for award in case.awards}
    return Work({}, cases), {name: known[number] for name, number in wanted.items() if number in known}


def cases_by_number(context: Context, numbers: Iterable[int]) -> dict[int, Case]:
    """The cases of accidents by their primary keys, locked."""
    return _cases(context, numbers, True)


def _cases(context: Context, numbers: Iterable[int], lock: bool) -> dict[int, Case]:
    """The cases by number, in the order of their numbers. Nine statements."""
    wanted = _any(numbers)
    statement = (
        sa.select(accidents, persons.c.number, persons.c.birth_date)
        .join(persons, persons.c.id == accidents.c.person)
        .where(accidents.c.id == wanted, context.scoped(accidents))
        .order_by(accidents.c.id)
    )
    rows = context.execute(statement.with_for_update(of=accidents) if lock else statement).all()
    if not rows:
        return {}
    terms = parsed_terms(context, versions_by_id(context, {row.package_version for row in rows}).values())
    cases = {row.id: _case(row, terms[row.package_version]) for row in rows}
    for row in context.execute(_of(certificates, wanted).order_by(certificates.c.id)):
        cases[row.accident].certificates.append((row.first_day, row.last_day))
    for row in context.execute(_of(lumps, wanted).order_by(lumps.c.id)):
        cases[row.accident].lumps.append(
            Lump(
                kind=row.kind, person=row.person, due_on=row.due_on, amount_minor=row.amount_minor, days=row.days,
                award=row.award, steps=_steps(row.steps),
            )
        )  # fmt: skip
    for row in context.execute(_of(full_rates, wanted).order_by(full_rates.c.starts)):
        cases[row.accident].full_rates[row.starts] = row.amount_minor
    _load_awards(context, cases, wanted)
    return cases


def _case(row: Any, terms: EiiTerms) -> Case:
    return Case(
        id=row.id, code=row.code, scheme=row.scheme, version=row.package_version, currency=row.currency,
        person=row.person, number=row.number, born=row.birth_date, employer=row.employer, occurred_on=row.occurred_on,
        status=row.status, kind=row.kind, reason=row.reason, decided_on=row.decided_on,
        monthly=_fraction(row.monthly_wage), daily=_fraction(row.daily_wage), died_on=row.died_on,
        extended=row.extended, steps=_steps(row.steps), terms=terms,
    )  # fmt: skip


def _load_awards(context: Context, cases: Mapping[int, Case], wanted: Any) -> None:
    a, m = awards.c, award_amounts.c
    # All awards of an accident count, also those of survivors whom the caller may not see: these have an id, no number.
    rows = context.execute(
        sa.select(awards, persons.c.number)
        .join(persons, persons.c.id == a.person, isouter=True)
        .where(a.accident == wanted)
        .order_by(a.id)
    ).all()
    ids = context.ids.encode_all("persons", [row.person for row in rows])
    found: dict[int, Award] = {}
    for row, identity in zip(rows, ids, strict=True):
        award = Award(
            id=row.id, accident=row.accident, person=row.person, number=row.number or identity,
            relationship=row.relationship, kind=row.kind, per=row.per, starts=row.starts, ends=row.ends,
            ended_by=row.ended_by, share=row.share, once_minor=row.once_minor, awarded_minor=row.awarded_minor,
            revision=row.revision, indexed_until=row.indexed_until, corrected_from=row.corrected_from,
        )  # fmt: skip
        found[award.id] = award
        cases[award.accident].awards.append(award)
    amounts = context.execute(
        sa.select(m.award, m.starts, m.ends, m.amount_minor)
        .join(awards, sa.and_(a.id == m.award, a.revision == m.revision))
        .where(a.accident == wanted)
        .order_by(m.award, m.starts)
    )
    for row in amounts:
        found[row.award].spans.append(Span(row.starts, row.ends, row.amount_minor))


_CHANGE: Final = sa.text("""
    UPDATE eii.accidents AS a
    SET status = n.status, kind = n.kind, reason = n.reason, decided_on = n.decided_on, monthly_wage = n.monthly_wage,
        daily_wage = n.daily_wage, died_on = n.died_on, extended = n.extended, steps = CAST(n.steps AS jsonb)
    FROM unnest(CAST(:id AS bigint[]), CAST(:status AS text[]), CAST(:kind AS text[]), CAST(:reason AS text[]),
                CAST(:decided_on AS date[]), CAST(:monthly_wage AS text[]), CAST(:daily_wage AS text[]),
                CAST(:died_on AS date[]), CAST(:extended AS boolean[]), CAST(:steps AS text[]))
         AS n(id, status, kind, reason, decided_on, monthly_wage, daily_wage, died_on, extended, steps)
    WHERE a.id = n.id
""")


def _write_cases(context: Context, changed: Sequence[Case]) -> None:
    if not changed:
        return
    context.execute(
        _CHANGE,
        {
            "id": [c.id for c in changed],
            "status": [c.status for c in changed],
            "kind": [c.kind for c in changed],
            "reason": [c.reason for c in changed],
            "decided_on": [c.decided_on for c in changed],
            "monthly_wage": [None if c.monthly is None else str(c.monthly) for c in changed],
            "daily_wage": [None if c.daily is None else str(c.daily) for c in changed],
            "died_on": [c.died_on for c in changed],
            "extended": [c.extended for c in changed],
            "steps": [steps_json(c.steps) for c in changed],
        },
    )


_CHANGE_AWARDS: Final = sa.text("""
    UPDATE eii.awards AS a
    SET ends = n.ends, ended_by = n.ended_by, revision = n.revision, indexed_until = n.indexed_until,
        corrected_from = n.corrected_from
    FROM unnest(CAST(:id AS bigint[]), CAST(:ends AS date[]), CAST(:ended_by AS text[]), CAST(:revision AS integer[]),
                CAST(:indexed_until AS date[]), CAST(:corrected_from AS date[]))
         AS n(id, ends, ended_by, revision, indexed_until, corrected_from)
    WHERE a.id = n.id
""")


def _write_awards(context: Context, touched: Sequence[tuple[Case, Award]]) -> None:
    new = [(case, award) for case, award in touched if award.is_new]
    insert_rows(
        context.connection,
        awards,
        {
            "id": [a.id for _, a in new],
            "accident": [a.accident for _, a in new],
            "person": [a.person for _, a in new],
            "relationship": [a.relationship for _, a in new],
            "scheme": [c.scheme for c, _ in new],
            "package_version": [c.version for c, _ in new],
            "kind": [a.kind for _, a in new],
            "per": [a.per for _, a in new],
            "currency": [c.currency for c, _ in new],
            "starts": [a.starts for _, a in new],
            "ends": [a.ends for _, a in new],
            "ended_by": [a.ended_by for _, a in new],
            "share": [a.share for _, a in new],
            "once_minor": [a.once_minor for _, a in new],
            "awarded_minor": [a.awarded_minor for _, a in new],
            "revision": [a.revision for _, a in new],
            "proof_months": [None if (p := c.terms.proof_of_life) is None else p.months for c, _ in new],
            "indexed_until": [a.indexed_until for _, a in new],
        },
    )
    old = [award for _, award in touched if not award.is_new]
    if old:
        context.execute(
            _CHANGE_AWARDS,
            {
                "id": [a.id for a in old],
                "ends": [a.ends for a in old],
                "ended_by": [a.ended_by for a in old],
                "revision": [a.revision for a in old],
                "indexed_until": [a.indexed_until for a in old],
                "corrected_from": [a.corrected_from for a in old],
            },
        )
    rows = [(a, span) for _, a in touched if a.respanned for span in a.spans]
    insert_rows(
        context.connection,
        award_amounts,
        {
            "award": [a.id for a, _ in rows],
            "revision": [a.revision for a, _ in rows],
            "starts": [span.starts for _, span in rows],
            "ends": [span.ends for _, span in rows],
            "amount_minor": [span.amount for _, span in rows],
            "audit": [context.audit] * len(rows),
        },
    )


def _write_lumps(context: Context, new: Sequence[tuple[Case, Lump]]) -> None:
    insert_rows(
        context.connection,
        lumps,
        {
            "accident": [case.id for case, _ in new],
            "award": [lump.award for _, lump in new],
            "person": [lump.person for _, lump in new],
            "kind": [lump.kind for _, lump in new],
            "scheme": [case.scheme for case, _ in new],
            "package_version": [case.version for case, _ in new],
            "due_on": [lump.due_on for _, lump in new],
            "days": [lump.days for _, lump in new],
            "amount_minor": [lump.amount_minor for _, lump in new],
            "currency": [case.currency for case, _ in new],
            "steps": [steps_json(lump.steps) for _, lump in new],
            "audit": [context.audit] * len(new),
        },
    )


def new_award_ids(context: Context, count: int) -> list[int]:
    """Fresh numbers of awards, known before they are written."""
    return take_ids(context.connection, awards, count)


def steps_json(steps: Steps) -> str:
    """Steps as the document that is kept."""
    return msgspec.json.encode(steps).decode()


def _steps(document: Any) -> Steps:
    return tuple((name, value) for name, value in document)


def _fraction(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


def _of(table: sa.Table, wanted: Any) -> sa.Select[Any]:
    return sa.select(table).where(table.c.accident == wanted)


def _any(numbers: Iterable[int]) -> Any:
    return sa.any_(sa.literal(sorted(set(numbers)), ARRAY(sa.BigInteger)))
