"""Use of care by month, facility and category: counted after each valuation, asked for as a report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.api import ClaimsValuated, Context, Listing, Money, providers, query
from imis_health_insurance.tables import utilisation

# A claim that is computed again is not counted again: only what its amounts changed by is added. One that is taken back
# has a last valuation of nothing, by which it is counted no more; 6 is the number of that state.
_COUNT: Final = sa.text(
    """
    INSERT INTO health_insurance.utilisation AS u
        (scheme, month, provider, category, claims, approved_minor, payable_minor, currency)
    SELECT c.scheme, date_trunc('month', c.target_date)::date, c.provider, c.category,
           count(*) FILTER (WHERE v.valuation = 1) - count(*) FILTER (WHERE v.valuation = t.valuation AND t.state = 6),
           sum(v.approved_minor - coalesce(p.approved_minor, 0)),
           sum(v.payable_minor - coalesce(p.payable_minor, 0)), c.currency
    FROM core.claim_valuations v JOIN core.claims c ON c.id = v.claim
    JOIN core.claim_current t ON t.claim = v.claim
    LEFT JOIN core.claim_valuations p ON p.claim = v.claim AND p.valuation = v.valuation - 1
    WHERE v.audit = :audit AND c.scheme = :scheme GROUP BY 1, 2, 3, 4, 8 ORDER BY 1, 2, 3, 4
    ON CONFLICT (scheme, month, provider, category) DO UPDATE SET claims = u.claims + excluded.claims,
        approved_minor = u.approved_minor + excluded.approved_minor,
        payable_minor = u.payable_minor + excluded.payable_minor
    """
)


def count(context: Context, event: ClaimsValuated) -> None:
    """Add a run of valuations. Exactly once: the delivery is marked done in the same transaction."""
    context.execute(_COUNT, {"audit": event.audit, "scheme": event.scheme})


@frozen(kw_only=True)
class Utilisation:
    """`from_` and `to` bound the months (by their first day); absent: all."""

    scheme: str
    from_: date | None = None
    to: date | None = None


@frozen(kw_only=True)
class MonthOfCare:
    month: date
    provider: str
    category: str
    claims: int
    approved: Money
    payable: Money


@query("health_insurance.utilisation", input=Utilisation, result=MonthOfCare, listing=True)
def report(context: Context, asked: Utilisation) -> Listing:
    """Valuated claims and their cost by month, facility and category."""
    table = utilisation.c
    select = (
        sa.select(utilisation, providers.c.code)
        .join(providers, providers.c.id == table.provider)
        .where(table.scheme == asked.scheme, context.scoped(utilisation))
    )
    if asked.from_ is not None:
        select = select.where(table.month >= asked.from_)
    if asked.to is not None:
        select = select.where(table.month <= asked.to)

    def build(rows: Sequence[Any]) -> list[MonthOfCare]:
        return [
            MonthOfCare(
                month=row.month,
                provider=row.code,
                category=row.category,
                claims=row.claims,
                approved=Money(row.approved_minor, row.currency),
                payable=Money(row.payable_minor, row.currency),
            )
            for row in rows
        ]

    return Listing(select, (table.month, providers.c.code, table.category), build, {"month": table.month})
