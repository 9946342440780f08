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
from imis_core.simulation.judging import judge_again, parts_of, read_covers, rules_of
from imis_core.simulation.proposing import Proposal, propose
from imis_core.simulation.reading import read_heads, read_past
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
    compared = _compared(context, asked, proposal)
    quoted = quote_again(context, proposal, asked.from_, asked.to) if asked.contributions else None
    if isinstance(quoted, Refusal):
        return quoted
    return _result(asked, compared, quoted)


def _compared(context: Context, asked: Simulate, proposal: Proposal) -> Compare:
    """The claims of the period judged and valued twice, in parts that have nothing in common."""
    heads = read_heads(context, asked.scheme, asked.from_, asked.to)
    covers = read_covers(context, proposal.in_force, asked.scheme, heads)
    compared = Compare(proposal.versions, _DONE, proposal.currency)
    for part in parts_of(heads, covers):
        past = read_past(context, heads.claim[part])
        of_part = [covers[position] for position in part.tolist()]
        results: list[Valued] = []
        for kind in (proposal.in_force, proposal.proposed):
            rules = rules_of(context, kind, past, of_part)
            judged = judge_again(context, asked.scheme, asked.from_, past, rules)
            results.append(value_again(context, asked.scheme, asked.from_, past, rules, judged))
        compared.add(context, past, of_part, results[0], results[1])
    return compared


def _result(asked: Simulate, compared: Compare, quoted: Quoted | None) -> Simulated:
    whole = compared.all()
    return Simulated(
        scheme=asked.scheme, package=asked.package, from_=asked.from_, to=asked.to,
        claims=compared.claims, lines=compared.lines,
        actual=compared.money(compared.actual_minor), like_for_like=compared.money(compared.alike_minor),
        before=whole.before, after=whole.after, difference=compared.money(whole.after.minor - whole.before.minor),
        by_category=whole.by_category, by_level=whole.by_level, by_month=whole.by_month, by_age=whole.by_age,
        by_sex=whole.by_sex, rejections=whole.rejections, ceilings=whole.ceilings,
        families=compared.families(None if quoted is None else quoted.dues),
        contributions=None if quoted is None else break_even(quoted, whole.after.minor, whole.after.currency),
    )  # fmt: skip


QUERIES: Final = (simulate,)
