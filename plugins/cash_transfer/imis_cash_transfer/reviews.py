"""Reviews: the exits of the terms applied to everyone who is in a package. Source: contract-cash-transfer.md.

A household is judged only by somebody who sees all of its members: of others nothing is known, and they stay.
"""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa
from attrs import frozen

from imis_cash_transfer.moves import Move, write_moves
from imis_cash_transfer.states import EXITED, GRADUATED, OCCUPYING
from imis_cash_transfer.tables import beneficiaries, beneficiary_current
from imis_cash_transfer.targets import Target, lock_packages, present, resolve_standing
from imis_core.api import Context, Criteria, Refusal, command


@frozen(kw_only=True)
class Review:
    scheme: str
    package: str
    on: date | None = None


@frozen(kw_only=True)
class Reviewed:
    graduated: int
    exited: int


@command("targeting.review", input=Review, result=Reviewed)
def review(context: Context, items: tuple[Review, ...]) -> list[Reviewed | Refusal]:
    """Apply the exits of the terms to the active and suspended; of several that somebody meets the first counts.

    A household with members whom the caller does not see is left alone.
    """
    targets = resolve_standing(context, items)
    lock_packages(context, [t.package for t in targets if isinstance(t, Target)])
    return [t if isinstance(t, Refusal) else _review(context, t) for t in targets]


def _review(context: Context, target: Target) -> Reviewed:
    exits = target.terms.exits
    if not exits:
        return Reviewed(graduated=0, exited=0)
    table, holder = target.table, beneficiaries.c[target.holder]
    criteria = Criteria(context, target.terms.unit, sa.literal(target.on, sa.Date))
    which = sa.case(*((criteria.condition(e.when.expression), index) for index, e in enumerate(exits)))
    whole = criteria.whole()
    rows = context.execute(
        sa.select(holder.label("unit"), which.label("which"))
        .select_from(
            criteria.from_clause()
            .join(beneficiaries, sa.and_(beneficiaries.c.package == target.package, holder == table.c.id))
            .join(beneficiary_current, beneficiary_current.c.beneficiary == beneficiaries.c.id)
        )
        .where(
            beneficiary_current.c.state.in_(OCCUPYING),
            beneficiary_current.c.since <= target.on,
            which.is_not(None),
            whole,
            present(target),
            context.scoped(beneficiaries),
            context.scoped(table),
        )
        .order_by(holder)
    ).all()
    moves = [Move(target, row.unit, exits[row.which].state, target.on, exits[row.which].name) for row in rows]
    write_moves(context, moves)
    return Reviewed(
        graduated=sum(move.state == GRADUATED for move in moves), exited=sum(move.state == EXITED for move in moves)
    )


COMMANDS = (review,)
