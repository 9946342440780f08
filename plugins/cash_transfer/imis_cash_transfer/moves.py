"""Moves of beneficiaries from state to state, written as sets: the narrow present state and the insert-only history.

Who may move is judged by the commands, under the package's lock; this module only writes and reads states.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import distinct_on

from imis_cash_transfer.states import ACTIVE
from imis_cash_transfer.tables import beneficiaries, beneficiary_current, beneficiary_states
from imis_cash_transfer.targets import Target
from imis_core.api import Context, insert_returning


@frozen
class Move:
    """A household or person (`unit`, its key) of a package that is in another state from a day on."""

    target: Target
    unit: int
    state: str
    since: date
    reason: str | None = None
    enrolment: int | None = None

    @property
    def holder(self) -> tuple[int, str, int]:
        return self.target.package, self.target.holder, self.unit


def write_moves(context: Context, moves: Sequence[Move], *, changes_only: bool = False) -> None:
    """Write moves in their order; several of one beneficiary follow each other. Two statements.

    `changes_only`: who is in that state already stays as it is (then at most one move per beneficiary).
    """
    if not moves:
        return
    first = {move.holder: move for move in moves}.values()
    insert_returning(
        context.connection,
        beneficiaries,
        {
            "scheme": [m.target.version.scheme for m in first],
            "package": [m.target.package for m in first],
            "group": [m.unit if m.target.holder == "group" else None for m in first],
            "person": [m.unit if m.target.holder == "person" else None for m in first],
        },
        conflict="DO NOTHING",
    )
    seen: Counter[tuple[int, str, int]] = Counter()
    ordinals = []
    for move in moves:
        seen[move.holder] += 1
        ordinals.append(seen[move.holder])
    context.execute(
        _WRITE,
        {
            "packages": [m.target.package for m in moves],
            "groups": [m.unit if m.target.holder == "group" else None for m in moves],
            "persons": [m.unit if m.target.holder == "person" else None for m in moves],
            "ordinals": ordinals,
            "states": [m.state for m in moves],
            "since": [m.since for m in moves],
            "reasons": [m.reason for m in moves],
            "enrolments": [m.enrolment for m in moves],
            "audit": context.audit,
            "changes_only": changes_only,
        },
    )


_WRITE: Final = sa.text("""
    WITH asked AS (
        SELECT * FROM unnest(CAST(:packages AS bigint[]), CAST(:groups AS bigint[]), CAST(:persons AS bigint[]),
            CAST(:ordinals AS integer[]), CAST(:states AS text[]), CAST(:since AS date[]), CAST(:reasons AS text[]),
            CAST(:enrolments AS bigint[])) AS a("package", "group", person, ordinal, state, since, reason, enrolment)),
    named AS (
        SELECT b.id, a.* FROM asked a
        JOIN cash_transfer.beneficiaries b ON b.package = a.package AND b."group" = a."group"
        UNION ALL SELECT b.id, a.* FROM asked a
        JOIN cash_transfer.beneficiaries b ON b.package = a.package AND b.person = a.person),
    moved AS (
        SELECT n.id, n.package, n.state, n.since, n.reason, n.enrolment, n.ordinal,
            coalesce(c.version, 0) + n.ordinal AS version
        FROM named n LEFT JOIN cash_transfer.beneficiary_current c ON c.beneficiary = n.id
        WHERE NOT :changes_only OR c.state IS DISTINCT FROM n.state),
    kept AS (
        INSERT INTO cash_transfer.beneficiary_states (beneficiary, version, state, since, reason, enrolment, audit)
        SELECT id, version, state, since, reason, enrolment, :audit FROM moved)
    INSERT INTO cash_transfer.beneficiary_current AS t (beneficiary, package, state, since, version)
    SELECT DISTINCT ON (id) id, package, state, since, version FROM moved ORDER BY id, ordinal DESC
    ON CONFLICT (beneficiary) DO UPDATE SET state = excluded.state, since = excluded.since, version = excluded.version
""")


def active_on(package: int, on: date) -> sa.Select[Any]:
    """Keys of the beneficiaries of a package that were active on a day: one column `beneficiary`."""
    c, s = beneficiary_current.c, beneficiary_states.c
    now = sa.select(c.beneficiary).where(c.package == package, c.state == ACTIVE, c.since <= on)
    # Only who changed after the day is looked up in the history.
    then = (
        sa.select(s.beneficiary, s.state)
        .join(beneficiary_current, c.beneficiary == s.beneficiary)
        .where(c.package == package, c.since > on, s.since <= on)
        .ext(distinct_on(s.beneficiary))
        .order_by(s.beneficiary, s.version.desc())
        .subquery()
    )
    both = sa.union_all(now, sa.select(then.c.beneficiary).where(then.c.state == ACTIVE)).subquery()
    return sa.select(both.c.beneficiary)


def first_active(package: int) -> sa.Select[Any]:
    """Since when each beneficiary of a package was active for the first time: `beneficiary`, `since`."""
    s = beneficiary_states.c
    return (
        sa.select(s.beneficiary, sa.func.min(s.since).label("since"))
        .join(beneficiaries, beneficiaries.c.id == s.beneficiary)
        .where(beneficiaries.c.package == package, s.state == ACTIVE)
        .group_by(s.beneficiary)
    )
