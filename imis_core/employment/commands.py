"""Commands of employment: employers, and the spells of persons with them. Wages are declared in `wages`.

Source: contract-kernel.md, 'Employment'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, evolve, frozen

from imis_core.beneficiaries.lookup import PersonRow, resolve_persons
from imis_core.beneficiaries.memberships import person_reference
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning, insert_rows, take_ids
from imis_core.employment.lookup import EmployerRow, Spell, lock_employers, resolve_employers, spells_of
from imis_core.employment.tables import employers, employments
from imis_core.employment.wages import declare_wages
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.naming import problems_of_texts
from imis_core.places.commands import closed_refusal
from imis_core.places.lookup import resolve_locations
from imis_core.states import StateTable
from imis_core.values import Amount, NotExact, to_minor

NOUN: Final = "employments"
RUNNING: Final = "running"
ENDED: Final = "ended"
EMPLOYMENT: Final = StateTable("employment", {RUNNING: (ENDED,), ENDED: ()})


@frozen(kw_only=True)
class RegisterEmployer:
    """`class_`: the sector or class of risk by which the scheme's contribution rates may differ."""

    scheme: str
    code: str
    name: str
    class_: str | None = None
    location: str | None = None


@frozen(kw_only=True)
class EmployerResult:
    id: str
    code: str


@command("employment.register_employer", input=RegisterEmployer, result=EmployerResult)
def register_employer(context: Context, items: tuple[RegisterEmployer, ...]) -> list[EmployerResult | Refusal]:
    """Register an employer; its code is unique in the deployment."""
    locations = resolve_locations(context, {i.location for i in items if i.location is not None}, within_scope=True)
    outcomes: list[Any] = [None] * len(items)
    chosen: list[int] = []
    seen: set[str] = set()
    for position, item in enumerate(items):
        kind = scheme_type(context, item.scheme)
        problems = problems_of_texts({"code": item.code, "class": item.class_}, {"name": item.name})
        location = None if item.location is None else locations.get(item.location)
        if isinstance(kind, Refusal):
            outcomes[position] = kind
        elif problems:
            outcomes[position] = invalid(*problems)
        elif item.location is not None and location is None:
            outcomes[position] = not_found("location", "location", item.location)
        elif location is not None and location.closed_on is not None and location.closed_on <= context.today:
            outcomes[position] = closed_refusal("location", location)
        elif location is None and not context.caller.everywhere:
            message = "name a location of yours; an employer without one is registered by who sees everything"
            outcomes[position] = invalid(Problem("location", "required", message))
        elif item.code in seen:
            outcomes[position] = _code_taken(item.code)
        else:
            seen.add(item.code)
            chosen.append(position)
    written = insert_returning(
        context.connection,
        employers,
        {
            "scheme": [items[p].scheme for p in chosen],
            "code": [items[p].code for p in chosen],
            "name": [items[p].name for p in chosen],
            "class": [items[p].class_ for p in chosen],
            "place": [None if (at := items[p].location) is None else locations[at].id for p in chosen],
            "registered_on": [context.today] * len(chosen),
        },
        conflict="(code) DO NOTHING",
        returning="code, id",
    )
    numbers = {row.code: row.id for row in written}
    for position in chosen:
        code = items[position].code
        outcomes[position] = (
            EmployerResult(id=context.ids.encode("employers", numbers[code]), code=code)
            if code in numbers
            else _code_taken(code)
        )
    return outcomes


def _code_taken(code: str) -> Refusal:
    return Refusal("employment.duplicate_code", f"there is an employer {code!r} already; choose another code")


@frozen(kw_only=True)
class RegisterEmployment:
    """`from_` and `to` are the first and the last day; `wage` is that of a month, as agreed."""

    employer: str
    person: str | None = None
    number: str | None = None
    from_: date
    to: date | None = None
    wage: Amount | None = None


@frozen(kw_only=True)
class EmploymentResult:
    id: str


@command("employment.register", input=RegisterEmployment, result=EmploymentResult)
def register(context: Context, items: tuple[RegisterEmployment, ...]) -> list[EmploymentResult | Refusal]:
    """Register a person's employment; two spells with one employer never share a day."""
    names = [person_reference(item) for item in items]
    known = resolve_employers(context, {item.employer for item in items})
    people = resolve_persons(context, {n for n in names if isinstance(n, str)})
    lock_employers(context, [row.id for row in known.values()])
    pairs = [
        (known[item.employer].id, people[name].id)
        for item, name in zip(items, names, strict=True)
        if isinstance(name, str) and item.employer in known and name in people
    ]
    spells = spells_of(context, pairs)
    outcomes: list[Any] = []
    new: list[tuple[int, Spell]] = []
    for position, (item, name) in enumerate(zip(items, names, strict=True)):
        judged = name if isinstance(name, Refusal) else _new_spell(context, item, name, known, people, spells)
        outcomes.append(judged)
        if isinstance(judged, Spell):
            spells[judged.employer, judged.person].append(judged)
            new.append((position, judged))
    numbers = take_ids(context.connection, employments, len(new))
    insert_rows(
        context.connection,
        employments,
        {
            "id": numbers,
            "employer": [s.employer for _, s in new],
            "person": [s.person for _, s in new],
            "scheme": [known[items[p].employer].scheme for p, _ in new],
            "starts": [s.starts for _, s in new],
            "ends": [s.ends for _, s in new],
            "wage_minor": [s.wage_minor for _, s in new],
            "currency": [s.currency for _, s in new],
        },
    )
    for (position, _), identity in zip(new, context.ids.encode_all(NOUN, numbers), strict=True):
        outcomes[position] = EmploymentResult(id=identity)
    return outcomes


