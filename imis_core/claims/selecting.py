"""Which claims a medical reviewer sees: chosen when they are taken in, by value, by chance, by how far they lie above
what the diagnosis cost last year, by what plugins add, or by hand. A chosen claim waits for its review.

The settings are a table `review` of the scheme. It judges no claim. Source: health_insurance.md 4 (selection).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core import hookspecs
from imis_core.claims.moving import locked_claims
from imis_core.claims.sampling import ClaimSample, SampleRule
from imis_core.claims.states import CHECKED, VOID_NUMBERS
from imis_core.claims.tables import claim_averages, claim_selections, claims
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_rows
from imis_core.database.engine import set_scope
from imis_core.deployment import ReviewTable
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.jobs import Job
from imis_core.security.caller import system_caller
from imis_core.values import to_minor

VALUE: Final = "value"
RANDOM: Final = "random"
DEVIATION: Final = "deviation"
BY_HAND: Final = "by_hand"
_DRAWS: Final = 2**64  # a draw is a whole number below


def draw(context: Context, purpose: str, claim: int) -> Fraction:
    """A number from 0 to below 1 for a claim: always the same, not to be guessed without the deployment's key."""
    return Fraction(int(context.ids.seal(f"{purpose} {claim}")[:16], 16), _DRAWS)


def drawn(context: Context, purpose: str, numbers: Sequence[int], percent: Decimal) -> list[int]:
    """Of these claims the share that chance chooses."""
    share = Fraction(percent) / 100
    return [number for number in numbers if draw(context, purpose, number) < share]


_WAIT: Final = sa.text(
    "UPDATE core.claim_current SET awaits_review = true "
    "WHERE claim = ANY(CAST(:claims AS bigint[])) AND NOT awaits_review"
)


def select_claims(context: Context, scheme: str, numbers: Sequence[int]) -> None:
    """Choose among claims of a scheme that have just passed their checks; nothing where nobody says how."""
    if not numbers:
        return
    batch = claims.alias("claims_taken_in")
    rules = _rules(context, scheme, batch, numbers)
    if not rules:
        return
    chosen = any_of(numbers)
    selects = [
        sa.select(batch.c.id, sa.literal(rule.reason, sa.Text), sa.literal(context.audit, sa.BigInteger)).where(
            batch.c.id == chosen, rule.condition
        )
        for rule in rules
    ]
    limited = not context.caller.everywhere
    if limited:  # what is compared may lie beyond what the submitter sees
        set_scope(context.connection, system_caller())
    found = context.execute(
        sa.insert(claim_selections)
        .from_select(["claim", "reason", "audit"], sa.union_all(*selects))
        .returning(claim_selections.c.claim)
    ).scalars()
    waiting = sorted(set(found))
    if limited:
        set_scope(context.connection, context.caller)
    if waiting:
        context.execute(_WAIT, {"claims": waiting})


def _rules(context: Context, scheme: str, batch: Any, numbers: Sequence[int]) -> list[SampleRule]:
    table = context.settings.schemes[scheme].review
    currency = context.settings.currency_of(scheme)
    rules = [] if table is None else _own_rules(context, table, currency, batch, numbers)
    sample = ClaimSample(scheme, currency, context.today, batch, context)
    for plugin in context.app.speaking(hookspecs.imis_claim_sample_sql, scheme):
        rules += context.app.plugins.call_plugin(plugin, hookspecs.imis_claim_sample_sql, sample)
    return rules


def _own_rules(
    context: Context, table: ReviewTable, currency: str, batch: Any, numbers: Sequence[int]
) -> list[SampleRule]:
    rules = []
    if table.above is not None:
        rules.append(SampleRule(VALUE, batch.c.claimed_minor > to_minor(table.above, currency)))
    if table.share is not None:
        by_chance = drawn(context, "claims.review", numbers, table.share)
        rules.append(SampleRule(RANDOM, batch.c.id == any_of(by_chance)))
    if table.deviation is not None:
        rules.append(SampleRule(DEVIATION, _deviates(batch, table.deviation)))
    return rules


