"""States: every noun moved only as its state table lists, and stands where its last row of history says.

The state tables of the rooms are the rule here, read as data; how the rooms apply them is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from imis_core.approvals import STATES as APPROVAL_STATES
from imis_core.beneficiaries.merging import MERGE_STATES
from imis_core.claims.paying import REQUEST_STATES
from imis_core.claims.states import CLAIM_STATES, NUMBERS
from imis_core.coverage.states import COVERAGES, REFUNDS
from imis_core.notifications.outbox import STATES as NOTIFICATION_STATES
from imis_core.payments.orders import ORDER_STATES
from imis_core.payments.transmitting.states import TRANSMISSION_STATES
from imis_core.payroll.states import ENTITLEMENT_STATES, PAYROLL_STATES, RECOVERY_STATES
from imis_core.registry.duplicates import STATES as DUPLICATE_STATES
from imis_core.registry.imports import STATES as IMPORT_STATES
from imis_core.registry.periods import STATES as PERIOD_STATES
from imis_core.states import StateTable
from imis_core.testing.auditor.findings import Check


@frozen
class Walk:
    """A noun whose states are rows: their table, the noun's column in it, the narrow table, the noun's own table."""

    noun: str
    rows: str
    key: str
    current: str
    nouns: str
    table: StateTable
    first: tuple[str, ...]  # states in which it may begin
    numbers: Mapping[str, int] | None = None  # where the tables hold numbers for the names


WALKS: Final = (
    Walk(
        "claim", "claim_states", "claim", "claim_current", "claims", CLAIM_STATES,
        ("entered", "checked", "rejected"), NUMBERS,
    ),
    Walk("order", "order_states", "order", "order_current", "orders", ORDER_STATES, ("approved",)),
    Walk(
        "entitlement", "entitlement_states", "entitlement", "entitlement_current", "entitlements", ENTITLEMENT_STATES,
        ("generated", "awaiting_approval", "held"),
    ),
    Walk(
        "notification", "notification_states", "notification", "notification_current", "notifications",
        NOTIFICATION_STATES, ("queued",),
    ),
    Walk(
        "transmission", "transmission_states", "transmission", "transmission_current", "transmissions",
        TRANSMISSION_STATES, ("waiting",),
    ),
)  # fmt: skip


def walk_checks(walk: Walk) -> tuple[Check, ...]:
    """The checks of a noun with rows of states: no gap, listed moves only, the present state is the last row."""
    name: Mapping[str, str | int] = walk.numbers or {state: state for state in walk.table.moves}
    moves = [(name[before], name[after]) for before, following in walk.table.moves.items() for after in following]
    cast = "smallint" if walk.numbers else "text"
    parameters = {
        "before": [before for before, _ in moves],
        "after": [after for _, after in moves],
        "first": [name[state] for state in walk.first],
    }
    key, rows, current = f'"{walk.key}"', f"core.{walk.rows}", f"core.{walk.current}"
    return (
        Check(
            "states.gap",
            f"""
            SELECT '{walk.noun} ' || {key} AS location, 'its ' || count(*) || ' states are numbered '
                   || min(version) || ' to ' || max(version) AS what
            FROM {rows} GROUP BY {key} HAVING min(version) <> 1 OR max(version) <> count(*)
            """,
        ),
        Check(
            "states.move",
            f"""
            WITH moved AS (
                SELECT {key} AS noun, version, state, lag(state) OVER (PARTITION BY {key} ORDER BY version) AS was
                FROM {rows})
            SELECT '{walk.noun} ' || noun AS location, 'in version ' || version || ' it goes from '
                   || coalesce(was::text, 'nothing') || ' to ' || state || ', which is no move of it' AS what
            FROM moved
            WHERE (was IS NULL AND NOT state = ANY(CAST(:first AS {cast}[])))
               OR (was IS NOT NULL AND (was, state) NOT IN (
                   SELECT * FROM unnest(CAST(:before AS {cast}[]), CAST(:after AS {cast}[]))))
            """,
            parameters,
        ),
        Check(
            "states.current",
            f"""
            WITH last AS (
                SELECT DISTINCT ON ({key}) {key}, version, state FROM {rows} ORDER BY {key}, version DESC)
            SELECT '{walk.noun} ' || n.id AS location, 'it stands as ' || coalesce(c.state::text, 'nothing')
                   || ' (version ' || coalesce(c.version, 0) || '), its last state is '
                   || coalesce(last.state::text, 'none') || ' (version ' || coalesce(last.version, 0) || ')' AS what
            FROM core.{walk.nouns} n
            LEFT JOIN last ON last.{key} = n.id LEFT JOIN {current} c ON c.{key} = n.id
            WHERE (last.state, last.version) IS DISTINCT FROM (c.state, c.version) OR c.state IS NULL
            """,
        ),
    )


# Edited nouns with a state: their history rows are the states.
EDITED: Final[Mapping[str, tuple[StateTable, tuple[str, ...]]]] = {
    "approvals": (APPROVAL_STATES, ("awaiting_approval",)),
    "coverages": (COVERAGES, ("idle", "active")),
    "duplicates": (DUPLICATE_STATES, ("open",)),
    "merges": (MERGE_STATES, ("done",)),
    "payment_requests": (REQUEST_STATES, ("requested",)),
    "contribution_refunds": (REFUNDS, ("prepared",)),
    "recoveries": (RECOVERY_STATES, ("open",)),
    "payrolls": (PAYROLL_STATES, ("generating", "awaiting_approval")),
    "registration_periods": (PERIOD_STATES, ("opened",)),
    "registry_imports": (IMPORT_STATES, ("awaiting_approval",)),
}


def _edited_check(name: str, table: StateTable, first: tuple[str, ...]) -> Check:
    moves = [(before, after) for before, following in table.moves.items() for after in following]
    return Check(
        "states.move",
        f"""
        WITH moved AS (
            SELECT id, version, state, lag(state) OVER (PARTITION BY id ORDER BY version) AS was
            FROM core.{name}_history)
        SELECT '{name} ' || id AS location, 'in version ' || version || ' it goes from ' || coalesce(was, 'nothing')
               || ' to ' || state || ', which is no move of it' AS what
        FROM moved
        WHERE (was IS NULL AND NOT state = ANY(CAST(:first AS text[])))
           OR (was <> state AND (was, state) NOT IN (
               SELECT * FROM unnest(CAST(:before AS text[]), CAST(:after AS text[]))))
        """,
        {"before": [b for b, _ in moves], "after": [a for _, a in moves], "first": list(first)},
    )


CHECKS: Final = (
    *(check for walk in WALKS for check in walk_checks(walk)),
    *(_edited_check(name, table, first) for name, (table, first) in EDITED.items()),
)
