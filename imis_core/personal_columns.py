"""The kernel's columns that say something of a person, and those that do not (`database.personal` says how to read it).

A new column that may hold words is added here; plugins declare theirs beside their tables.
"""

from __future__ import annotations

from imis_core.database.personal import declare
from imis_core.database.tables import metadata

declare(
    metadata,
    """
    account_check_current: *
    account_check_rows: *
    account_checks: *
    approvals: *
    attachments: name=file digest=file | media_type about_noun
    attribute_values: value=shape | of attribute
    audit_entries: digest=blank input=drop | command
    audit_seals: *
    bank_files: | source_kind currency digest
    book_comparisons: file=file | digest
    book_differences: order_named=text reference=text | code here there currency amount_there currency_there
    card_revocations: reason=text |
    cards: | serial
    cash_lists: | source_kind digest
    claim_averages: | scheme
    claim_current: | scheme
    claim_feedback: note=text | status
    claim_line_checks: | cover_kind
    claim_line_payers: | cover_kind
    claim_line_reviews: justification=text | cover_kind
    claim_selections: note=text | reason
    claim_states: reason=text |
    claims: | scheme code visit_type facility_level category currency
    contribution_refunds: reason=text rejection=text | scheme currency state
    contribution_reversals: reason=text |
    contributions: payer=name override_reason=text | scheme currency receipt method category
    cover_usage: | cover_kind counter
    coverage_reminders: | kind
    coverage_subsidies: | category
    coverages: | scheme state currency
    cycles: | scheme code
    deliveries: *
    diagnoses: | code name
    duplicates: reason=text | reasons state
    earlier_passwords: *
    employers: name=text | scheme code class
    employments: | scheme currency
    entitlement_amounts: | steps
    entitlement_current: | state
    entitlement_states: reason=text | state
    entitlements: | scheme source_kind
    events: *
    exclusions: reason=text |
    groups: code=code attributes=attributes confirmation_number=shape | kind status
    idempotency: *
    identifiers: value=shape | system
    imported_rows: digest=blank | kind key
    item_prices: | currency
    items: | code name kind category care_type sexes ages bundle
    job_chunks: *
    job_errors: *
    job_runs: *
    last_logins: *
    ledger_entries: | scheme currency purpose
    ledger_postings: | account
    location_periods: | name
    locations: | code name level
    login_failures: *
    lookups: | command
    memberships: | kind relationship recipient left_reason
    merges: reason=text undo=drop | state
    notification_current: reason=text | state
    notification_secrets: *
    notification_states: reason=text | state notifier
    notifications: to=shape subject=text text=text | about_noun
    order_current: reason=text | state
    order_states: reason=text reference=shape | state
    orders: | scheme source_kind currency
    package_versions: | name terms digest
    packages: | scheme code currency
    pay_points: | code name hours
    payment_days: | currency
    payment_lines: *
    payment_providers: debtor_name=text debtor_account=shape | code name channel debtor_bank
    payment_requests: reason=text | scheme state currency
    payrolls: reason=text | scheme currency state
    persons: number=number given_name=name family_name=name birth_date=birth_date attributes=attributes
    persons: status_reason=text | sex status
    price_list_versions: | digest
    price_lists: | code currency
    providers: | code name kind level sub_level legal_form care_type
    reads: | query
    provider_message_outcomes: *
    provider_messages: *
    provider_messages_waiting: *
    recipients: account=shape | scheme
    reconciliation_rows: file=text reference=shape reason=text | order_named status amount outcome
    recoveries: reason=text | scheme code currency state
    refund_batches: | scheme
    registration_periods: | state
    registry_import_rows: data=drop errors=drop |
    registry_imports: file=text content_hash=blank reason=text | kind state
    schedules: | job
    subsidy_accounts: | scheme category
    tokens: *
    transmission_current: *
    transmission_orders: *
    transmission_states: *
    transmissions: *
    users: name=login password=drop | roles
    voucher_cancellations: note=text | reason
    voucher_numbers: *
    wage_declarations: | scheme class currency
    wages: | scheme currency
    """,
)
