"""Valuation of checked claims: read a chunk, compute it in columns, write results, usage, states and the ledger.

A chunk is a fixed number of statements. Claims are taken by target date, then code; counters are locked in the order of
their keys, so that two workers never both spend the last unit. Source: health_insurance.md 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from attrs import frozen

from imis_core.claims.inputs import ProcessedClaims
from imis_core.claims.states import CHECKED, CLAIM_STATES, NAMES, NUMBERS, VALUATED
from imis_core.claims.tables import claim_results, claim_states, claim_valuations, claims
from imis_core.claims.verdicts import LINES_IN_FORCE, QUANTITY, REJECTION, REVIEWED_PRICE
from imis_core.context import Context
from imis_core.database.bulk import insert_rows
from imis_core.eligibility.lines import unit_price
from imis_core.eligibility.terms import NO_LIMITS, LimitsKey, PackageLimits, read_limits, read_terms
from imis_core.eligibility.valuation import MILLI, NONE, LineColumns, ValuedColumns, value_lines
from imis_core.errors import Refusal, not_found
from imis_core.ledger.book import EXPENSE, PAYABLE, post
from imis_core.values import INT64_MAX

# States from which claims are valuated. The state table also knows the way back from paid: a returned payment takes it.
VALUED_FROM: Final = (CHECKED, VALUATED)
CHUNK: Final = 20_000  # claims held in memory at once; about 100 MB with five lines each

_CHECKED_CLAIMS: Final = sa.text(
    """
    SELECT c.id, c.target_date, c.from_date <> c.to_date AS overnight, c.visit_type, c.person, c.adult,
           c.facility_level, t.version, t.valuation, t.state
    FROM core.claim_current t JOIN core.claims c ON c.id = t.claim
    WHERE t.scheme = :scheme AND t.state = :checked AND NOT t.awaits_review
    ORDER BY c.target_date, c.code LIMIT :chunk FOR UPDATE OF t
    """
)
_CHECKED_AMONG: Final = sa.text(
    """
    SELECT c.id, c.target_date, c.from_date <> c.to_date AS overnight, c.visit_type, c.person, c.adult,
           c.facility_level, t.version, t.valuation, t.state
    FROM core.claim_current t JOIN core.claims c ON c.id = t.claim
    WHERE t.claim = ANY(:claims) AND t.scheme = :scheme AND t.state = :checked AND NOT t.awaits_review
    ORDER BY c.target_date, c.code FOR UPDATE OF t
    """
)
_NAMED_CLAIMS: Final = sa.text(
    """
    SELECT c.id, c.target_date, c.from_date <> c.to_date AS overnight, c.visit_type, c.person, c.adult,
           c.facility_level, t.version, t.valuation, t.state, t.awaits_review
    FROM core.claim_current t JOIN core.claims c ON c.id = t.claim
    WHERE t.claim = ANY(:claims) ORDER BY c.target_date, c.code FOR UPDATE OF t
    """
)
# Products first, then services, as entered; the earlier result of a claim that is computed again comes along.
_LINES: Final = sa.text(
    f"""
    SELECT k.claim, k.line, {QUANTITY} AS quantity_thousandths, l.price_minor, k.list_price_minor, l.item, k.cover_kind,
           k.cover, k.package_version, {REVIEWED_PRICE} AS reviewed_price_minor, r.deducted_milli, r.payable_minor
    FROM {LINES_IN_FORCE} JOIN core.claim_lines l ON l.claim = k.claim AND l.line = k.line
    JOIN unnest(CAST(:claims AS bigint[]), CAST(:valuations AS int[])) WITH ORDINALITY AS b(claim, valuation, position)
      ON b.claim = k.claim
    LEFT JOIN core.claim_results r ON r.claim = k.claim AND r.line = k.line AND r.valuation = b.valuation
    WHERE {REJECTION} IS NULL
    ORDER BY b.position, l.service, k.line
    """
)
_LOCK_USAGE: Final = sa.text(
    """
    INSERT INTO core.cover_usage AS u (cover_kind, cover, person, counter, used)
    SELECT k, c, p, n, 0 FROM unnest(CAST(:kinds AS text[]), CAST(:covers AS bigint[]), CAST(:persons AS bigint[]),
                                     CAST(:counters AS text[])) AS keys(k, c, p, n) ORDER BY 1, 2, 3, 4
    ON CONFLICT (cover_kind, cover, person, counter) DO UPDATE SET used = u.used
    RETURNING cover_kind, cover, person, counter, used
    """
)
_SET_USAGE: Final = sa.text(
    """
    UPDATE core.cover_usage u SET used = n.used
    FROM unnest(CAST(:kinds AS text[]), CAST(:covers AS bigint[]), CAST(:persons AS bigint[]),
                CAST(:counters AS text[]), CAST(:used AS bigint[])) AS n(cover_kind, cover, person, counter, used)
    WHERE (u.cover_kind, u.cover, u.person, u.counter) = (n.cover_kind, n.cover, n.person, n.counter)
      AND u.used <> n.used
    """
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
    rows = context.execute(_NAMED_CLAIMS, {"claims": sorted(shown)}).all()
    for row in rows:
        if NAMES[row.state] not in VALUED_FROM:
            return CLAIM_STATES.refusal(f"the claim {shown[row.id]!r}", NAMES[row.state], VALUATED)
        if row.awaits_review:
            message = f"the claim {shown[row.id]!r} was chosen for medical review; review it first"
            return Refusal("claims.awaits_review", message)
    return rows


UsageKey = tuple[str, int, int, str]  # cover kind, cover, person (0: the whole cover), counter


@frozen
class _Pools:
    """The counters of one kind (deductible or ceiling) that a chunk draws on, in order of first use."""

    of_line: list[int]
    limits: list[int]
    keys: list[UsageKey | None]  # None: the treatment itself, which nothing else uses up


def _value_chunk(context: Context, scheme: str, rows: Sequence[Any]) -> int:
    if not rows:
        return 0
    kind = context.app.type_of(scheme)
    by_claim = {row.id: row for row in rows}
    lines = context.execute(_LINES, {"claims": [r.id for r in rows], "valuations": [r.valuation for r in rows]}).all()
    versions = {line.package_version for line in lines}
    terms = read_terms(context, kind, versions, {line.item for line in lines})
    limits = read_limits(context, kind, versions)
    of_line = [
        terms[ln.package_version, ln.cover_kind, ln.item, by_claim[ln.claim].visit_type, by_claim[ln.claim].adult]
        for ln in lines
    ]
    unit_prices = [
        unit_price(t, ln.list_price_minor, ln.price_minor)
        if ln.reviewed_price_minor is None
        else ln.reviewed_price_minor
        for ln, t in zip(lines, of_line, strict=True)
    ]
    deductibles = _pools("deductible", lines, by_claim, limits, MILLI)
    ceilings = _pools("ceiling", lines, by_claim, limits, 1)
    used = _lock_usage(context, [*deductibles.keys, *ceilings.keys])
    taken_before = [0 if ln.deducted_milli is None else ln.deducted_milli for ln in lines]
    paid_before = [0 if ln.payable_minor is None else ln.payable_minor for ln in lines]
    columns = LineColumns(
        _ints([ln.quantity_thousandths for ln in lines]),
        _ints(unit_prices),
        _ints([t.fixed_limit_minor or NONE for t in of_line]),
        _ints([t.share_micro for t in of_line]),
        _ints(deductibles.of_line),
        _ints(ceilings.of_line),
        _ints(deductibles.limits),
        _ints(_used_by_others(deductibles, used, taken_before)),
        _ints(ceilings.limits),
        _ints(_used_by_others(ceilings, used, paid_before)),
    )
    valued = value_lines(columns)
    _add_usage(used, deductibles, valued.deducted_milli.tolist(), taken_before)
    _add_usage(used, ceilings, valued.payable_minor.tolist(), paid_before)
    _write_usage(context, used)
    payable = _write_results(context, rows, lines, unit_prices, valued)
    before = sum(paid_before)
    post(context, scheme, "claims.process", {EXPENSE: payable - before, PAYABLE: before - payable})
    return len(rows)


def _ints(values: Sequence[int]) -> Any:
    return np.array(values, dtype=np.int64)


def _pools(
    name: str, lines: Sequence[Any], by_claim: Mapping[int, Any], limits: Mapping[LimitsKey, PackageLimits], unit: int
) -> _Pools:
    """Which counter each line draws on: by level (this claim, this person, the whole policy) and scope of the case.

    A claim that is computed again draws on a pool of its own: what is left of the counter without itself. It takes the
    same as before (what it left, others could have; where it left nothing, others after it got nothing), so that claims
    valuated in one order and computed again in another keep their results.
    """
    numbers: dict[Any, int] = {}
    pools = _Pools([], [], [])
    for line in lines:
        of_package = limits.get((line.package_version, line.cover_kind), NO_LIMITS)
        limit = of_package.deductible if name == "deductible" else of_package.ceiling
        claim = by_claim[line.claim]
        hospital = of_package.is_hospital_case(claim.overnight, claim.facility_level)
        scope = None if limit is None else limit.scope(hospital)
        if limit is None or scope is None:
            pools.of_line.append(NONE)
            continue
        counter = f"{name}.{scope[0]}"
        key: UsageKey | None = None
        if limit.level == "person":
            key = (line.cover_kind, line.cover, claim.person, counter)
        elif limit.level == "policy":
            key = (line.cover_kind, line.cover, 0, counter)
        alone = key is None or line.deducted_milli is not None
        pool = (key or (line.cover_kind, line.cover, counter), line.claim if alone else None)
        if pool not in numbers:
            numbers[pool] = len(numbers)
            # A deductible beyond 64 bits of thousandths (9 * 10**15 minor units) acts as one of just that size.
            pools.limits.append(min(scope[1] * unit, INT64_MAX))
            pools.keys.append(key)
        pools.of_line.append(numbers[pool])
    return pools


def _lock_usage(context: Context, keys: Sequence[UsageKey | None]) -> dict[UsageKey, int]:
    """What the counters show, locked until the commit, in the order of their keys."""
    wanted = sorted({key for key in keys if key is not None})
    if not wanted:
        return {}
    kinds, covers, persons, counters = (list(column) for column in zip(*wanted, strict=True))
    rows = context.execute(_LOCK_USAGE, {"kinds": kinds, "covers": covers, "persons": persons, "counters": counters})
    return {(r.cover_kind, r.cover, r.person, r.counter): r.used for r in rows}


def _used_by_others(pools: _Pools, used: Mapping[UsageKey, int], before: Sequence[int]) -> list[int]:
    """Per pool, what its counter shows without the claim that is computed again: only other claims count."""
    others = [0 if key is None else used[key] for key in pools.keys]
    for pool, amount in zip(pools.of_line, before, strict=True):
        if pool != NONE and pools.keys[pool] is not None:
            others[pool] -= amount
    return others


def _add_usage(used: dict[UsageKey, int], pools: _Pools, taken: Sequence[int], before: Sequence[int]) -> None:
    """Count what lines took, beyond what they had taken before."""
    for pool, now, earlier in zip(pools.of_line, taken, before, strict=True):
        key = pools.keys[pool] if pool != NONE else None
        if key is not None:
            used[key] += now - earlier


def _write_usage(context: Context, used: Mapping[UsageKey, int]) -> None:
    if not used:
        return
    kinds, covers, persons, counters = (list(column) for column in zip(*used, strict=True))
    context.execute(
        _SET_USAGE,
        {"kinds": kinds, "covers": covers, "persons": persons, "counters": counters, "used": list(used.values())},
    )


def _write_results(
    context: Context, rows: Sequence[Any], lines: Sequence[Any], unit_prices: Sequence[int], valued: ValuedColumns
) -> int:
    """Write line results, claim totals and states; returns what is payable altogether."""
    valuation = {row.id: row.valuation + 1 for row in rows}
    insert_rows(
        context.connection,
        claim_results,
        {
            "claim": [line.claim for line in lines],
            "line": [line.line for line in lines],
            "valuation": [valuation[line.claim] for line in lines],
            "unit_price_minor": unit_prices,
            "limited_milli": valued.limited_milli.tolist(),
            "deducted_milli": valued.deducted_milli.tolist(),
            "shared_minor": valued.shared_minor.tolist(),
            "above_ceiling_minor": valued.above_ceiling_minor.tolist(),
            "payable_minor": valued.payable_minor.tolist(),
        },
    )
    approved, payable = dict.fromkeys(valuation, 0), dict.fromkeys(valuation, 0)
    for line, price, amount in zip(lines, unit_prices, valued.payable_minor.tolist(), strict=True):
        approved[line.claim] += (2 * line.quantity_thousandths * price + MILLI) // (2 * MILLI)
        payable[line.claim] += amount
    audits = [context.audit] * len(rows)
    insert_rows(
        context.connection,
        claim_valuations,
        {
            "claim": list(valuation),
            "valuation": list(valuation.values()),
            "approved_minor": list(approved.values()),
            "payable_minor": list(payable.values()),
            "audit": audits,
        },
    )
    versions = [row.version + 1 for row in rows]
    state = NUMBERS[VALUATED]
    insert_rows(
        context.connection,
        claim_states,
        {"claim": list(valuation), "version": versions, "state": [state] * len(rows), "audit": audits},
    )
    context.execute(
        _MOVE,
        {"claims": list(valuation), "versions": versions, "valuations": list(valuation.values()), "state": state},
    )
    return sum(payable.values())


__all__ = ["CHUNK", "process_checked", "process_scheme"]
