"""Claims by name with where they stand, locked; and their moves written in bulk. It judges no move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import define, frozen

from imis_core.claims.states import NAMES, NUMBERS
from imis_core.claims.tables import claim_states, claims
from imis_core.context import Context
from imis_core.database.bulk import insert_rows
from imis_core.eligibility.rejections import Rejection


@frozen
class Move:
    """A claim's next state. `reason`: what the user said, where a move has one. `valuation`: the one valid from now."""

    claim: int
    version: int
    state: str
    rejection: Rejection | None
    review: int
    valuation: int
    reason: str | None


@define
class ClaimRow:
    """A claim as it stands while a batch is gone through: a batch may name it twice."""

    id: int
    code: str
    scheme: str
    state: str
    version: int
    review: int
    valuation: int

    def moved(self, state: str, rejection: Rejection | None = None, reason: str | None = None) -> Move:
        """Note the move here and give it, to be written with the others."""
        self.state, self.version = state, self.version + 1
        return Move(self.id, self.version, state, rejection, self.review, self.valuation, reason)


_LOCK: Final = sa.text(
    "SELECT claim, state, version, review, valuation FROM core.claim_current WHERE claim = ANY(:claims) "
    "ORDER BY claim FOR UPDATE"
)
_MOVE: Final = sa.text(
    """
    UPDATE core.claim_current t SET state = n.state, version = n.version, review = n.review, valuation = n.valuation,
        awaits_review = false
    FROM unnest(CAST(:claims AS bigint[]), CAST(:states AS smallint[]), CAST(:versions AS int[]),
                CAST(:reviews AS int[]), CAST(:valuations AS int[])) AS n(claim, state, version, review, valuation)
    WHERE t.claim = n.claim
    """
)


def locked_claims(context: Context, names: Iterable[str]) -> dict[str, ClaimRow]:
    """The claims that are named by code or id and that the caller may see, locked in order of their ids."""
    found = context.named(claims, names, claims.c.id, claims.c.code, claims.c.scheme)
    numbers = sorted({row.id for _, row in found})
    if not numbers:
        return {}
    stand = {row.claim: row for row in context.execute(_LOCK, {"claims": numbers})}
    rows: dict[int, ClaimRow] = {}
    for _, row in found:
        now: Any = stand[row.id]
        stands = ClaimRow(row.id, row.code, row.scheme, NAMES[now.state], now.version, now.review, now.valuation)
        rows.setdefault(row.id, stands)
    return {name: rows[row.id] for name, row in found}


def move_claims(context: Context, moves: Sequence[Move]) -> None:
    """Write moves: every one into the history, the last of each claim as where it stands now."""
    if not moves:
        return
    insert_rows(
        context.connection,
        claim_states,
        {
            "claim": [move.claim for move in moves],
            "version": [move.version for move in moves],
            "state": [NUMBERS[move.state] for move in moves],
            "rejection": [None if move.rejection is None else int(move.rejection) for move in moves],
            "reason": [move.reason for move in moves],
            "audit": [context.audit] * len(moves),
        },
    )
    last = {move.claim: move for move in moves}
    context.execute(
        _MOVE,
        {
            "claims": list(last),
            "states": [NUMBERS[move.state] for move in last.values()],
            "versions": [move.version for move in last.values()],
            "reviews": [move.review for move in last.values()],
            "valuations": [move.valuation for move in last.values()],
        },
    )
