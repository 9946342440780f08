"""Coverage: dates in order, states that fit what was paid, no day covered twice, and what covers have used up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from imis_core.benefit_packages.schemes import SchemeType
from imis_core.testing.auditor.findings import Check

_DATES: Final = Check(
    "coverage.dates",
    """
    SELECT 'coverage ' || id AS location, concat_ws('; ',
             CASE WHEN ends < starts THEN 'it ends (' || ends || ') before it starts (' || starts || ')' END,
             CASE WHEN effective_from < starts THEN 'it is effective (' || effective_from || ') before it starts ('
                       || starts || ')' END,
             CASE WHEN state = 'active' AND effective_from IS NULL THEN 'it is active and covers from no day' END,
             CASE WHEN state = 'idle' AND effective_from IS NOT NULL AND due_minor > 0
                  THEN 'it is idle and covers from ' || effective_from END,
             CASE WHEN (state = 'terminated') <> (terminated_on IS NOT NULL)
                  THEN 'it is ' || state || ', terminated on ' || coalesce(terminated_on::text, 'no day') END) AS what
    FROM core.coverages
    WHERE ends < starts OR effective_from < starts OR (state = 'active' AND effective_from IS NULL)
       OR (state = 'idle' AND effective_from IS NOT NULL AND due_minor > 0)
       OR (state = 'terminated') <> (terminated_on IS NOT NULL)
    """,
)
# What was paid for policies: contributions that were not taken back, credits that came from or went to another one
# (`moved`), less what is refunded of it (`paid`).
PAID: Final = """
    receipts AS (
        SELECT c.scheme, c.coverage, c.category, c.amount_minor FROM core.contributions c
        WHERE NOT EXISTS (SELECT FROM core.contribution_reversals r WHERE r.contribution = c.id)),
    paid AS (
        SELECT coverage, sum(minor) AS paid, sum(minor) FILTER (WHERE NOT refund) AS moved FROM (
            SELECT coverage, amount_minor AS minor, false AS refund FROM receipts WHERE coverage IS NOT NULL
            UNION ALL SELECT taken_by, minor, false FROM core.coverage_credits
            UNION ALL SELECT given_by, -minor, false FROM core.coverage_credits
            UNION ALL SELECT coverage, -amount_minor, true FROM core.contribution_refunds
                      WHERE state IN ('prepared', 'approved', 'paid')) p
        GROUP BY coverage)
