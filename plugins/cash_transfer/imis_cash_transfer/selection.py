"""Who is selected: candidates judged, ranked and placed by one statement, the same for preview, enrolment and approval.

It reads only. Source: contract-cash-transfer.md, 'Selection and enrolment'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from imis_cash_transfer.amounts import ask, worth
from imis_cash_transfer.columns import Sql, apart, whole
from imis_cash_transfer.states import CANDIDATES
from imis_cash_transfer.tables import beneficiaries, beneficiary_current, score_current
from imis_cash_transfer.targets import Target, any_of, key_array, registered
from imis_cash_transfer.terms import Quota
from imis_core.api import Context, Criteria, locations, self_excluded_groups_sql, self_excluded_persons_sql

SELECTED: Final = "selected"
WAITING: Final = "waiting"
NOT_SELECTED: Final = "not_selected"
HIDDEN_MEMBERS: Final = "hidden_members"  # the reason for a household that the caller sees only a part of
NOWHERE: Final = 0  # stands for no place in keys


def selection(context: Context, target: Target, *, agreed: Sequence[int] | None = None) -> sa.Select[Any]:
    """Every candidate's `id`, `code`, `outcome`, `rank`, `score`, `reason` and `amount_minor` of one cycle, by code.

    Candidates are registered and in no state that ended or holds a place. First comes who excluded itself, has members
    whom the caller does not see (nobody judges half a household) or fails the criteria, has no score or one above the
    cut-off; then the rank: by score, day of registration, code; per place within its quota; then the first ones into
    the free places of the package.

    `agreed`: keys of those whom an enrolment selected; they go before all others of the target, so that nobody who was
    to wait takes the place of one who was agreed to.
    """
    judged = _judged(context, target, agreed)
    quota = target.terms.quota
    taken = occupied([target.package])
    area: Sql = whole(NOWHERE)
    within: Sql = sa.true()
    source: Any = judged
    columns: list[Sql] = []
    if quota is not None:
        named = named_places(quota)
        filled = _filled(quota, taken)
        area = sa.func.coalesce(named.c.named, judged.c.place, NOWHERE)
        source = judged.outerjoin(named, named.c.location == judged.c.place).outerjoin(filled, filled.c.area == area)
        columns.append((_quota_of(quota, named.c.code) - sa.func.coalesce(filled.c.taken, 0)).label("free"))
    fits = judged.c.reason.is_(None)
    order = [judged.c.agreed.desc(), judged.c.score.asc(), judged.c.registered_on, judged.c.code.collate("C")]
    ranked = apart(
        sa.select(
            judged,
            sa.case((fits, sa.func.row_number().over(partition_by=[fits, area], order_by=order))).label("rank"),
            *columns,
        ).select_from(source)
    )
    if quota is not None:
        within = ranked.c.rank <= ranked.c.free
    inside = sa.func.coalesce(sa.and_(ranked.c.reason.is_(None), within), sa.false())
    order = [ranked.c.agreed.desc(), ranked.c.score.asc(), ranked.c.registered_on, ranked.c.code.collate("C")]
    placed = apart(
        sa.select(
            ranked,
            inside.label("inside"),
            sa.func.row_number().over(partition_by=inside, order_by=order).label("position"),
        )
    )
    chosen: Sql = placed.c.inside
    if target.terms.max_beneficiaries is not None:
        in_all = sa.select(sa.func.coalesce(sa.func.sum(taken.c.taken), 0)).select_from(taken).scalar_subquery()
        chosen = sa.and_(chosen, placed.c.position <= target.terms.max_beneficiaries - in_all)
    outcome = sa.case((chosen, SELECTED), (placed.c.reason.is_(None), WAITING), else_=NOT_SELECTED)
    reason = sa.case(
        (chosen, sa.cast(sa.null(), sa.Text)), (placed.c.inside, "max_beneficiaries"),
        (placed.c.reason.is_(None), "quota"), else_=placed.c.reason,
    )  # fmt: skip
    return sa.select(
        placed.c.id, placed.c.code, outcome.label("outcome"), placed.c.rank, placed.c.score,
        reason.label("reason"), placed.c.amount_minor, placed.c.agreed,
    ).order_by(placed.c.code.collate("C"))  # fmt: skip


def _judged(context: Context, target: Target, agreed: Sequence[int] | None) -> sa.CTE:
    """The candidates with why they are not selected, if so, and what they would get in a cycle."""
    terms, table, holder = target.terms, target.table, target.holder
    only: Any = None if target.only is None or terms.unit == "person" else key_array(target.only)
    criteria = Criteria(context, terms.unit, sa.literal(target.on, sa.Date), only=only)
    reasons: list[tuple[Sql, str]] = []
    excluded = self_excluded_persons_sql() if terms.unit == "person" else self_excluded_groups_sql()
    reasons.append((table.c.id.in_(excluded), "self_excluded"))
    reasons.append((sa.not_(criteria.whole()), HIDDEN_MEMBERS))
    if terms.criteria is not None:
        reasons.append((sa.not_(criteria.condition(terms.criteria.expression)), "criteria"))
    if terms.score is not None:
        reasons.append((score_current.c.score.is_(None), "no_score"))
    if terms.cutoff is not None:
        reasons.append((score_current.c.score > sa.literal(terms.cutoff, sa.Numeric), "cutoff"))
    asked = ask(criteria, terms, target.version.currency)
    source: Any = criteria.from_clause().outerjoin(
        score_current,
        sa.and_(score_current.c.package == target.package, score_current.c[holder] == table.c.id),
    )
    first: Sql = sa.true() if agreed is None else table.c.id == any_of(agreed)
    score: Sql = score_current.c.score if terms.score is not None else sa.cast(sa.null(), sa.Numeric)
    already = sa.exists().where(
        beneficiaries.c.package == target.package,
        beneficiaries.c[holder] == table.c.id,
        beneficiary_current.c.beneficiary == beneficiaries.c.id,
        beneficiary_current.c.state.not_in(CANDIDATES),
    )
    rows = apart(
        sa.select(
            table.c.id, target.code.label("code"), table.c.registered_on, table.c.place, score.label("score"),
            sa.case(*reasons).label("reason"), first.label("agreed"), *asked.columns,
        )
        .select_from(source)
        .where(registered(context, target), sa.not_(already))
    )  # fmt: skip
    amount = worth(asked, rows.c, terms, target.version.currency, None)
    return apart(
        sa.select(
            rows.c.id, rows.c.code, rows.c.registered_on, rows.c.place, rows.c.score, rows.c.reason, rows.c.agreed,
            amount.net.label("amount_minor"),
        )
    )  # fmt: skip


def occupied(packages: Sequence[int]) -> Any:
    """Places that are taken, by `package` and `place`, counted in the database beyond what the caller may see."""
    return sa.func.cash_transfer.occupied(key_array(packages)).table_valued(
        sa.column("package", sa.BigInteger), sa.column("place", sa.BigInteger), sa.column("taken", sa.BigInteger)
    )


def named_places(quota: Quota) -> sa.CTE:
    """Each location under a quota with the nearest place named in it: down from every named place to the next one."""
    codes = sorted(quota.places)
    start = sa.select(
        locations.c.id.label("location"), locations.c.id.label("named"), locations.c.code.label("code")
    ).where(locations.c.code.in_(codes))
    down = start.cte(recursive=True)
    below = (
        sa.select(locations.c.id, down.c.named, down.c.code)
        .join(down, locations.c.parent == down.c.location)
        .where(locations.c.code.not_in(codes))
    )
    return down.union_all(below)


def _filled(quota: Quota, taken: Any) -> sa.Subquery:
    """How many hold a place already, by the place that their quota counts in."""
    named = named_places(quota)
    area = sa.func.coalesce(named.c.named, taken.c.place, NOWHERE)
    return (
        sa.select(area.label("area"), sa.func.sum(taken.c.taken).label("taken"))
        .select_from(taken.outerjoin(named, named.c.location == taken.c.place))
        .group_by(area)
        .subquery()
    )


def _quota_of(quota: Quota, code: Sql) -> Sql:
    """The quota of a place by its named place's code; of a place outside all of them, `others`."""
    if not quota.places:
        return whole(quota.others)
    return sa.case(*((code == name, whole(number)) for name, number in quota.places.items()), else_=quota.others)


__all__ = ["HIDDEN_MEMBERS", "NOT_SELECTED", "NOWHERE", "SELECTED", "WAITING", "named_places", "occupied", "selection"]
