"""The query `claims.simulate`: what past claims and contributions would be under a proposed package.

It runs as the reading role in a read-only transaction: nothing can be written, whatever a mistake here might try.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.claims.states import NUMBERS, PAID, VALUATED
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid
from imis_core.queries import query
from imis_core.simulation.comparing import Ceilings, Compare, Compared, Families, Refused
from imis_core.simulation.contributions import Contributions, Quoted, break_even, quote_again
from imis_core.simulation.judging import judge_again, read_covers, rules_of
from imis_core.simulation.proposing import propose
from imis_core.simulation.reading import Past, read_past
from imis_core.simulation.valuing import Valued, value_again
from imis_core.values import Money


@frozen(kw_only=True)
class Simulate:
    """`package`: the code of the package that the proposal would replace; `from_` and `to` bound target dates.

    `contributions`: also quote the policies that began in the period.
    """

    scheme: str
    package: str
    terms: dict[str, Any]
    from_: date
    to: date
    contributions: bool = False


@frozen(kw_only=True)
class Simulated:
    """`before` and `after`: the claims of persons with the package, judged and valued in order of target date and code,
    under the terms in force and under the proposal. `actual`: what their valuated and paid claims really come to;
    `like_for_like`: what `before` makes of just those. The two differ where claims came in another order than that of
    their days, or where something changed since."""

    scheme: str
    package: str
    from_: date
    to: date
    claims: int
    lines: int
    actual: Money
    like_for_like: Money
    before: Money
    after: Money
    difference: Money
    by_category: tuple[Compared, ...]
    by_level: tuple[Compared, ...]
    by_month: tuple[Compared, ...]
    by_age: tuple[Compared, ...]
    by_sex: tuple[Compared, ...]
    rejections: tuple[Refused, ...]
    ceilings: Ceilings
    families: Families
    contributions: Contributions | None


_READ_ONLY: Final = sa.text("SET TRANSACTION READ ONLY")
_DONE: Final = frozenset({NUMBERS[VALUATED], NUMBERS[PAID]})


@query("claims.simulate", input=Simulate, result=Simulated)
def simulate(context: Context, asked: Simulate) -> Simulated | Refusal:
    """Value the claims of a period under a proposed package, beside the one in force; nothing is written."""
    context.execute(_READ_ONLY)
    if asked.to < asked.from_:
        return invalid(Problem("to", "range", "the period ends before it begins"))
    if not context.caller.everywhere:
        message = "a simulation looks at every claim of the scheme; only a role of scope all asks for it"
        return Refusal("permission.denied", message)
    proposal = propose(context, asked.scheme, asked.package, asked.terms)
    if isinstance(proposal, Refusal):
        return proposal
    past = read_past(context, asked.scheme, asked.from_, asked.to)
    covers = read_covers(context, proposal.in_force, asked.scheme, past)
    results: list[Valued] = []
    for kind in (proposal.in_force, proposal.proposed):
        rules = rules_of(context, kind, past, covers)
        judged = judge_again(context, asked.scheme, asked.from_, past, rules)
        results.append(value_again(context, asked.scheme, asked.from_, past, rules, judged))
    compared = Compare(past, covers, proposal.versions, results[0], results[1], proposal.currency)
    quoted = quote_again(context, proposal, asked.from_, asked.to) if asked.contributions else None
    if isinstance(quoted, Refusal):
        return quoted
    return _result(context, asked, past, compared, quoted)


def _result(context: Context, asked: Simulate, past: Past, compared: Compare, quoted: Quoted | None) -> Simulated:
    whole = compared.all()
    actual = _actual(past)
    done = [number for number in compared.chosen if past.claims[number].state in _DONE]
    chosen = set(compared.chosen)
    return Simulated(
        scheme=asked.scheme, package=asked.package, from_=asked.from_, to=asked.to,
        claims=len(compared.chosen), lines=sum(1 for claim in past.lines["claim"].tolist() if claim in chosen),
        actual=compared.money(sum(actual[number] for number in done)),
        like_for_like=compared.money(sum(compared.cost_before[number] for number in done)),
        before=whole.before, after=whole.after, difference=compared.money(whole.after.minor - whole.before.minor),
        by_category=whole.by_category, by_level=whole.by_level, by_month=whole.by_month, by_age=whole.by_age,
        by_sex=whole.by_sex, rejections=whole.rejections, ceilings=whole.ceilings,
        families=compared.families(context, None if quoted is None else quoted.dues),
        contributions=None if quoted is None else break_even(quoted, whole.after.minor, whole.after.currency),
    )  # fmt: skip


def _actual(past: Past) -> list[int]:
    total = [0] * len(past.claims)
    for claim, payable in zip(past.lines["claim"].tolist(), past.lines["payable"].tolist(), strict=True):
        total[claim] += payable
    return total


QUERIES: Final = (simulate,)
