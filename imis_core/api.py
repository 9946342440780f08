"""All that a plugin may import. A plain list of names from the rooms: nothing is defined here."""

from __future__ import annotations

from imis_core.attachments.store import NewFile, store_files
from imis_core.beneficiaries.checking import BeneficiaryBatch
from imis_core.beneficiaries.joining import Joined, MemberEffect
from imis_core.beneficiaries.lookup import GroupRow, PersonRow, resolve_groups, resolve_persons
from imis_core.beneficiaries.memberships import person_reference
from imis_core.beneficiaries.merging import PersonMove
from imis_core.beneficiaries.tables import groups, persons
from imis_core.benefit_packages.lookup import (
    Version,
    package_currencies,
    parsed_terms,
    scheme_type,
    versions_by_id,
    versions_on,
)
from imis_core.benefit_packages.numbers_of_terms import LARGEST_MINOR, number_problems
from imis_core.benefit_packages.schemes import (
    ClaimCase,
    Condition,
    Enrollee,
    EnrolmentCase,
    FlatPackage,
    PaymentTerms,
    Quote,
    SchemeType,
    TermsCheck,
    WageCase,
    WageContribution,
)
from imis_core.benefit_packages.tables import package_versions, packages
from imis_core.catalogue.lookup import resolve_items
from imis_core.catalogue.tables import items
from imis_core.claims.events import ClaimsValuated
from imis_core.claims.sampling import ClaimSample, SampleRule
from imis_core.claims.states import VOID_NUMBERS as VOID_CLAIMS
from imis_core.claims.tables import claim_current, claims
from imis_core.commands import Command, command
from imis_core.context import Context
from imis_core.coverage.covers import COVERAGE_KIND, coverage_covers_sql
from imis_core.criteria.checks import problems_of as expression_problems
from imis_core.criteria.compiling import Criteria, Value
from imis_core.criteria.criterion import Criterion
from imis_core.criteria.expressions import Expression, ExpressionError, count_of, equals
from imis_core.criteria.kinds import kinds_of
from imis_core.criteria.parser import parse_expression
from imis_core.database.bulk import array_literal, insert_returning, insert_rows, take_ids
from imis_core.database.personal import declare as declare_personal
from imis_core.database.tables import (
    ALL_SEEN,
    day,
    document,
    edited,
    identity,
    instant,
    mass,
    minor,
    plugin_metadata,
    reference,
    text,
)
from imis_core.eligibility.rejections import Rejection
from imis_core.employment.lookup import (
    EmployerRow,
    MonthWage,
    Spell,
    resolve_employers,
    spells_of,
    spells_sql,
    wages_of_window,
)
from imis_core.employment.tables import employers, employments
from imis_core.errors import ImisError, Problem, Refusal, invalid, not_found, suggestion
from imis_core.hookspecs import hookimpl
from imis_core.jobs_kinds import Chunk, ChunkedJob, Job, NoInput
from imis_core.jobs_schedules import Schedule
from imis_core.migrations import online
from imis_core.naming import code_problem, name_problem
from imis_core.notifications.notifiers import Notifier, Outcome, Outgoing
from imis_core.notifications.outbox import Message, notify
from imis_core.notifications.texts import message_text
from imis_core.parsing import Invalid, InvalidInput, outside_name, parse, problems_of
from imis_core.payments.channels import PaymentChannel
from imis_core.payments.orders import NewOrder, move_orders_of, place_orders, place_orders_from
from imis_core.payments.sources import Batch, Settled, SourceKind
from imis_core.payments.tables import order_current, orders
from imis_core.payments.transmitting import service as payment_service
from imis_core.payroll.events import PayrollApproved
from imis_core.payroll.runs import CycleRow, HoldRule, PayrollHolds, PayrollRun
from imis_core.payroll.tables import (
    cycles,
    entitlement_amounts,
    entitlement_current,
    entitlement_states,
    entitlements,
)
from imis_core.payroll.versions import version_for, versions_of
from imis_core.places.lookup import resolve_locations
from imis_core.places.tables import locations, providers
from imis_core.plugins import Manifest
from imis_core.queries import Listing, Query, query
from imis_core.recurrence import Recurrence
from imis_core.registry.exclusion import self_excluded_groups_sql, self_excluded_persons_sql
from imis_core.reports.reports import Report
from imis_core.resource_mappings import MappingEntry, MappingFilter, ResourceMapping
from imis_core.routes import Answer, Refused, Route, RouteRequest
from imis_core.security.caller import denied
from imis_core.states import StateTable
from imis_core.users.lookup import UserRow, resolve_users, user_names
from imis_core.values import (
    INT64_MAX,
    MINOR_UNITS,
    Amount,
    Money,
    MonthDay,
    NotExact,
    Percent,
    Quantity,
    Rate,
    add_months,
    day_before,
    full_years,
    share_half_up,
    thousandths_text,
    to_minor,
    to_thousandths,
)