"""
_BALANCES: Final = Check(
    "coverage.balance",
    f"""
    WITH {PAID}
    SELECT 'coverage ' || c.id AS location, CASE
             WHEN c.value_minor <> c.subsidy_minor + c.due_minor
                  OR least(c.value_minor, c.subsidy_minor, c.due_minor) < 0
               THEN 'its value ' || c.value_minor || ' is not subsidy ' || c.subsidy_minor || ' + due ' || c.due_minor
             WHEN coalesce(p.moved, 0) < 0 THEN 'it gave away ' || -p.moved || ' more than was paid for it'
             ELSE 'it is idle though paid in full' END AS what
    FROM core.coverages c LEFT JOIN paid p ON p.coverage = c.id
    WHERE c.value_minor <> c.subsidy_minor + c.due_minor OR least(c.value_minor, c.subsidy_minor, c.due_minor) < 0
       OR coalesce(p.moved, 0) < 0 OR (c.state = 'idle' AND coalesce(p.paid, 0) >= c.due_minor)
    """,
)
_SUBSIDIES: Final = Check(
    "coverage.subsidies",
    """
    WITH owed AS (
        SELECT c.scheme, s.category, sum(s.amount_minor) AS minor FROM core.coverage_subsidies s
        JOIN core.coverages c ON c.id = s.coverage GROUP BY c.scheme, s.category),
    settled AS (
        SELECT scheme, category, sum(amount_minor) AS minor FROM core.contributions c
        WHERE category IS NOT NULL
          AND NOT EXISTS (SELECT FROM core.contribution_reversals r WHERE r.contribution = c.id)
        GROUP BY scheme, category)
    SELECT 'scheme ' || scheme || ', category ' || category AS location,
           'owed ' || a.owed_minor || ' and settled ' || a.settled_minor || ', the rows say '
           || coalesce(owed.minor, 0) || ' and ' || coalesce(settled.minor, 0) AS what
    FROM core.subsidy_accounts a LEFT JOIN owed USING (scheme, category) LEFT JOIN settled USING (scheme, category)
    WHERE a.owed_minor <> coalesce(owed.minor, 0) OR a.settled_minor <> coalesce(settled.minor, 0)
    """,
)
_SUSPENSIONS: Final = Check(
    "coverage.suspension",
    """
    SELECT 'coverage ' || c.id AS location, 'it is ' || c.state || ' with ' || count(s.id) FILTER (
             WHERE s.resumed_on IS NULL) || ' open suspensions' AS what
    FROM core.coverages c LEFT JOIN core.coverage_suspensions s ON s.coverage = c.id
    GROUP BY c.id, c.state, c.effective_from
    HAVING count(s.id) FILTER (WHERE s.resumed_on IS NULL) > CASE WHEN c.state IN ('suspended', 'terminated') THEN 1
                                                                 ELSE 0 END
        OR (c.state = 'suspended' AND c.effective_from IS NOT NULL
            AND count(s.id) FILTER (WHERE s.resumed_on IS NULL) = 0)
    """,
)
# Days on which a person already had another policy of the package, walking along them.
_OVERLAPS: Final = Check(
    "coverage.overlap",
    """
    WITH days AS (
        SELECT id, coverage, package, person, held, max(upper(held)) OVER (
                 PARTITION BY package, person ORDER BY lower(held), id
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS taken_until
        FROM core.coverage_members WHERE NOT isempty(held))
    SELECT 'coverage ' || coverage || ', person ' || person AS location,
           'from ' || lower(held) || ' on the person has another policy of package ' || package || ' until '
           || taken_until - 1 AS what
    FROM days WHERE lower(held) < taken_until
    UNION ALL
    SELECT 'coverage ' || m.coverage || ', person ' || m.person, 'the terminated policy still holds ' || m.held
    FROM core.coverage_members m JOIN core.coverages c ON c.id = m.coverage
    WHERE c.state = 'terminated' AND NOT isempty(m.held)
    """,
)
# A refund follows its order, and takes a credit that was there when it was prepared.
_REFUNDS: Final = Check(
    "coverage.refund",
    """
    WITH last AS (
        SELECT DISTINCT ON (o.source, o.entitlement) o.source, o.entitlement, o.amount_minor, t.state
        FROM core.orders o JOIN core.order_current t ON t."order" = o.id WHERE o.source_kind = 'refunds'
        ORDER BY o.source, o.entitlement, o.attempt DESC)
    SELECT 'refund ' || r.id AS location, CASE
             WHEN r.scheme <> c.scheme OR r.currency <> c.currency THEN 'its policy is of another scheme or currency'
             WHEN l.amount_minor <> r.amount_minor
               THEN 'it is ' || r.amount_minor || ', its order ' || l.amount_minor
             ELSE 'it is ' || r.state || ', its order ' || coalesce(l.state, 'none') END AS what
    FROM core.contribution_refunds r JOIN core.coverages c ON c.id = r.coverage
    LEFT JOIN last l ON l.source = r.batch AND l.entitlement = r.id
    WHERE r.scheme <> c.scheme OR r.currency <> c.currency OR l.amount_minor <> r.amount_minor
       OR r.state <> ALL (CASE WHEN l.state IS NULL THEN ARRAY['prepared', 'rejected']
                               WHEN l.state IN ('submitted', 'accepted', 'held') THEN ARRAY['approved']
                               WHEN l.state = 'returned' THEN ARRAY['failed'] ELSE ARRAY[l.state] END)
    """,
)
_POSTGRESQL: Final = postgresql.dialect()  # type: ignore[no-untyped-call]
CHECKS: Final = (_DATES, _BALANCES, _SUBSIDIES, _SUSPENSIONS, _OVERLAPS, _REFUNDS)

_COUNTER: Final = """
    SELECT p.cover_kind, p.cover, CASE lim.{name}_level WHEN 'person' THEN c.person ELSE 0 END AS person,
           '{name}.' || CASE WHEN lim.{name}_general IS NOT NULL THEN 'general'
                             WHEN h.hospital THEN 'inpatient' ELSE 'outpatient' END AS counter,
           r.{amount} AS used
    FROM counted t JOIN core.claims c ON c.id = t.claim
    JOIN core.claim_line_checks l ON l.claim = t.claim
    LEFT JOIN core.claim_line_reviews v ON v.claim = t.claim AND v.line = l.line AND v.review = t.review
    JOIN core.claim_results r ON r.claim = t.claim AND r.line = l.line AND r.valuation = t.valuation
    CROSS JOIN LATERAL (SELECT coalesce(v.cover_kind, l.cover_kind) AS cover_kind, coalesce(v.cover, l.cover) AS cover,
                               coalesce(v.package_version, l.package_version) AS package_version) p
    JOIN limits lim ON lim.package_version = p.package_version AND lim.cover_kind = p.cover_kind
    CROSS JOIN LATERAL (SELECT CASE
        WHEN lim.hospital_by_facility THEN coalesce(c.facility_level = ANY(CAST(:hospitals AS text[])), false)
        ELSE c.from_date <> c.to_date END AS hospital) h
    WHERE lim.{name}_level IN ('person', 'policy')
      AND coalesce(lim.{name}_general, CASE WHEN h.hospital THEN lim.{name}_inpatient ELSE lim.{name}_outpatient END)
          IS NOT NULL {more}
"""
# Lines of items that their package excludes from the ceiling use none of it.
_NOT_EXCLUDED: Final = """
      AND NOT EXISTS (
        SELECT FROM excluded x JOIN core.claim_lines i ON i.claim = l.claim AND i.line = l.line AND i.item = x.item
        WHERE x.package_version = p.package_version AND x.cover_kind = p.cover_kind AND x.visit_type = c.visit_type
          AND x.adult = c.adult
          AND (x.ceiling_exclusion = 'both' OR (x.ceiling_exclusion = 'hospital') = h.hospital))
"""
_NOTHING_EXCLUDED: Final = """
    SELECT 0::bigint AS package_version, '' AS cover_kind, 0::bigint AS item, '' AS visit_type, true AS adult,
           '' AS ceiling_exclusion WHERE false
"""


def usage_check(kinds: Iterable[SchemeType], hospitals: Sequence[str]) -> Check | None:
    """What covers have used up, rebuilt from the claims that stand; None if no scheme type has limits.

    `hospitals` names the levels of facilities that are hospitals. Only the plugins know how their terms limit:
    their `package_limits_sql` is read as a table.
    Source: health_insurance.md 5.
    """
    kinds = list(kinds)
    selects = [kind.package_limits_sql() for kind in kinds if kind.package_limits_sql is not None]
    if not selects:
        return None
    parts = ("level", "general", "inpatient", "outpatient")
    names = ["package_version", "cover_kind", "hospital_by_facility"]
    names += [f"{name}_{part}" for name in ("deductible", "ceiling") for part in parts]
    tables = []
    for select in selects:
        limits = select.subquery("limits_of_a_kind")
        chosen = sa.select(*[limits.c[name] for name in names])
        tables.append(str(chosen.compile(dialect=_POSTGRESQL, compile_kwargs={"literal_binds": True})))
    excluded = [_NOTHING_EXCLUDED]
    for kind in kinds:
        terms = None if kind.line_terms_sql is None else kind.line_terms_sql().subquery("terms_of_a_kind")
        if terms is not None and "ceiling_exclusion" in terms.c:
            columns = ("package_version", "cover_kind", "item", "visit_type", "adult", "ceiling_exclusion")
            those = sa.select(*[terms.c[name] for name in columns]).where(terms.c.ceiling_exclusion.is_not(None))
            excluded.append(str(those.compile(dialect=_POSTGRESQL, compile_kwargs={"literal_binds": True})))
    excluded_sql = " UNION ALL ".join(f"({table})" for table in excluded).replace(":", "\\:").replace("%%", "%")
    limits_sql = " UNION ALL ".join(f"({table})" for table in tables).replace(":", "\\:").replace("%%", "%")
    deductible = _COUNTER.format(name="deductible", amount="deducted_milli", more="")
    ceiling = _COUNTER.format(name="ceiling", amount="payable_minor", more=_NOT_EXCLUDED)
    return Check(
        "coverage.usage",
        f"""
        WITH limits AS ({limits_sql}), excluded AS ({excluded_sql}),
        counted AS (SELECT claim, valuation, review FROM core.claim_current WHERE state IN (4, 5)),
        taken AS ({deductible} UNION ALL {ceiling}),
        should AS (
            SELECT cover_kind, cover, person, counter, sum(used) AS used FROM taken
            GROUP BY cover_kind, cover, person, counter),
        written AS (
            SELECT * FROM core.cover_usage WHERE counter LIKE 'deductible.%' OR counter LIKE 'ceiling.%')
        SELECT cover_kind || ' ' || cover || ', person ' || person || ', ' || counter AS location,
               'the counter shows ' || coalesce(written.used, 0) || ', the claims used ' || coalesce(should.used, 0)
               AS what
        FROM should FULL JOIN written USING (cover_kind, cover, person, counter)
        WHERE coalesce(written.used, 0) <> coalesce(should.used, 0)
        """,
        {"hospitals": list(hospitals)},
    )