def _new_spell(
    context: Context,
    item: RegisterEmployment,
    name: str,
    known: Mapping[str, EmployerRow],
    people: Mapping[str, PersonRow],
    spells: Mapping[tuple[int, int], Sequence[Spell]],
) -> Spell | Refusal:
    """The spell to be written, or why there is none."""
    employer, person = known.get(item.employer), people.get(name)
    if employer is None:
        return not_found("employer", "employer", item.employer)
    if person is None:
        return not_found("number" if item.person is None else "person", "person", name)
    problems = []
    if item.to is not None and item.to < item.from_:
        problems.append(Problem("to", "order", f"the last day {item.to} is before the first ({item.from_})"))
    if person.death_date is not None and item.from_ > person.death_date:
        problems.append(Problem("from", "order", f"{person.number} died on {person.death_date}"))
    if item.from_ < person.birth_date:
        problems.append(Problem("from", "order", f"{person.number} was born on {person.birth_date}"))
    currency = context.settings.currency_of(employer.scheme)
    wage = None
    if item.wage is not None:
        try:
            wage = to_minor(item.wage, currency)
        except NotExact as error:
            problems.append(Problem("wage", "not_exact", str(error)))
    if problems:
        return invalid(*problems)
    last = item.to or date.max
    for spell in spells[employer.id, person.id]:
        if spell.meets(item.from_, last):
            until = "goes on" if spell.ends is None else f"lasts until {spell.ends}"
            return Refusal(
                "employment.overlap",
                f"{person.number} is with {employer.code!r} since {spell.starts}, and that {until}; "
                "end it first, or begin after it",
            )
    return Spell(0, employer.id, person.id, item.from_, item.to, wage, currency)


@frozen(kw_only=True)
class EndEmployment:
    """`on`: the last day of the employment."""

    employment: str
    on: date


@frozen(kw_only=True)
class EmploymentEnded:
    id: str
    from_: date
    to: date


@define
class _Ending:
    """A spell as the items of the batch so far leave it."""

    spell: Spell
    changed: bool = False


@command("employment.end", input=EndEmployment, result=EmploymentEnded)
def end(context: Context, items: tuple[EndEmployment, ...]) -> list[EmploymentEnded | Refusal]:
    """End an employment: `on` is its last day, which still counts as employed."""
    numbers = [context.ids.decode(NOUN, item.employment) for item in items]
    e = employments.c
    named = sa.and_(
        e.id == any_of([n for n in numbers if n is not None]),
        context.scoped(employments),
    )
    # The employers first, as every command of theirs does; an employment never changes its employer.
    lock_employers(context, context.execute(sa.select(e.employer).where(named)).scalars().all())
    rows: Iterable[Any] = context.execute(
        sa.select(e.id, e.employer, e.person, e.starts, e.ends, e.wage_minor, e.currency)
        .where(named)
        .order_by(e.id)
        .with_for_update()
    )
    found = {row.id: _Ending(Spell(*row)) for row in rows}
    outcomes: list[EmploymentEnded | Refusal] = []
    for item, number in zip(items, numbers, strict=True):
        ending = None if number is None else found.get(number)
        if ending is None:
            outcomes.append(not_found("employment", "employment", item.employment))
            continue
        refusal = _cannot_end(context, item, ending.spell)
        if refusal is not None:
            outcomes.append(refusal)
            continue
        ending.spell, ending.changed = evolve(ending.spell, ends=item.on), True
        outcomes.append(EmploymentEnded(id=item.employment, from_=ending.spell.starts, to=item.on))
    changed = [ending.spell for ending in found.values() if ending.changed]
    if changed:
        context.execute(_END, {"id": [s.id for s in changed], "ends": [s.ends for s in changed]})
    return outcomes


_END = sa.text(
    "UPDATE core.employments AS e SET ends = n.ends "
    "FROM unnest(CAST(:id AS bigint[]), CAST(:ends AS date[])) AS n(id, ends) WHERE e.id = n.id"
)


def _cannot_end(context: Context, item: EndEmployment, spell: Spell) -> Refusal | None:
    if item.on > context.today:
        return invalid(Problem("on", "future", f"{item.on} lies in the future; today is {context.today}"))
    if item.on < spell.starts:
        return invalid(Problem("on", "order", f"the employment begins on {spell.starts}; it ends on that day or later"))
    if spell.ends is not None and spell.ends <= item.on:
        return EMPLOYMENT.refusal(f"the employment that lasts until {spell.ends}", ENDED, ENDED)
    return None


COMMANDS = (register_employer, register, end, declare_wages)