__all__ = [
    "ALL_SEEN",
    "COVERAGE_KIND",
    "INT64_MAX",
    "LARGEST_MINOR",
    "MINOR_UNITS",
    "VOID_CLAIMS",
    "Amount",
    "Answer",
    "Batch",
    "BeneficiaryBatch",
    "Chunk",
    "ChunkedJob",
    "ClaimCase",
    "ClaimSample",
    "ClaimsValuated",
    "Command",
    "Condition",
    "Context",
    "Criteria",
    "Criterion",
    "CycleRow",
    "EmployerRow",
    "Enrollee",
    "EnrolmentCase",
    "Expression",
    "ExpressionError",
    "FlatPackage",
    "GroupRow",
    "HoldRule",
    "ImisError",
    "Invalid",
    "InvalidInput",
    "Job",
    "Joined",
    "Listing",
    "Manifest",
    "MappingEntry",
    "MappingFilter",
    "MemberEffect",
    "Message",
    "Money",
    "MonthDay",
    "MonthWage",
    "NewFile",
    "NewOrder",
    "NoInput",
    "NotExact",
    "Notifier",
    "Outcome",
    "Outgoing",
    "PaymentChannel",
    "PaymentTerms",
    "PayrollApproved",
    "PayrollHolds",
    "PayrollRun",
    "Percent",
    "PersonMove",
    "PersonRow",
    "Problem",
    "Quantity",
    "Query",
    "Quote",
    "Rate",
    "Recurrence",
    "Refusal",
    "Refused",
    "Rejection",
    "Report",
    "ResourceMapping",
    "Route",
    "RouteRequest",
    "SampleRule",
    "Schedule",
    "SchemeType",
    "Settled",
    "SourceKind",
    "Spell",
    "StateTable",
    "TermsCheck",
    "UserRow",
    "Value",
    "Version",
    "WageCase",
    "WageContribution",
    "add_months",
    "array_literal",
    "claim_current",
    "claims",
    "code_problem",
    "command",
    "count_of",
    "coverage_covers_sql",
    "cycles",
    "day",
    "day_before",
    "declare_personal",
    "denied",
    "document",
    "edited",
    "employers",
    "employments",
    "entitlement_amounts",
    "entitlement_current",
    "entitlement_states",
    "entitlements",
    "equals",
    "expression_problems",
    "full_years",
    "groups",
    "hookimpl",
    "identity",
    "insert_returning",
    "insert_rows",
    "instant",
    "invalid",
    "items",
    "kinds_of",
    "locations",
    "mass",
    "message_text",
    "minor",
    "move_orders_of",
    "name_problem",
    "not_found",
    "notify",
    "number_problems",
    "online",
    "order_current",
    "orders",
    "outside_name",
    "package_currencies",
    "package_versions",
    "packages",
    "parse",
    "parse_expression",
    "parsed_terms",
    "payment_service",
    "person_reference",
    "persons",
    "place_orders",
    "place_orders_from",
    "plugin_metadata",
    "problems_of",
    "providers",
    "query",
    "reference",
    "resolve_employers",
    "resolve_groups",
    "resolve_items",
    "resolve_locations",
    "resolve_persons",
    "resolve_users",
    "scheme_type",
    "self_excluded_groups_sql",
    "self_excluded_persons_sql",
    "share_half_up",
    "spells_of",
    "spells_sql",
    "store_files",
    "suggestion",
    "take_ids",
    "text",
    "thousandths_text",
    "to_minor",
    "to_thousandths",
    "user_names",
    "version_for",
    "versions_by_id",
    "versions_of",
    "versions_on",
    "wages_of_window",
]
