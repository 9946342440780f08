"""Judged lines valued under given rules, by the same columns as `claims.process`.

Counters begin with what claims before the period took, as they were paid. It reads and computes; it writes nothing.
Source: health_insurance.md 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from attrs import frozen

from imis_core.claims.states import VOID_NUMBERS
from imis_core.claims.stored_lines import read_lines
from imis_core.context import Context
from imis_core.database.numbers import Ints
from imis_core.eligibility.drawing import ClaimColumns, LinesToValue, plan_valuation
from imis_core.eligibility.terms import LineTerms, TermsKey
from imis_core.eligibility.usage import UsageKey
from imis_core.eligibility.valuation import SHARE_WHOLE
from imis_core.simulation.judging import NO_REJECTION, Judgement, Rules
from imis_core.simulation.reading import Past

_EARLIER: Final = sa.text(
    """
    SELECT c.id, c.target_date, c.from_date <> c.to_date AS overnight, c.visit_type, c.category,
           coalesce(p.merged_into, p.id) AS person, c.adult, c.facility_level, t.valuation
    FROM core.claims c JOIN core.claim_current t ON t.claim = c.id JOIN core.persons p ON p.id = c.person
    WHERE c.scheme = :scheme AND c.target_date < :starts AND t.valuation > 0 AND t.state <> ALL(:void)
      AND (EXISTS (SELECT FROM core.claim_line_checks k WHERE k.claim = c.id AND k.cover = ANY(:covers))
           OR EXISTS (SELECT FROM core.claim_line_reviews v WHERE v.claim = c.id AND v.review = t.review
                      AND v.cover = ANY(:covers)))
    ORDER BY c.target_date, c.code
    """
)


@frozen
class Valued:
    """Of every line, in the order of `Past`: what is paid, what lies above the ceiling, the rejection (0: passed)."""

    payable: Ints
    above: Ints
    deducted: Ints
    rejection: Ints


def value_again(context: Context, scheme: str, starts: date, past: Past, rules: Rules, judged: Judgement) -> Valued:
    """The amounts of all lines under these rules, valued together in order of target date and code."""
    passed = np.flatnonzero(judged.rejection == NO_REJECTION)
    columns = past.lines
    # Products before services, as entered.
    order = passed[np.lexsort((columns["line"][passed], columns["service"][passed], columns["claim"][passed]))]
    count = len(columns["claim"])
    payable, above, deducted = (np.zeros(count, dtype=np.int64) for _ in range(3))
    if len(order):
        covers = [cover for line in order.tolist() if (cover := judged.cover[line]) is not None]
        kinds = sorted({cover.kind for cover in covers})
        of_kind = {kind: position for position, kind in enumerate(kinds)}
        lines = LinesToValue(
            claim=columns["claim"][order],
            item=columns["item"][order],
            claimed_thousandths=columns["asked"][order],
            quantity_thousandths=judged.quantity[order],
            price_minor=columns["price"][order],
            list_price_minor=columns["list_price"][order],
            reviewed_price_minor=columns["reviewed_price"][order],
            kinds=kinds,
            cover_kind=np.array([of_kind[cover.kind] for cover in covers], dtype=np.int64),
            cover=np.array([cover.id for cover in covers], dtype=np.int64),
            package_version=np.array([cover.package_version for cover in covers], dtype=np.int64),
            copayment=judged.copayment[order],
            members=judged.members[order],
            deducted_milli=np.zeros(len(order), dtype=np.int64),
            payable_minor=np.zeros(len(order), dtype=np.int64),
        )
        plan = plan_valuation(_claim_columns(past.claims), lines, rules.terms, rules.limits)
        used = _used_before(context, scheme, starts, rules, {cover.id for cover in covers})
        valued, _ = plan.value(used)
        payable[order], above[order] = valued.payable_minor, valued.above_ceiling_minor
        deducted[order] = valued.deducted_milli
    return Valued(payable, above, deducted, judged.rejection)


def _claim_columns(rows: Sequence[Any]) -> ClaimColumns:
    return ClaimColumns(
        person=np.array([row.person for row in rows], dtype=np.int64),
        visit_type=[row.visit_type for row in rows],
        category=[row.category for row in rows],
        adult=[row.adult for row in rows],
        overnight=[row.overnight for row in rows],
        facility_level=[row.facility_level for row in rows],
        alone=[False] * len(rows),
        again=[False] * len(rows),
    )


class _OrInFull(dict[TermsKey, LineTerms]):
    """Terms in which an item that a package does not name is paid in full: it was paid, whatever is proposed now."""

    def __missing__(self, key: TermsKey) -> LineTerms:
        return LineTerms("pricelist", None, SHARE_WHOLE)


def _used_before(context: Context, scheme: str, starts: date, rules: Rules, covers: set[int]) -> Mapping[UsageKey, int]:
    """What claims before the period took of deductibles and ceilings, by the counters that these rules have."""
    void = list(VOID_NUMBERS)
    rows = context.execute(_EARLIER, {"scheme": scheme, "starts": starts, "covers": sorted(covers), "void": void}).all()
    used: dict[UsageKey, int] = {}
    if rows:
        stored = read_lines(context, [row.id for row in rows], [row.valuation for row in rows])
        plan = plan_valuation(_claim_columns(rows), stored.lines, _OrInFull(rules.terms), rules.limits)
        took_deductible, took_ceiling = stored.lines.deducted_milli, stored.lines.payable_minor
        for drawn, took in ((plan.deductible, took_deductible), (plan.ceiling, took_ceiling)):
            for line, counter in enumerate(drawn.of_line.tolist()):
                key = drawn.keys[counter] if counter >= 0 else None
                if key is not None:
                    used[key] = used.get(key, 0) + int(took[line])
    return used