def _deviates(batch: Any, percent: int) -> sa.ColumnElement[bool]:
    """More than so many percent above the average that claims of this diagnosis asked in the calendar year before."""
    a = claim_averages.c
    asked = sa.cast(batch.c.claimed_minor, sa.Numeric) * a.claims * 100
    return sa.exists().where(
        a.scheme == batch.c.scheme,
        a.diagnosis == batch.c.diagnosis,
        a.year == sa.extract("year", batch.c.target_date) - 1,
        asked > sa.cast(a.claimed_minor, sa.Numeric) * (100 + percent),
    )


@frozen(kw_only=True)
class SelectClaim:
    claim: str
    reason: str


@frozen(kw_only=True)
class SelectedClaim:
    code: str
    awaits_review: bool


@command("claims.select_for_review", input=SelectClaim, result=SelectedClaim)
def select_for_review(context: Context, items: tuple[SelectClaim, ...]) -> list[SelectedClaim | Refusal]:
    """Choose checked claims for medical review by hand, with a reason; they wait for it."""
    known = locked_claims(context, [item.claim for item in items])
    outcomes: list[SelectedClaim | Refusal] = []
    chosen: dict[int, str] = {}
    for item in items:
        claim = known.get(item.claim)
        if claim is None:
            outcomes.append(not_found("claim", "claim", item.claim))
        elif not item.reason.strip():
            outcomes.append(invalid(Problem("reason", "required", "say why the claim is to be reviewed")))
        elif claim.state != CHECKED:
            message = f"the claim {claim.code!r} is {claim.state}; only a checked claim is reviewed"
            outcomes.append(Refusal("claims.wrong_state", message))
        else:
            chosen.setdefault(claim.id, item.reason.strip())
            outcomes.append(SelectedClaim(code=claim.code, awaits_review=True))
    if chosen:
        insert_rows(
            context.connection,
            claim_selections,
            {
                "claim": list(chosen),
                "reason": [BY_HAND] * len(chosen),
                "note": list(chosen.values()),
                "audit": [context.audit] * len(chosen),
            },
        )
        context.execute(_WAIT, {"claims": sorted(chosen)})
    return outcomes


@frozen
class AverageClaims:
    """The input of the job: nothing; it goes by the clock."""


_FORGET: Final = sa.text("DELETE FROM core.claim_averages WHERE scheme = ANY(:schemes) AND year = ANY(:years)")
_AVERAGE: Final = sa.text(
    """
    INSERT INTO core.claim_averages (scheme, year, diagnosis, claims, claimed_minor)
    SELECT c.scheme, y.year, c.diagnosis, count(*), sum(c.claimed_minor)
    FROM unnest(CAST(:years AS int[])) AS y(year)
    JOIN core.claims c ON c.target_date BETWEEN make_date(y.year, 1, 1) AND make_date(y.year, 12, 31)
    JOIN core.claim_current t ON t.claim = c.id
    WHERE c.scheme = ANY(:schemes) AND t.state <> ALL(:void) GROUP BY 1, 2, 3
    """
)


def average_claims(app: Any, _: AverageClaims) -> None:
    """What claims asked on average by diagnosis, this year and last year; claims that came late are counted anew."""
    schemes = sorted(
        code
        for code, table in app.settings.schemes.items()
        if table.review is not None and table.review.deviation is not None
    )
    if not schemes:
        return
    with app.database.command(app.system) as (connection, _audit):
        years = [app.clock.today().year - 1, app.clock.today().year]
        connection.execute(_FORGET, {"schemes": schemes, "years": years})
        connection.execute(_AVERAGE, {"schemes": schemes, "years": years, "void": list(VOID_NUMBERS)})


AVERAGES: Final = Job(
    "core.average_claims",
    AverageClaims,
    average_claims,
    "What claims asked on average by diagnosis, for the selection by deviation",
    daily=True,
)
COMMANDS: Final = (select_for_review,)
JOBS: Final = (AVERAGES,)
