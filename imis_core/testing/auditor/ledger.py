"""The ledger: entries balance, and each account is what the rows of the other rooms say it should be.

Source of the accounts' meaning: contract.md, 'Ledger accounts of every scheme'. Accounts that a plugin adds are only
part of the sums.
"""

from __future__ import annotations

from typing import Final

from imis_core.testing.auditor.coverage import PAID
from imis_core.testing.auditor.findings import Check

_ENTRIES: Final = Check(
    "ledger.entry_unbalanced",
    """
    SELECT 'ledger entry ' || e.id AS location, CASE WHEN count(p.entry) = 0 THEN 'it has no postings'
           ELSE 'its postings sum to ' || sum(p.amount) || ', not 0' END AS what
    FROM core.ledger_entries e LEFT JOIN core.ledger_postings p ON p.entry = e.id
    GROUP BY e.id HAVING count(p.entry) = 0 OR sum(p.amount) <> 0
    """,
)
_SCHEMES: Final = Check(
    "ledger.scheme_unbalanced",
    """
    SELECT 'scheme ' || e.scheme AS location, 'its accounts sum to ' || sum(p.amount) || ', not 0' AS what
    FROM core.ledger_postings p JOIN core.ledger_entries e ON e.id = p.entry
    GROUP BY e.scheme HAVING sum(p.amount) <> 0
    """,
)
_CURRENCIES: Final = Check(
    "ledger.currencies",
    """
    SELECT 'scheme ' || scheme AS location,
           'it posts in several currencies: ' || string_agg(DISTINCT currency, ', ' ORDER BY currency) AS what
    FROM core.ledger_entries GROUP BY scheme HAVING count(DISTINCT currency) > 1
    """,
)

