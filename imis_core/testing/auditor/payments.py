"""Payments: nobody is paid twice, and orders, entitlements, claims, payrolls and budgets tell one story."""

from __future__ import annotations

from typing import Final

from imis_core.testing.auditor.findings import Check
from imis_core.testing.auditor.ledger import DEBTS

_KEYS: Final = Check(
    "orders.key_twice",
    """
    SELECT source_kind || ' ' || source || ', entitlement ' || entitlement AS location,
           'attempt ' || attempt || ' was ordered ' || count(*) || ' times' AS what
    FROM core.orders GROUP BY source_kind, source, entitlement, attempt HAVING count(*) > 1
    """,
)
_ATTEMPTS: Final = Check(
    "orders.attempts",
    """
    SELECT 'order ' || o.id AS location, CASE
             WHEN o.attempt = 1 AND o.retries IS NOT NULL THEN 'it is a first attempt that retries another order'
             WHEN b.id IS NULL THEN 'attempt ' || o.attempt || ' retries no earlier order of its entitlement'
             ELSE 'it retries order ' || b.id || ', which is ' || t.state || ' and not failed or returned' END AS what
    FROM core.orders o
    LEFT JOIN core.orders b ON b.id = o.retries AND (b.source_kind, b.source, b.entitlement, b.attempt, b.amount_minor)
                                                  = (o.source_kind, o.source, o.entitlement, o.attempt - 1,
                                                     o.amount_minor)
    LEFT JOIN core.order_current t ON t."order" = b.id
    WHERE (o.attempt = 1) <> (o.retries IS NULL)
       OR (o.attempt > 1 AND (b.id IS NULL OR t.state NOT IN ('failed', 'returned')))
    """,
)
_TWICE: Final = Check(
    "orders.paid_twice",
    """
    WITH paid AS (
        SELECT o.id, o.source_kind, o.source, o.entitlement FROM core.orders o
        JOIN core.order_current t ON t."order" = o.id WHERE t.state = 'paid')
    SELECT 'entitlement ' || entitlement AS location,
           'it was paid by the orders ' || string_agg(id::text, ', ' ORDER BY id) AS what
    FROM paid WHERE source_kind = 'payroll' GROUP BY entitlement HAVING count(*) > 1
    UNION ALL
    SELECT 'claim ' || c.id, 'it was paid by the orders ' || string_agg(p.id::text, ', ' ORDER BY p.id)
    FROM paid p JOIN core.payment_request_claims q ON q.request = p.source
    JOIN core.claims c ON c.id = q.claim AND c.provider = p.entitlement
    WHERE p.source_kind = 'claims' GROUP BY c.id HAVING count(*) > 1
    UNION ALL
    SELECT source_kind || ' ' || source || ', entitlement ' || entitlement,
           'it was paid by the orders ' || string_agg(id::text, ', ' ORDER BY id)
    FROM paid WHERE source_kind <> 'payroll' GROUP BY source_kind, source, entitlement HAVING count(*) > 1
    """,
)
_SAME_ENTITLEMENT: Final = Check(
    "entitlements.twice",
    """
    SELECT 'package ' || package || ', cycle ' || cycle || ', '
           || coalesce('group ' || "group", 'person ' || person) AS location,
           'the entitlements ' || string_agg(id::text, ', ' ORDER BY id) || ' are the same ('
           || source_kind || ' ' || source || ')' AS what
    FROM core.entitlements GROUP BY package, cycle, "group", person, source_kind, source HAVING count(*) > 1
    """,
)
_ENTITLEMENTS: Final = Check(
    "entitlements.order",
    f"""
    WITH {DEBTS}
    SELECT 'entitlement ' || t.entitlement AS location, CASE
             WHEN o.state IS NULL THEN 'it is ' || t.state || ' without an order'
             WHEN o.amount_minor <> t.amount_minor
               THEN 'it is worth ' || t.amount_minor || ', its order ' || o.amount_minor
             ELSE 'it is ' || t.state || ', its order ' || o.state END AS what
    FROM core.entitlement_current t
    LEFT JOIN last_orders o ON o.source_kind = 'payroll' AND o.source = t.payroll AND o.entitlement = t.entitlement
    WHERE CASE WHEN o.state IS NULL THEN t.state IN ('approved', 'paid', 'failed', 'reversed')
               ELSE o.amount_minor <> t.amount_minor OR t.state <> CASE
                    WHEN o.state IN ('submitted', 'accepted') THEN 'approved' WHEN o.state = 'returned' THEN 'failed'
                    ELSE o.state END END
    UNION ALL
    SELECT 'entitlement ' || o.entitlement, 'payroll ' || o.source || ' ordered it (' || o.state
           || '), it stands in ' || coalesce('payroll ' || t.payroll, 'none')
    FROM last_orders o LEFT JOIN core.entitlement_current t ON t.entitlement = o.entitlement
    WHERE o.source_kind = 'payroll' AND o.state <> 'cancelled' AND t.payroll IS DISTINCT FROM o.source
    """,
)
_AMOUNTS: Final = Check(
    "entitlements.amount",
    """
    SELECT 'entitlement ' || t.entitlement AS location, CASE
             WHEN a.entitlement IS NULL THEN 'payroll ' || t.payroll || ' never computed it'
             ELSE 'it stands at ' || t.amount_minor || ', payroll ' || t.payroll || ' computed ' || a.amount_minor
             END AS what
    FROM core.entitlement_current t
    LEFT JOIN core.entitlement_amounts a ON a.payroll = t.payroll AND a.entitlement = t.entitlement
    WHERE a.amount_minor IS DISTINCT FROM t.amount_minor
    """,
)
_PAYROLLS: Final = Check(
    "payrolls.state",
    """
    SELECT 'payroll ' || p.id AS location, CASE
             WHEN p.state IN ('reconciled', 'closed', 'deleted') THEN 'it is ' || p.state || ' with '
               || count(*) FILTER (WHERE t.state IN ('generated', 'awaiting_approval', 'approved', 'held'))
               || ' entitlements open'
             ELSE 'it is ' || p.state || ' and has orders' END AS what
    FROM core.payrolls p LEFT JOIN core.entitlement_current t ON t.payroll = p.id
    GROUP BY p.id, p.state
    HAVING (p.state IN ('reconciled', 'closed', 'deleted')
            AND count(*) FILTER (WHERE t.state IN ('generated', 'awaiting_approval', 'approved', 'held')) > 0)
        OR (p.state IN ('generating', 'awaiting_approval', 'failed', 'deleted') AND EXISTS (
            SELECT FROM core.orders o WHERE o.source_kind = 'payroll' AND o.source = p.id))
    """,
)
_CLAIMS: Final = Check(
    "claims.order",
    f"""
    WITH {DEBTS},
    asked AS (
        SELECT c.id, c.provider, t.state, v.payable_minor, r.state AS request_state, q.request, o.state AS order_state
        FROM core.claim_current t JOIN core.claims c ON c.id = t.claim
        LEFT JOIN core.claim_valuations v ON v.claim = t.claim AND v.valuation = t.valuation
        LEFT JOIN core.payment_request_claims q ON q.claim = t.claim AND q.open
        LEFT JOIN core.payment_requests r ON r.id = q.request
        LEFT JOIN last_orders o ON o.source_kind = 'claims' AND o.source = q.request AND o.entitlement = c.provider)
    SELECT 'claim ' || id AS location, CASE
             WHEN payable_minor IS NULL THEN 'it is valuated or paid without a valuation'
             WHEN state = 5 THEN 'it is paid, its payment is ' || coalesce(order_state, request_state, 'not asked for')
             ELSE 'it is not paid, its order is ' || order_state END AS what
    FROM asked
    WHERE (state IN (4, 5) AND payable_minor IS NULL)
       OR (state = 5 AND CASE WHEN payable_minor = 0 THEN request_state IS DISTINCT FROM 'approved'
                              ELSE order_state IS NULL OR order_state NOT IN ('paid', 'reversed') END)
       OR (state <> 5 AND order_state IN ('paid', 'reversed') AND payable_minor > 0)
    UNION ALL
    SELECT 'order of request ' || o.source || ' for provider ' || o.entitlement,
           'it is ' || o.amount_minor || ', its claims sum to ' || coalesce(sum(a.payable_minor), 0)
    FROM last_orders o LEFT JOIN asked a ON a.request = o.source AND a.provider = o.entitlement
    WHERE o.source_kind = 'claims' GROUP BY o.source, o.entitlement, o.amount_minor
    HAVING o.amount_minor <> coalesce(sum(a.payable_minor), 0)
    """,
)
_TOTALS: Final = Check(
    "claims.valuation",
    """
    SELECT 'claim ' || v.claim AS location, 'valuation ' || v.valuation || ' says ' || v.payable_minor
           || ', its lines ' || coalesce(sum(r.payable_minor), 0) AS what
    FROM core.claim_valuations v
    LEFT JOIN core.claim_results r ON r.claim = v.claim AND r.valuation = v.valuation
    GROUP BY v.claim, v.valuation, v.payable_minor HAVING v.payable_minor <> coalesce(sum(r.payable_minor), 0)
    """,
)
_REQUESTS: Final = Check(
    "claims.request",
    """
    SELECT 'payment request ' || r.id AS location, 'it counts ' || r.claims || ' claims and has '
           || count(q.claim) || ' (' || count(q.claim) FILTER (WHERE q.open) || ' held by it), being '
           || r.state AS what
    FROM core.payment_requests r LEFT JOIN core.payment_request_claims q ON q.request = r.id
    GROUP BY r.id, r.claims, r.state
    HAVING r.claims <> count(q.claim) OR (r.state = 'rejected' AND bool_or(q.open))
        OR (r.state <> 'rejected' AND NOT bool_and(q.open))
    """,
)
_BUDGETS: Final = Check(
    "budgets.counted",
    f"""
    WITH {DEBTS},
    standing AS (
        SELECT e.package,
               coalesce(sum(t.amount_minor) FILTER (WHERE t.state = 'approved'
                                                       OR (t.state = 'held' AND o.state IS NOT NULL)), 0) AS reserved,
               coalesce(sum(t.amount_minor) FILTER (WHERE t.state = 'paid'), 0) AS spent
        FROM core.entitlement_current t JOIN core.entitlements e ON e.id = t.entitlement
        LEFT JOIN last_orders o ON o.source_kind = 'payroll' AND o.source = t.payroll AND o.entitlement = t.entitlement
        GROUP BY e.package)
    SELECT 'budget of package ' || package AS location,
           'it counts ' || coalesce(b.reserved_minor, 0) || ' reserved and '
           || coalesce(b.spent_minor, 0) || ' spent, the entitlements say ' || coalesce(s.reserved, 0) || ' and '
           || coalesce(s.spent, 0) AS what
    FROM core.budgets b FULL JOIN standing s USING (package)
    WHERE (coalesce(b.reserved_minor, 0), coalesce(b.spent_minor, 0))
          <> (coalesce(s.reserved, 0), coalesce(s.spent, 0))
    """,
)
# Taken of entitlements that stand, waiting ones among them; and each deduction is a step of its entitlement.
_RECOVERIES: Final = Check(
    "recoveries.taken",
    """
    WITH standing AS (
        SELECT d.recovery, sum(d.amount_minor) AS taken FROM core.recovery_deductions d
        JOIN core.entitlement_current t ON t.entitlement = d.entitlement AND t.payroll = d.payroll
        WHERE t.state NOT IN ('cancelled', 'reversed') GROUP BY d.recovery)
    SELECT 'recovery ' || r.id AS location, taken || ' are taken and ' || r.written_off_minor || ' given up of '
           || r.amount_minor AS what
    FROM core.recoveries r JOIN standing s ON s.recovery = r.id WHERE taken + r.written_off_minor > r.amount_minor
    UNION ALL
    SELECT 'entitlement ' || d.entitlement, 'payroll ' || d.payroll || ' took ' || d.amount_minor
           || ' of it, which is no step to its amount'
    FROM core.recovery_deductions d JOIN core.recoveries r ON r.id = d.recovery
    JOIN core.entitlement_amounts a ON a.payroll = d.payroll AND a.entitlement = d.entitlement
    WHERE NOT a.steps @> jsonb_build_array(jsonb_build_array('recovery ' || r.code, -d.amount_minor))
    """,
)
CHECKS: Final = (
    _KEYS, _ATTEMPTS, _TWICE, _SAME_ENTITLEMENT, _ENTITLEMENTS, _AMOUNTS, _PAYROLLS, _CLAIMS, _TOTALS, _REQUESTS,
    _BUDGETS, _RECOVERIES,
)  # fmt: skip
