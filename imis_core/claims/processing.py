"""Valuation of checked claims: read a chunk, plan it in columns, lock the counters, value it, write what came out.

A chunk is a fixed number of statements. Claims are taken by target date, then code; counters are locked in the order of
their keys, so that two workers never both spend the last unit. What is computed is in `eligibility.drawing` and
`eligibility.valuation`, which read and write nothing. Source: health_insurance.md 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from imis_core.claims.counters import lock_usage, write_usage
from imis_core.claims.inputs import ProcessedClaims
from imis_core.claims.states import CHECKED, CLAIM_STATES, NAMES, NUMBERS, VALUATED
from imis_core.claims.stored_lines import StoredLines, read_lines
from imis_core.claims.tables import claim_results, claim_states, claim_valuations, claims
from imis_core.context import Context
from imis_core.database.numbers import Ints, insert_numbers
from imis_core.eligibility.drawing import ClaimColumns, Plan, plan_valuation
from imis_core.eligibility.terms import read_rules
from imis_core.eligibility.valuation import MILLI, ValuedColumns
from imis_core.errors import Refusal, not_found
from imis_core.ledger.book import EXPENSE, PAYABLE, post

# States from which claims are valuated. The state table also knows the way back from paid: a returned payment takes it.
VALUED_FROM: Final = (CHECKED, VALUATED)
CHUNK: Final = 20_000  # claims held in memory at once; about 100 MB with five lines each

_COLUMNS: Final = """
    c.id, c.target_date, c.from_date <> c.to_date AS overnight, c.visit_type, c.category, c.person, c.adult,
    c.facility_level, t.version, t.valuation, t.state, t.awaits_review
    FROM core.claim_current t JOIN core.claims c ON c.id = t.claim
"""
_CHECKED_CLAIMS: Final = sa.text(
    f"SELECT {_COLUMNS} WHERE t.scheme = :scheme AND t.state = :checked AND NOT t.awaits_review "
    "ORDER BY c.target_date, c.code LIMIT :chunk FOR UPDATE OF t"
)
_CHECKED_AMONG: Final = sa.text(
    f"SELECT {_COLUMNS} WHERE t.claim = ANY(:claims) AND t.scheme = :scheme AND t.state = :checked "
    "AND NOT t.awaits_review ORDER BY c.target_date, c.code FOR UPDATE OF t"
)
_NAMED_CLAIMS: Final = sa.text(
    f"SELECT {_COLUMNS} WHERE t.claim = ANY(:claims) ORDER BY c.target_date, c.code FOR UPDATE OF t"
)
_MOVE: Final = sa.text(
    """
    UPDATE core.claim_current t SET state = :state, version = n.version, valuation = n.valuation
    FROM unnest(CAST(:claims AS bigint[]), CAST(:versions AS int[]), CAST(:valuations AS int[]))
         AS n(claim, version, valuation)
    WHERE t.claim = n.claim
    """
)


def process_scheme(context: Context, scheme: str, names: Sequence[str] | None) -> ProcessedClaims | Refusal:
    """Valuate all checked claims of a scheme, or the named ones."""
    if names is not None:
        rows = _named(context, scheme, names)
        if isinstance(rows, Refusal):
            return rows
        done = _value_chunk(context, scheme, rows)
    else:
        done, rows = 0, _checked(context, scheme)
        while rows:
            done += _value_chunk(context, scheme, rows)
            rows = _checked(context, scheme) if len(rows) == CHUNK else []
    return _processed(context, scheme, done)


def _processed(context: Context, scheme: str, done: int) -> ProcessedClaims:
    if done:
        context.emit(
            "claims_valuated", scheme, {"scheme": scheme, "audit": context.audit, "claims": done}, scheme=scheme
        )
    return ProcessedClaims(processed=done, valuated=done, rejected=0)


def process_checked(context: Context, scheme: str, numbers: Sequence[int]) -> ProcessedClaims:
    """Valuate those of the claims that are still checked; what somebody else has processed meanwhile is left alone."""
    rows = context.execute(
        _CHECKED_AMONG, {"claims": list(numbers), "scheme": scheme, "checked": NUMBERS[CHECKED]}
    ).all()
    return _processed(context, scheme, _value_chunk(context, scheme, rows))


def _checked(context: Context, scheme: str) -> Sequence[Any]:
    return context.execute(_CHECKED_CLAIMS, {"scheme": scheme, "checked": NUMBERS[CHECKED], "chunk": CHUNK}).all()


def _named(context: Context, scheme: str, names: Sequence[str]) -> Sequence[Any] | Refusal:
    """The named claims, locked; refused if one is unknown, of another scheme, or beyond valuation."""
    found = context.named(claims, names, claims.c.id, claims.c.code, claims.c.scheme)
    known = {name: row for name, row in found if row.scheme == scheme}
    for index, name in enumerate(names):
        if name not in known:
            return not_found(f"claims.{index}", "claim", name)
    shown = {row.id: row.code for row in known.values()}
    rows = claim_rows(context, shown)
    for row in rows:
        if NAMES[row.state] not in VALUED_FROM:
            return CLAIM_STATES.refusal(f"the claim {shown[row.id]!r}", NAMES[row.state], VALUATED)
        if row.awaits_review:
            message = f"the claim {shown[row.id]!r} was chosen for medical review; review it first"
            return Refusal("claims.awaits_review", message)
    return rows


def claim_rows(context: Context, numbers: Iterable[int]) -> Sequence[Any]:
    """Claims by number as valuation takes them, in its order, locked."""
    return context.execute(_NAMED_CLAIMS, {"claims": sorted(numbers)}).all()


def _value_chunk(context: Context, scheme: str, rows: Sequence[Any]) -> int:
    if not rows:
        return 0
    stored = read_lines(context, [row.id for row in rows], [row.valuation for row in rows])
    plan = plan_of(context, scheme, rows, stored)
    valued, used = plan.value(lock_usage(context, plan.keys))
    write_usage(context, used)
    payable = _write_results(context, rows, stored, plan, valued)
    before = int(stored.lines.payable_minor.sum())
    post(context, scheme, "claims.process", {EXPENSE: payable - before, PAYABLE: before - payable})
    return len(rows)


def plan_of(context: Context, scheme: str, rows: Sequence[Any], stored: StoredLines) -> Plan:
    """What the claims of a chunk are valued by: their packages' terms and limits, in one statement."""
    kind = context.app.type_of(scheme)
    versions = set(np.unique(stored.lines.package_version).tolist())
    terms, limits = read_rules(context, kind, versions, np.unique(stored.lines.item).tolist())
    return plan_valuation(claim_columns(rows), stored.lines, terms, limits)


