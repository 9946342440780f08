"""SQL functions of claims: what a person had before, whoever may see those claims, and the lock that keeps it so.

Counts, provisions and frequencies look at every claim of a person, also at those of facilities that the caller does not
see. So these run with their owner's rights, and answer sums by day and nothing of whose claims they are.
"""

from __future__ import annotations

from typing import Final

from imis_core.claims.verdicts import LINES_IN_FORCE, QUANTITY, REJECTION

# `firsts` and `lasts` limit the days of each person in each scheme; `uncounted` are numbers of states that do not
# count. Rows with a category are numbers of claims, rows with an item approved quantities in thousandths. Claims of
# persons who were merged into another count as that person's. Lines are found claim by claim (OFFSET 0): days that are
# newer than the statistics look so rare to the planner that it would search all counted claims for each line.
HISTORY: Final = f"""
CREATE FUNCTION core.claim_history(
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
        SELECT i.item, {QUANTITY} AS quantity
        FROM {LINES_IN_FORCE} JOIN core.claim_lines i ON i.claim = k.claim AND i.line = k.line
        WHERE k.claim = n.id AND {REJECTION} IS NULL AND i.item = ANY (of_items) OFFSET 0) l
    WHERE cardinality(of_items) > 0 GROUP BY 1, 2, 3, 5
$$;
"""
# Persons are locked in the order of their keys; each statement in here sees what was committed before it began, so the
# history is read after the wait.
LOCKED_HISTORY: Final = """
CREATE FUNCTION core.locked_claim_history(
    of_schemes text[], of_persons bigint[], firsts date[], lasts date[], of_items bigint[], of_categories text[],
    uncounted smallint[])
RETURNS TABLE (scheme text, person bigint, target_date date, category text, item bigint, amount bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM FROM core.persons p WHERE p.id = ANY (of_persons) ORDER BY p.id FOR NO KEY UPDATE;
    RETURN QUERY SELECT h.scheme, h.person, h.target_date, h.category, h.item, h.amount
    FROM core.claim_history(of_schemes, of_persons, firsts, lasts, of_items, of_categories, uncounted) AS h;
END $$;
"""
FUNCTIONS: Final = (HISTORY, LOCKED_HISTORY)
