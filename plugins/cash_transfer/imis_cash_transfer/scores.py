"""The proxy means test: scores of all households or persons of a package in one statement, exact and explained.

Sums are exact numbers of the database. What ratios divide by is kept as one common denominator beside the sum, so that
nothing is cut before the one rounding at the end. Source: contract-cash-transfer.md, 'Score'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY, array

from imis_cash_transfer.columns import Sql, apart
from imis_cash_transfer.score_terms import (
    Banded,
    ByArea,
    Continuous,
    Equals,
    Lookup,
    Ratio,
    Score,
    Variable,
    YesNo,
    literal_of,
)
from imis_cash_transfer.tables import score_current, scores
from imis_cash_transfer.targets import (
    Target,
    any_of,
    key_array,
    lock_packages,
    registered,
    resolve_targets,
    rows_about,
)
from imis_core.api import Context, Criteria, Problem, Refusal, command, equals, insert_rows, invalid, take_ids

MEMBERS: Final = "members"  # what is missing of a household that the caller sees only a part of
STEP_DECIMALS: Final = 30  # shown of what a ratio adds; the score itself is rounded once, from the exact number


@frozen(kw_only=True)
class ScoreAll:
    """Who is scored: everybody registered, or those named."""

    scheme: str
    package: str
    groups: tuple[str, ...] | None = None
    persons: tuple[str, ...] | None = None
    on: date | None = None


@frozen
class ScoreStep:
    name: str
    add: Decimal


@frozen
class ScoreShown:
    beneficiary: str
    score: Decimal
    steps: tuple[ScoreStep, ...]


@frozen
class NotScored:
    """Whose answers are missing, and of which variables (or the score's area).

    `members`: some of the household's live in places that the caller does not see; a score that it has stays.
    """

    beneficiary: str
    missing: tuple[str, ...]


@frozen(kw_only=True)
class Scored:
    scored: int
    refused: int
    scores: tuple[ScoreShown, ...]
    refusals: tuple[NotScored, ...]


@command("targeting.score", input=ScoreAll, result=Scored)
def score(context: Context, items: tuple[ScoreAll, ...]) -> list[Scored | Refusal]:
    """Compute the proxy means test of households or persons; scoring again replaces, and who lacks answers has none."""
    targets = resolve_targets(context, items)
    lock_packages(context, [t.package for t in targets if isinstance(t, Target)])
    return [t if isinstance(t, Refusal) else _score(context, t) for t in targets]


def _score(context: Context, target: Target) -> Scored | Refusal:
    rule = target.terms.score
    if rule is None:
        return invalid(Problem("package", "score", f"the terms of {target.version.code} have no score"))
    rows = rows_about(context, target, score_select(context, target, rule))
    unknown = _unknown_area(rule, {row.area for row in rows})
    if unknown is not None:
        return unknown
    _store(context, target, rows)
    names = [variable.name for variable in rule.variables.items]
    done = [row for row in rows if row.score is not None]
    return Scored(
        scored=len(done),
        refused=len(rows) - len(done),
        scores=tuple(
            ScoreShown(row.code, row.score, tuple(map(ScoreStep, names, map(Decimal, row.adds)))) for row in done
        ),
        refusals=tuple(NotScored(row.code, tuple(row.missing)) for row in rows if row.score is None),
    )


def _unknown_area(rule: Score, areas: set[str | None]) -> Refusal | None:
    """`targeting.unknown_area` if somebody lives in an area that a number of the score does not know."""
    for path, number in rule.numbers():
        lacking = sorted(area for area in areas if area is not None and area not in number.areas)
        if number.areas and lacking:
            return Refusal(
                "targeting.unknown_area",
                f"the score's {path} has no number for the area {lacking[0]!r}; add it in a new version of the terms",
            )
    return None


def _store(context: Context, target: Target, rows: Sequence[Any]) -> None:
    """History grows by the new scores; the current ones of all who were asked about are replaced.

    Of a household with hidden members nothing new is known: its score stays.
    """
    assert target.terms.score is not None
    names = [variable.name for variable in target.terms.score.variables.items]
    done = [row for row in rows if row.score is not None]
    context.execute(
        sa.delete(score_current).where(
            score_current.c.package == target.package,
            score_current.c[target.holder] == any_of(row.id for row in rows if row.whole),
        )
    )
    if not done:
        return
    numbers = take_ids(context.connection, scores, len(done))
    count = len(done)
    common: dict[str, list[Any]] = {
        "package": [target.package] * count,
        target.holder: [row.id for row in done],
        "score": [row.score for row in done],
    }
    insert_rows(
        context.connection,
        scores,
        {
            "id": numbers,
            **common,
            "package_version": [target.version.id] * count,
            "scored_on": [target.on] * count,
            "steps": [msgspec.json.encode(list(zip(names, row.adds, strict=True))).decode() for row in done],
            "audit": [context.audit] * count,
        },
    )
    insert_rows(context.connection, score_current, {"score_row": numbers, **common})


def score_select(context: Context, target: Target, rule: Score) -> sa.Select[Any]:
    """Each registered unit's `id`, `code`, `area`, `score` (NULL: refused), `missing` names and `adds`, by code.

    Not `whole`: the caller sees only some of the household's members.
    """
    answers = _answers(context, target, rule)
    terms = _terms(rule, answers)
    totals = _totals(rule, terms)
    t = totals.c
    value = sa.case((sa.func.cardinality(t.missing) == 0, rounded(t.scaled, t.divisor, rule.decimals, rule.round)))
    return sa.select(t.id, t.code, t.area, value.label("score"), t.whole, t.missing, t.adds).order_by(
        t.code.collate("C")
    )


def _answers(context: Context, target: Target, rule: Score) -> sa.CTE:
    """The answers as they were given: a column per variable (two for a ratio), NULL where missing."""
    only = None if target.only is None or target.terms.unit == "person" else key_array(target.only)
    criteria = Criteria(context, target.terms.unit, sa.literal(target.on, sa.Date), only=only)
    attributes = context.settings.deployment.attributes
    area: Sql = sa.cast(sa.null(), sa.Text) if rule.area is None else criteria.key(rule.area.expression).column
    columns: list[Sql] = [
        target.table.c.id,
        target.code.label("code"),
        area.label("area"),
        criteria.whole().label("whole"),
    ]
    for index, variable in enumerate(rule.variables.items):
        match variable:
            case Equals(of=of):
                literal = literal_of(variable, target.terms.unit, attributes)
                assert literal is not None
                answer = criteria.value(equals(of.expression, literal), "bool").column
            case YesNo(of=of):
                answer = criteria.value(of.expression, "bool").column
            case Lookup(of=of):
                answer = criteria.key(of.expression).column
            case Ratio(over=over, under=under):
                answer = criteria.value(over.expression, "number").column
                columns.append(criteria.value(under.expression, "number").column.label(f"under{index}"))
            case Continuous(of=of) | Banded(of=of):
                answer = criteria.value(of.expression, "number").column
        columns.append(answer.label(f"answer{index}"))
    select = sa.select(*columns).select_from(criteria.from_clause()).where(registered(context, target))
    return apart(select)


def _terms(rule: Score, answers: sa.CTE) -> sa.CTE:
    """What each variable adds (`add`, over `by` for a ratio), and whether its answer is missing."""
    columns: list[Sql] = [
        answers.c.id, answers.c.code, answers.c.area, answers.c.whole,
        _number(rule.base, answers.c.area).label("base"), _number(rule.scale, answers.c.area).label("scale"),
    ]  # fmt: skip
    for index, variable in enumerate(rule.variables.items):
        answer, area = answers.c[f"answer{index}"], answers.c.area
        absent: Sql = answer.is_(None)
        by: Sql | None = None
        match variable:
            case Equals(weight=weight) | YesNo(weight=weight):
                add: Sql = sa.case((answer, _number(weight, area)), else_=_exact(0))
            case Continuous(weight=weight):
                add = answer * _number(weight, area)
            case Banded(bands=bands):
                add = sa.case(
                    *((_within(answer, band.from_, band.to), _number(band.add, area)) for band in bands),
                    else_=_exact(0),
                )
            case Lookup(table=table):
                absent = sa.func.coalesce(answer.not_in(list(table)), sa.true())
                add = sa.case(*((answer == key, _number(number, area)) for key, number in table.items()))
            case Ratio(weight=weight, under_min=least):
                under = answers.c[f"under{index}"]
                absent = sa.or_(absent, under.is_(None))
                add = answer * _number(weight, area)
                by = sa.case((absent, _exact(1)), else_=sa.func.greatest(under, _exact(least)))
        stated = rule.policy(variable).add
        instead = _exact(0) if stated is None else _number(stated, area)
        columns += [absent.label(f"absent{index}"), sa.case((absent, instead), else_=add).label(f"add{index}")]
        if by is not None:
            columns.append(by.label(f"by{index}"))
    return apart(sa.select(*columns))


def _totals(rule: Score, terms: sa.CTE) -> sa.CTE:
    """The scaled sum as one fraction, `scaled` over `divisor`; whose answers are missing; what each variable added."""
    variables = list(enumerate(rule.variables.items))
    plain = [terms.c[f"add{i}"] for i, v in variables if not isinstance(v, Ratio)]
    total, divisor = _sum([terms.c.base, *plain]), _exact(1)
    for index, variable in variables:
        if isinstance(variable, Ratio):
            by = terms.c[f"by{index}"]
            total, divisor = total * by + terms.c[f"add{index}"] * divisor, divisor * by
    missing: list[Sql] = [
        sa.case((terms.c[f"absent{index}"], sa.literal(variable.name, sa.Text)))
        for index, variable in variables
        if rule.policy(variable).add is None
    ]
    if rule.area is not None and any(number.areas for _, number in rule.numbers()):
        missing.insert(0, sa.case((terms.c.area.is_(None), sa.literal(rule.area.text, sa.Text))))
    lacking = sa.func.array_remove(
        sa.cast(array(missing) if missing else sa.literal([], ARRAY(sa.Text)), ARRAY(sa.Text)), sa.null(),
        type_=ARRAY(sa.Text),
    )  # fmt: skip
    hidden = sa.cast(array([sa.literal(MEMBERS, sa.Text)]), ARRAY(sa.Text))
    adds = [_shown(variable, terms.c[f"add{i}"], terms.c.get(f"by{i}")) for i, variable in variables]
    return apart(
        sa.select(
            terms.c.id, terms.c.code, terms.c.area,
            (terms.c.scale * total).label("scaled"), divisor.label("divisor"),
            terms.c.whole, sa.case((terms.c.whole, lacking), else_=hidden).label("missing"),
            sa.cast(array(adds), ARRAY(sa.Text)).label("adds"),
        )
    )  # fmt: skip


def rounded(over: Sql, under: Sql, decimals: int, how: str) -> Sql:
    """over / under (above 0) rounded once to `decimals` places; `div` and `mod` of the database are exact."""
    wanted = sa.func.abs(over) * _exact(10**decimals)
    match how:
        case "half_up":
            whole: Sql = sa.func.div(2 * wanted + under, 2 * under)
        case "down":
            whole = sa.func.div(wanted, under)
        case _:
            whole = sa.func.div(wanted, under) + sa.case((sa.func.mod(wanted, under) > 0, 1), else_=0)
    scaled = sa.func.sign(over) * whole * _exact(Decimal(1).scaleb(-decimals))
    return sa.cast(sa.func.round(scaled, decimals), sa.Numeric)


def _shown(variable: Variable, add: Sql, by: Sql | None) -> Sql:
    value = add if by is None else rounded(add, by, STEP_DECIMALS, "half_up")
    return sa.cast(sa.func.trim_scale(value), sa.Text)


def _within(answer: Sql, low: Decimal | None, high: Decimal | None) -> Sql:
    return sa.and_(
        sa.true() if low is None else answer >= _exact(low), sa.true() if high is None else answer <= _exact(high)
    )


def _number(number: ByArea, area: Sql) -> Sql:
    """A number of the terms as exact SQL; NULL in an area without one (the command is refused for it)."""
    if number.one is not None:
        return _exact(number.one)
    return sa.case(*((area == name, _exact(value)) for name, value in number.areas.items()))


def _exact(value: Decimal | int) -> Sql:
    return sa.cast(sa.literal(Decimal(value), sa.Numeric), sa.Numeric)


def _sum(values: Sequence[Sql]) -> Sql:
    """A sum in pairs: a long row of additions does not nest deeply."""
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    return _sum(values[:middle]) + _sum(values[middle:])


COMMANDS = (score,)
__all__ = ["COMMANDS", "rounded", "score_select"]