# What each row of the rooms means, in minor units: what was accrued, given up again, and paid out.
# - A claim is owed once it was valuated; its order says whether that was paid, or given up (cancelled, reversed).
# - An entitlement is owed once it was approved, that is: has an order in its payroll.
#   What was deducted of it for a recovery was accrued as well, and paid at once what was owed back.
# - Refunds are no benefits: see below.
# - Orders of other kinds of sources are taken to be owed from their first attempt on.
DEBTS: Final = """
    last_orders AS (
        SELECT DISTINCT ON (o.source_kind, o.source, o.entitlement)
               o.scheme, o.source_kind, o.source, o.entitlement, o.amount_minor, t.state
        FROM core.orders o JOIN core.order_current t ON t."order" = o.id
        ORDER BY o.source_kind, o.source, o.entitlement, o.attempt DESC),
    debts AS (
        SELECT c.scheme, v.payable_minor AS accrued,
               CASE WHEN o.state IN ('cancelled', 'reversed') THEN v.payable_minor ELSE 0 END AS given_up,
               CASE WHEN t.state = 5 THEN v.payable_minor ELSE 0 END AS paid
        FROM core.claim_current t JOIN core.claims c ON c.id = t.claim
        JOIN core.claim_valuations v ON v.claim = t.claim AND v.valuation = t.valuation
        LEFT JOIN core.payment_request_claims q ON q.claim = t.claim AND q.open
        LEFT JOIN last_orders o ON o.source_kind = 'claims' AND o.source = q.request AND o.entitlement = c.provider
        WHERE t.state IN (4, 5)
        UNION ALL
        SELECT e.scheme, t.amount_minor, CASE WHEN t.state = 'reversed' THEN t.amount_minor ELSE 0 END,
               CASE WHEN t.state IN ('paid', 'reversed') THEN t.amount_minor ELSE 0 END
        FROM core.entitlement_current t JOIN core.entitlements e ON e.id = t.entitlement
        LEFT JOIN last_orders o ON o.source_kind = 'payroll' AND o.source = t.payroll AND o.entitlement = t.entitlement
        WHERE t.state IN ('approved', 'paid', 'failed', 'reversed') OR (t.state = 'held' AND o.state IS NOT NULL)
        UNION ALL
        SELECT scheme, amount_minor, CASE WHEN state IN ('cancelled', 'reversed') THEN amount_minor ELSE 0 END,
               CASE WHEN state IN ('paid', 'reversed') THEN amount_minor ELSE 0 END
        FROM last_orders WHERE source_kind NOT IN ('claims', 'payroll', 'refunds'))
"""
# What beneficiaries owe back: what was opened, less what was given up and what entitlements that are owed paid of it.
# It was an expense before, or stood in the payable account where its payment had been reversed by then.
_RECOVERED: Final = """
    opened AS (
        SELECT r.scheme, r.amount_minor, r.written_off_minor, r.repaid_minor, EXISTS (
            SELECT FROM core.order_states s WHERE s."order" = r."order" AND s.state = 'reversed' AND s.audit < (
                SELECT h.audit FROM core.recoveries_history h WHERE h.id = r.id AND h.version = 1)) AS reversed
        FROM core.recoveries r),
    deducted AS (
        SELECT e.scheme, d.amount_minor FROM core.recovery_deductions d
        JOIN core.entitlement_current t ON t.entitlement = d.entitlement AND t.payroll = d.payroll
        JOIN core.entitlements e ON e.id = d.entitlement
        WHERE t.state IN ('approved', 'paid', 'failed') OR (t.state = 'held' AND EXISTS (
            SELECT FROM core.orders o WHERE o.source_kind = 'payroll' AND o.source = d.payroll
               AND o.entitlement = d.entitlement)))
"""
# Credits that are refunded: from their approval on they are no credits any more but owed, until they are paid. One that
# was reversed is a credit again, and whoever was paid it owes it.
_REFUNDED: Final = """
    refunded AS (
        SELECT scheme, CASE WHEN state = 'reversed' THEN 0 ELSE amount_minor END AS credit,
               CASE state WHEN 'approved' THEN -amount_minor WHEN 'reversed' THEN amount_minor ELSE 0 END AS payable
        FROM core.contribution_refunds WHERE state IN ('approved', 'paid', 'reversed'))
"""
# What members owe: a terminated policy owes no contribution any more, so that its due is what was paid of it (nothing
# where more was refunded than was paid: that is owed); others owe nothing for one that never covered anybody.
_DUES: Final = f"""
    {PAID},
    dues AS (
        SELECT c.scheme, CASE WHEN c.state = 'terminated' THEN greatest(least(coalesce(p.paid, 0), c.due_minor), 0)
                              ELSE c.due_minor END AS due,
               CASE WHEN c.state = 'terminated' AND c.effective_from IS NULL THEN 0 ELSE c.subsidy_minor END AS subsidy
        FROM core.coverages c LEFT JOIN paid p ON p.coverage = c.id
        UNION ALL
        SELECT scheme, employee_minor + employer_minor + state_minor, 0 FROM core.wages)
"""
_ACCOUNTS: Final = Check(
    "ledger.account",
    f"""
    WITH {DEBTS}, {_RECOVERED}, {_REFUNDED}, {_DUES},
    meant AS (
        SELECT scheme, 'contributions_receivable' AS account, due AS amount FROM dues
        UNION ALL SELECT scheme, CASE WHEN category IS NULL THEN 'contributions_receivable'
                                      ELSE 'subsidies_receivable' END, -amount_minor FROM receipts
        UNION ALL SELECT scheme, 'subsidies_receivable', subsidy FROM dues
        UNION ALL SELECT scheme, 'contributions_income', -(due + subsidy) FROM dues
        UNION ALL SELECT scheme, 'benefits_expense', accrued - given_up FROM debts
        UNION ALL SELECT scheme, 'benefits_payable', paid + given_up - accrued FROM debts
        UNION ALL SELECT scheme, 'benefits_expense', written_off_minor - repaid_minor FROM opened
        UNION ALL SELECT scheme, 'cash', repaid_minor FROM opened
        UNION ALL SELECT scheme, CASE WHEN reversed THEN 'benefits_payable' ELSE 'benefits_expense' END, -amount_minor
                  FROM opened
        UNION ALL SELECT scheme, 'recoveries_receivable', amount_minor - written_off_minor FROM opened
        UNION ALL SELECT scheme, 'recoveries_receivable', -amount_minor FROM deducted
        UNION ALL SELECT scheme, 'benefits_expense', amount_minor FROM deducted
        UNION ALL SELECT scheme, 'contributions_receivable', credit FROM refunded
        UNION ALL SELECT scheme, 'benefits_payable', payable FROM refunded
        UNION ALL SELECT scheme, 'cash', amount_minor FROM receipts
        UNION ALL SELECT o.scheme, 'cash', -o.amount_minor FROM core.orders o
                  JOIN core.order_current t ON t."order" = o.id WHERE t.state IN ('paid', 'reversed')),
    should AS (SELECT scheme, account, sum(amount) AS amount FROM meant GROUP BY scheme, account),
    posted AS (
        SELECT e.scheme, p.account, sum(p.amount) AS amount
        FROM core.ledger_postings p JOIN core.ledger_entries e ON e.id = p.entry GROUP BY e.scheme, p.account)
    SELECT 'ledger.' || account AS code, 'scheme ' || scheme AS location,
           'the ledger has ' || coalesce(posted.amount, 0) || ', the rows say ' || coalesce(should.amount, 0) AS what
    FROM should FULL JOIN posted USING (scheme, account)
    WHERE coalesce(posted.amount, 0) <> coalesce(should.amount, 0)
      AND account IN (SELECT account FROM meant)
    """,
)
CHECKS: Final = (_ENTRIES, _SCHEMES, _CURRENCIES, _ACCOUNTS)
