"""The statements of a comparison with a provider's books: all rows of the statement at once, none by itself."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

FRESH_TABLE: Final = tuple(
    sa.text(statement)
    for statement in (
        "DROP TABLE IF EXISTS book_rows, book_joined",  # of an earlier item of this call
        'CREATE TEMPORARY TABLE book_rows (place integer, named text, "order" bigint, status text, amount numeric, '
        "currency text, reference text) ON COMMIT DROP",
        'CREATE TEMPORARY TABLE book_joined ("order" bigint, scheme text, place integer, named text, here text, '
        "there text, amount_minor bigint, currency text, amount_there numeric, currency_there text, reference text, "
        "own boolean, code text) ON COMMIT DROP",
    )
)
ROWS: Final = sa.Table(
    "book_rows", sa.MetaData(), sa.Column("place", sa.Integer), sa.Column("named", sa.Text),
    sa.Column("order", sa.BigInteger), sa.Column("status", sa.Text), sa.Column("amount", sa.Numeric),
    sa.Column("currency", sa.Text), sa.Column("reference", sa.Text),
)  # fmt: skip
COUNTED: Final = sa.text("ANALYZE book_rows")  # without statistics the planner takes a million rows for a handful

# One row for each order that either side has, and for each row of the statement that names none. Of an order with
# several rows the furthest says what came of it: paid and then returned is returned.
JOINED: Final = sa.text(
    """
    WITH theirs AS MATERIALIZED (
        SELECT "order", min(place) AS place, min(named) AS named,
               CASE WHEN bool_or(status = 'returned') THEN 'returned' WHEN bool_or(status = 'paid') THEN 'paid'
                    WHEN bool_or(status = 'pending') THEN 'pending' ELSE 'failed' END AS status,
               count(DISTINCT coalesce(reference, place::text)) FILTER (WHERE status = 'paid') AS times,
               min(amount) AS low, max(amount) AS high, min(currency) AS low_currency, max(currency) AS high_currency,
               min(reference) AS reference
        FROM book_rows WHERE "order" IS NOT NULL GROUP BY "order"),
    ours AS MATERIALIZED (
        SELECT o.id, o.scheme, o.amount_minor, o.currency, t.state, t.payment_provider
        FROM core.orders o JOIN core.order_current t ON t."order" = o.id
        WHERE t.payment_provider = :provider
          AND (CAST(:since AS timestamptz) IS NULL OR o.ordered_at >= CAST(:since AS timestamptz))
        UNION
        SELECT o.id, o.scheme, o.amount_minor, o.currency, t.state, t.payment_provider
        FROM theirs r JOIN core.orders o ON o.id = r."order" JOIN core.order_current t ON t."order" = o.id),
    both_sides AS (
        SELECT coalesce(o.id, r."order") AS "order", o.id IS NOT NULL AS known, o.scheme, r.place, r.named,
               o.state AS here, r.status AS there, o.amount_minor, o.currency, r.low AS amount_there,
               r.low_currency AS currency_there, r.reference, o.payment_provider, r.times,
               r.low <> r.high OR r.low * power(CAST(10 AS numeric), d.decimals) <> o.amount_minor
                   OR coalesce(r.low_currency <> o.currency OR r.high_currency <> o.currency, false) AS other_amount,
               EXISTS (SELECT FROM core.orders n WHERE n.retries = o.id) AS retried
        FROM ours o FULL JOIN theirs r ON r."order" = o.id
        LEFT JOIN unnest(CAST(:currencies AS text[]), CAST(:decimals AS integer[])) AS d(currency, decimals)
          ON d.currency = o.currency)
    INSERT INTO book_joined
    SELECT "order", scheme, place, named, here, there, amount_minor, currency, amount_there, currency_there, reference,
           known AND coalesce(payment_provider = :provider, false),
           CASE WHEN there IS NULL THEN
                     CASE WHEN here = ANY (:open) THEN 'missing_there'
                          WHEN here IN ('paid', 'reversed') THEN 'missing_there_paid_here' END
                WHEN NOT known THEN 'unknown_order'
                WHEN payment_provider IS NULL THEN 'never_sent'
                WHEN payment_provider <> :provider THEN 'other_provider'
                WHEN times > 1 THEN 'paid_twice'
                WHEN other_amount THEN 'amount_differs'
                WHEN there = 'paid' THEN
                     CASE WHEN here = ANY (:open) THEN 'paid_not_reconciled'
                          WHEN here IN ('paid', 'reversed') THEN NULL
                          WHEN retried THEN 'paid_and_retried'
                          WHEN here = 'returned' THEN 'paid_there_returned_here'
                          ELSE 'paid_there_failed_here' END
                WHEN there = 'failed' THEN
                     CASE WHEN here = ANY (:open) THEN 'failed_not_reconciled'
                          WHEN here IN ('paid', 'reversed') THEN 'failed_there_paid_here' END
                WHEN there = 'returned' THEN
                     CASE WHEN here = ANY (:open) OR here = 'paid' THEN 'returned_not_reconciled'
                          WHEN here = 'reversed' THEN 'returned_there_reversed_here' END
                WHEN here IN ('paid', 'reversed') THEN 'pending_there_paid_here'
                WHEN here = ANY (:open) THEN NULL
                ELSE 'pending_there_failed_here' END
    FROM both_sides
    UNION ALL
    SELECT NULL, NULL, place, named, NULL, status, NULL, NULL, amount, currency, reference, false, 'unknown_order'
    FROM book_rows WHERE "order" IS NULL
    """
)
DIFFERENCES: Final = sa.text(
    """
    WITH kept AS (
        INSERT INTO core.book_differences (comparison, place, order_named, "order", code, here, there, amount_minor,
                                           currency, amount_there, currency_there, reference, audit)
        SELECT :comparison, place, named, "order", code, here, there, amount_minor, currency,
               CAST(amount_there AS text), currency_there, reference, :audit
        FROM book_joined WHERE code IS NOT NULL ORDER BY place NULLS LAST, "order"
        RETURNING code)
    SELECT code, count(*) AS n FROM kept GROUP BY code
    """
)
EQUAL: Final = sa.text("SELECT count(*) FROM book_joined WHERE code IS NULL AND here IS NOT NULL AND there IS NOT NULL")
SIDES: Final = sa.text(
    """
    SELECT 'ours' AS side, here AS status, currency, count(*) AS n, sum(amount_minor) AS minor
    FROM book_joined WHERE own GROUP BY here, currency
    UNION ALL
    SELECT 'theirs', r.status, c.currency, count(*), round(sum(r.amount * power(CAST(10 AS numeric), d.decimals)))
    FROM book_rows r LEFT JOIN book_joined j ON j."order" = r."order",
         LATERAL (SELECT coalesce(r.currency, j.currency, :currency) AS currency) c
         JOIN unnest(CAST(:currencies AS text[]), CAST(:decimals AS integer[])) AS d(currency, decimals)
           ON d.currency = c.currency
    GROUP BY r.status, c.currency ORDER BY 1, 2, 3
    """
)
# Cash moves with orders alone and under the names of payments' own commands; both sums are of one moment.
LEDGER: Final = sa.text(
    """
    SELECT o.scheme, o.currency,
           coalesce(sum(o.amount_minor) FILTER (WHERE t.state IN ('paid', 'reversed')), 0) AS orders,
           coalesce((SELECT -sum(p.amount) FROM core.ledger_entries e JOIN core.ledger_postings p ON p.entry = e.id
                     WHERE e.scheme = o.scheme AND p.account = :cash AND e.purpose LIKE 'payments.%'), 0) AS ledger
    FROM core.orders o JOIN core.order_current t ON t."order" = o.id
    WHERE o.scheme IN (SELECT scheme FROM book_joined WHERE own) GROUP BY o.scheme, o.currency ORDER BY 1, 2
    """
)
