"""All that a plugin may import. A plain list of names from the rooms: nothing is defined here."""

from __future__ import annotations

from imis_core.benefit_packages.lookup import package_currencies
from imis_core.benefit_packages.schemes import (
    Enrollee,
    EnrolmentCase,
    PaymentTerms,
    Quote,
    SchemeType,
    TermsCheck,
)
from imis_core.benefit_packages.tables import package_versions
from imis_core.catalogue.lookup import resolve_items
from imis_core.catalogue.tables import items
from imis_core.claims.events import ClaimsValuated
from imis_core.commands import Command, command
from imis_core.context import Context
from imis_core.coverage.covers import coverage_covers_sql
from imis_core.database.bulk import insert_rows
from imis_core.database.tables import day, minor, plugin_metadata, text
from imis_core.errors import Problem, Refusal, suggestion
from imis_core.hookspecs import hookimpl
from imis_core.jobs import Job
from imis_core.parsing import Invalid, InvalidInput, outside_name, parse, problems_of
from imis_core.places.tables import providers
from imis_core.plugins import Manifest
from imis_core.queries import Listing, Query, query
from imis_core.values import (
    INT64_MAX,
    Amount,
    Money,
    MonthDay,
    NotExact,
    Percent,
    add_months,
    day_before,
    full_years,
    share_half_up,
    to_minor,
)

__all__ = [
    "INT64_MAX",
    "Amount",
    "ClaimsValuated",
    "Command",
    "Context",
    "Enrollee",
    "EnrolmentCase",
    "Invalid",
    "InvalidInput",
    "Job",
    "Listing",
    "Manifest",
    "Money",
    "MonthDay",
    "NotExact",
    "PaymentTerms",
    "Percent",
    "Problem",
    "Query",
    "Quote",
    "Refusal",
    "SchemeType",
    "TermsCheck",
    "add_months",
    "command",
    "coverage_covers_sql",
    "day",
    "day_before",
    "full_years",
    "hookimpl",
    "insert_rows",
    "items",
    "minor",
    "outside_name",
    "package_currencies",
    "package_versions",
    "parse",
    "plugin_metadata",
    "problems_of",
    "providers",
    "query",
    "resolve_items",
    "share_half_up",
    "suggestion",
    "text",
    "to_minor",
]
