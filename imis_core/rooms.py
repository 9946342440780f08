"""The kernel's own rooms as a plugin named `core`: built-in parts enter through the same hooks as outsiders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from imis_core import __version__, approvals, audit_reads, audit_trail, deliveries, jobs_doors, person_export, retention
from imis_core.attachments import commands as attachments_commands
from imis_core.attachments import photos
from imis_core.attachments import queries as attachments_queries
from imis_core.beneficiaries import commands as beneficiaries_commands
from imis_core.beneficiaries import numbers as numbers_of_persons
from imis_core.beneficiaries import queries as beneficiaries_queries
from imis_core.benefit_packages import commands as benefit_packages_commands
from imis_core.benefit_packages import queries as benefit_packages_queries
from imis_core.cards import commands as cards_commands
from imis_core.cards import publishing as cards_publishing
from imis_core.cards import queries as cards_queries
from imis_core.catalogue import commands as catalogue_commands
from imis_core.catalogue import queries as catalogue_queries
from imis_core.claims import background as claims_background
from imis_core.claims import commands as claims_commands
from imis_core.claims import explaining as claims_explaining
from imis_core.claims import feedback as claims_feedback
from imis_core.claims import paying as claims_paying
from imis_core.claims import queries as claims_queries
from imis_core.claims import review_queries as claims_review_queries
from imis_core.claims import reviewing as claims_reviewing
from imis_core.claims import selecting as claims_selecting
from imis_core.claims import withdrawing as claims_withdrawing
from imis_core.coverage import commands as coverage_commands
from imis_core.coverage import joining as coverage_joining
from imis_core.coverage import queries as coverage_queries
from imis_core.coverage import reminders as coverage_reminders
from imis_core.coverage.refunding import REFUNDS_SOURCE
from imis_core.eligibility import queries as eligibility_queries
from imis_core.employment import commands as employment_commands
from imis_core.employment import queries as employment_queries
from imis_core.hookspecs import hookimpl
from imis_core.ledger import queries as ledger_queries
from imis_core.notifications import commands as notifications_commands
from imis_core.notifications import delivery
from imis_core.notifications import queries as notifications_queries
from imis_core.notifications.gateways import KERNEL_NOTIFIERS
from imis_core.payments import (
    addresses,
    cash_lists,
    comparing,
    comparing_queries,
    recipient_files,
    recipients,
    reconciling,
    reconciling_files,
)
from imis_core.payments import commands as payments_commands
from imis_core.payments import moving as payments_moving
from imis_core.payments import queries as payments_queries
from imis_core.payments.bank_files import listing as bank_files_listing
from imis_core.payments.bank_files import making as bank_files
from imis_core.payments.channels import KERNEL_CHANNELS
from imis_core.payments.transmitting import (
    cancelling,
    checks,
    follow_up,
    handing_out,
    messages,
    running,
    voucher_numbers,
    webhook,
)
from imis_core.payments.transmitting import commands as transmitting_commands
from imis_core.payments.transmitting import queries as transmitting_queries
from imis_core.payroll import background as payroll_background
from imis_core.payroll import commands as payroll_commands
from imis_core.payroll import cycle_reports, cycles, missed
from imis_core.payroll import queries as payroll_queries
from imis_core.payroll.settling import PAYROLL_SOURCE
from imis_core.person_moves import PERSON_MOVES
from imis_core.places import commands as places_commands
from imis_core.places import providers
from imis_core.places import queries as places_queries
from imis_core.plugins import KERNEL, Manifest
from imis_core.registry import commands as registry_commands
from imis_core.registry import periods
from imis_core.registry import queries as registry_queries
from imis_core.reports import queries as reports_queries
from imis_core.simulation import queries as simulation_queries
from imis_core.users import commands as users_commands
from imis_core.users import logins as users_logins
from imis_core.users import own as users_own
from imis_core.users import queries as users_queries
from imis_core.users import roles as users_roles

if TYPE_CHECKING:
    from imis_core.beneficiaries.checking import BeneficiaryBatch
    from imis_core.beneficiaries.joining import MemberEffect
    from imis_core.beneficiaries.merging import PersonMove
    from imis_core.commands import Command
    from imis_core.context import Context
    from imis_core.errors import Refusal
    from imis_core.jobs_kinds import ChunkedJob, Job
    from imis_core.notifications.notifiers import Notifier
    from imis_core.payments.channels import PaymentChannel
    from imis_core.payments.sources import SourceKind
    from imis_core.queries import Query
    from imis_core.reports.reports import Report
    from imis_core.routes import Route


@hookimpl
def imis_plugin() -> Manifest:
    return Manifest(
        name=KERNEL,
        version=__version__,
        kernel=f"=={__version__}",
        migrations="imis_core.migrations.core",
        tables="imis_core.rooms_tables",
    )


@hookimpl
def imis_register_commands() -> Iterable[Command]:
    return (
        *approvals.COMMANDS,
        *users_commands.COMMANDS,
        *users_logins.COMMANDS,
        *users_own.COMMANDS,
        *jobs_doors.COMMANDS,
        *deliveries.COMMANDS,
        *places_commands.COMMANDS,
        *providers.COMMANDS,
        *catalogue_commands.COMMANDS,
        *beneficiaries_commands.COMMANDS,
        *benefit_packages_commands.COMMANDS,
        *coverage_commands.COMMANDS,
        *claims_commands.COMMANDS,
        *claims_background.COMMANDS,
        *claims_reviewing.COMMANDS,
        *claims_selecting.COMMANDS,
        *claims_feedback.COMMANDS,
        *claims_withdrawing.COMMANDS,
        *claims_paying.COMMANDS,
        *recipients.COMMANDS,
        *recipient_files.COMMANDS,
        *payments_commands.COMMANDS,
        *payments_moving.COMMANDS,
        *reconciling.COMMANDS,
        *reconciling_files.COMMANDS,
        *comparing.COMMANDS,
        *cash_lists.COMMANDS,
        *bank_files.COMMANDS,
        *transmitting_commands.COMMANDS,
        *checks.COMMANDS,
        *cancelling.COMMANDS,
        *registry_commands.COMMANDS,
        *employment_commands.COMMANDS,
        *cycles.COMMANDS,
        *payroll_commands.COMMANDS,
        *payroll_background.COMMANDS,
        *notifications_commands.COMMANDS,
        *attachments_commands.COMMANDS,
        *photos.COMMANDS,
        *cards_commands.COMMANDS,
    )


@hookimpl
def imis_register_queries() -> Iterable[Query]:
    return (
        *approvals.QUERIES,
        *audit_trail.QUERIES,
        *audit_reads.QUERIES,
        *person_export.QUERIES,
        *users_queries.QUERIES,
        *users_logins.QUERIES,
        *users_own.QUERIES,
        *users_roles.QUERIES,
        *jobs_doors.QUERIES,
        *deliveries.QUERIES,
        *places_queries.QUERIES,
        *catalogue_queries.QUERIES,
        *beneficiaries_queries.QUERIES,
        *benefit_packages_queries.QUERIES,
        *coverage_queries.QUERIES,
        *eligibility_queries.QUERIES,
        *claims_queries.QUERIES,
        *claims_review_queries.QUERIES,
        *claims_feedback.QUERIES,
        *claims_explaining.QUERIES,
        *simulation_queries.QUERIES,
        *payments_queries.QUERIES,
        *addresses.QUERIES,
        *recipient_files.QUERIES,
        *bank_files_listing.QUERIES,
        *transmitting_queries.QUERIES,
        *handing_out.QUERIES,
        *comparing_queries.QUERIES,
        *ledger_queries.QUERIES,
        *registry_queries.QUERIES,
        *employment_queries.QUERIES,
        *cycles.QUERIES,
        *payroll_queries.QUERIES,
        *notifications_queries.QUERIES,
        *attachments_queries.QUERIES,
        *photos.QUERIES,
        *reports_queries.QUERIES,
        *cards_queries.QUERIES,
    )


@hookimpl
def imis_register_jobs() -> Iterable[Job | ChunkedJob]:
    return (
        *retention.JOBS,
        *delivery.JOBS,
        *claims_selecting.JOBS,
        *coverage_reminders.JOBS,
        *claims_background.JOBS,
        *payroll_background.JOBS,
        *running.JOBS,
        *follow_up.JOBS,
        *messages.JOBS,
        *checks.JOBS,
        *cancelling.JOBS,
        *voucher_numbers.JOBS,
    )


@hookimpl
def imis_register_routes() -> Iterable[Route]:
    return (*cards_publishing.ROUTES, *webhook.ROUTES)


@hookimpl
def imis_register_reports() -> Iterable[Report]:
    return (*cycle_reports.REPORTS, *missed.REPORTS)


@hookimpl
def imis_register_notifiers() -> Iterable[Notifier]:
    return KERNEL_NOTIFIERS


@hookimpl
def imis_register_payment_channels() -> Iterable[PaymentChannel]:
    return KERNEL_CHANNELS


@hookimpl
def imis_register_payment_sources() -> Iterable[SourceKind]:
    return (claims_paying.CLAIMS_SOURCE, PAYROLL_SOURCE, REFUNDS_SOURCE)


@hookimpl
def imis_beneficiary_check_batch(context: Context, batch: BeneficiaryBatch) -> Mapping[int, Refusal]:
    return periods.check_periods(context, batch)


@hookimpl
def imis_person_number_batch(context: Context, numbers: Sequence[str]) -> Mapping[int, Refusal]:
    return numbers_of_persons.deployment_rule(context, numbers)


@hookimpl
def imis_register_member_effects() -> Iterable[MemberEffect]:
    return (coverage_joining.EFFECT,)


@hookimpl
def imis_person_merge_sql() -> Iterable[PersonMove]:
    return PERSON_MOVES
