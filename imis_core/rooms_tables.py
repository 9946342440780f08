"""All tables of the kernel's rooms, for migrations: importing this module fills `metadata`."""

from __future__ import annotations

from importlib import import_module

from imis_core import jobs_tables, retention_tables, runtime_tables
from imis_core.attachments import tables as attachments_tables
from imis_core.beneficiaries import tables as beneficiaries_tables
from imis_core.benefit_packages import tables as benefit_packages_tables
from imis_core.cards import tables as cards_tables
from imis_core.catalogue import tables as catalogue_tables
from imis_core.claims import tables as claims_tables
from imis_core.coverage import tables as coverage_tables
from imis_core.database.tables import metadata
from imis_core.employment import tables as employment_tables
from imis_core.imports import tables as imports_tables
from imis_core.ledger import tables as ledger_tables
from imis_core.notifications import tables as notifications_tables
from imis_core.payments import tables as payments_tables
from imis_core.payments.transmitting import tables as transmitting_tables
from imis_core.payroll import tables as payroll_tables
from imis_core.places import tables as places_tables
from imis_core.registry import tables as registry_tables
from imis_core.security import tables as security_tables

ROOMS = (
    runtime_tables, security_tables, jobs_tables, places_tables, catalogue_tables, beneficiaries_tables,
    benefit_packages_tables, coverage_tables, claims_tables, payments_tables, ledger_tables, imports_tables,
    registry_tables, employment_tables, payroll_tables, notifications_tables, attachments_tables, cards_tables,
    retention_tables, transmitting_tables,
)  # fmt: skip

import_module("imis_core.personal_columns")  # declares the columns of all of these

__all__ = ["ROOMS", "metadata"]
