"""The history of claims finds lines claim by claim, whatever the statistics say."""

from __future__ import annotations

from alembic import op

revision = "core_0027"
down_revision = "core_0026"


def upgrade() -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION core.claim_history(\n    of_schemes text[], of_persons bigint[], firsts date[], lasts date[], of_items bigint[], of_categories text[],\n    uncounted smallint[])\nRETURNS TABLE (scheme text, person bigint, target_date date, category text, item bigint, amount bigint)\nLANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$\n    WITH asked AS (SELECT * FROM unnest(of_schemes, of_persons, firsts, lasts) AS a(scheme, person, first, last)),\n    same AS (\n        SELECT a.scheme, a.person AS kept, a.person, a.first, a.last FROM asked a\n        UNION ALL\n        SELECT a.scheme, a.person, p.id, a.first, a.last FROM asked a JOIN core.persons p ON p.merged_into = a.person),\n    counted AS MATERIALIZED (\n        SELECT s.scheme, s.kept AS person, c.id, c.target_date, c.category\n        FROM same s\n        JOIN core.claims c ON c.person = s.person AND c.scheme = s.scheme\n            AND c.target_date BETWEEN s.first AND s.last\n        JOIN core.claim_current t ON t.claim = c.id\n        WHERE t.state <> ALL (uncounted))\n    SELECT n.scheme, n.person, n.target_date, n.category, NULL::bigint, count(*)\n    FROM counted n WHERE n.category = ANY (of_categories) GROUP BY 1, 2, 3, 4\n    UNION ALL\n    SELECT n.scheme, n.person, n.target_date, NULL, l.item,\n           least(sum(l.quantity), 9223372036854775807)::bigint\n    FROM counted n CROSS JOIN LATERAL (\n        SELECT i.item, coalesce(v.quantity_thousandths, k.quantity_thousandths) AS quantity\n        FROM \n    core.claim_line_checks k JOIN core.claim_current t ON t.claim = k.claim\n    LEFT JOIN core.claim_line_reviews v ON v.claim = k.claim AND v.line = k.line AND v.review = t.review\n JOIN core.claim_lines i ON i.claim = k.claim AND i.line = k.line\n        WHERE k.claim = n.id AND (CASE WHEN v.claim IS NULL THEN k.rejection ELSE v.rejection END) IS NULL AND i.item = ANY (of_items) OFFSET 0) l\n    WHERE cardinality(of_items) > 0 GROUP BY 1, 2, 3, 5\n$$;"
    )