def claim_columns(rows: Sequence[Any]) -> ClaimColumns:
    """Claims as the valuation takes them; those that have been valuated before are computed again."""
    return ClaimColumns(
        person=np.array([row.person for row in rows], dtype=np.int64),
        visit_type=[row.visit_type for row in rows],
        category=[row.category for row in rows],
        adult=[row.adult for row in rows],
        overnight=[row.overnight for row in rows],
        facility_level=[row.facility_level for row in rows],
        alone=[False] * len(rows),
        again=[row.valuation > 0 for row in rows],
    )


def _write_results(
    context: Context, rows: Sequence[Any], stored: StoredLines, plan: Plan, valued: ValuedColumns
) -> int:
    """Write line results, claim totals and states; returns what is payable altogether."""
    ids = _column([row.id for row in rows])
    valuations = _column([row.valuation + 1 for row in rows])
    of_claim = stored.lines.claim
    insert_numbers(
        context.connection,
        claim_results,
        {
            "claim": ids[of_claim],
            "line": stored.line,
            "valuation": valuations[of_claim],
            "unit_price_minor": plan.unit_price_minor,
            "limited_milli": valued.limited_milli,
            "deducted_milli": valued.deducted_milli,
            "copaid_minor": valued.copaid_minor,
            "shared_minor": valued.shared_minor,
            "capped_minor": valued.capped_minor,
            "above_ceiling_minor": valued.above_ceiling_minor,
            "payable_minor": valued.payable_minor,
        },
    )
    payable = _by_claim(of_claim, valued.payable_minor, len(rows))
    product = plan.quantity_thousandths * plan.unit_price_minor
    approved = _by_claim(of_claim, product // MILLI + (2 * (product % MILLI) >= MILLI), len(rows))
    audits = np.full(len(rows), context.audit, dtype=np.int64)
    insert_numbers(
        context.connection,
        claim_valuations,
        {"claim": ids, "valuation": valuations, "approved_minor": approved, "payable_minor": payable, "audit": audits},
    )
    versions = _column([row.version + 1 for row in rows])
    state = NUMBERS[VALUATED]
    insert_numbers(
        context.connection,
        claim_states,
        {"claim": ids, "version": versions, "state": np.full(len(rows), state, dtype=np.int64), "audit": audits},
    )
    context.execute(
        _MOVE,
        {
            "claims": ids.tolist(), "versions": versions.tolist(), "valuations": valuations.tolist(), "state": state,
        },
    )  # fmt: skip
    return int(payable.sum())


def _column(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def _by_claim(of_claim: Ints, amounts: Ints, claims_: int) -> Ints:
    total = np.zeros(claims_, dtype=np.int64)
    np.add.at(total, of_claim, amounts)
    return total


__all__ = ["CHUNK", "claim_columns", "claim_rows", "plan_of", "process_checked", "process_scheme"]
