"""The history of claims finds lines claim by claim, whatever the statistics say."""

from __future__ import annotations

from alembic import op

revision = "core_0027"
down_revision = "core_0026"


def upgrade() -> None:
    op.execute(
        """
CREATE OR REPLACE FUNCTION core.claim_history(
    of_schemes text[], of_persons bigint[], firsts date[], lasts date[], of_items bigint[], of_categories text[],
    uncounted smallint[])
RETURNS TABLE (scheme text, person bigint, target_date date, category text, item bigint, amount bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH asked AS (SELECT * FROM unnest(of_schemes, of_persons, firsts, lasts) AS a(scheme, person, first, last)),
    same AS (
        SELECT a.scheme, a.person AS kept, a.person, a.first, a.last FROM asked a
        UNION ALL
        SELECT a.scheme, a.person, p.id, a.first, a.last FROM asked a JOIN core.persons p ON p.merged_into = a.person),
    counted AS MATERIALIZED (
        SELECT s.scheme, s.kept AS person, c.id, c.target_date, c.category
        FROM same s
        JOIN core.claims c ON c.person = s.person AND c.scheme = s.scheme
            AND c.target_date BETWEEN s.first AND s.last
        JOIN core.claim_current t ON t.claim = c.id
        WHERE t.state <> ALL (uncounted))
    SELECT n.scheme, n.person, n.target_date, n.category, NULL::bigint, count(*)
    FROM counted n WHERE n.category = ANY (of_categories) GROUP BY 1, 2, 3, 4
    UNION ALL
    SELECT n.scheme, n.person, n.target_date, NULL, l.item,
           least(sum(l.quantity), 9223372036854775807)::bigint
    FROM counted n CROSS JOIN LATERAL (
        SELECT i.item, coalesce(v.quantity_thousandths, k.quantity_thousandths) AS quantity
        FROM 
    core.claim_line_checks k JOIN core.claim_current t ON t.claim = k.claim
    LEFT JOIN core.claim_line_reviews v ON v.claim = k.claim AND v.line = k.line AND v.review = t.review
 JOIN core.claim_lines i ON i.claim = k.claim AND i.line = k.line
        WHERE k.claim = n.id AND (CASE WHEN v.claim IS NULL THEN k.rejection ELSE v.rejection END) IS NULL AND i.item = ANY (of_items) OFFSET 0) l
    WHERE cardinality(of_items) > 0 GROUP BY 1, 2, 3, 5
$$;
        """
    )
