"""Every hook that a plugin may implement: the table of contents of the framework.

A hook describes (it returns descriptors or SQL expressions); the kernel executes. The name tells when it is called:
`imis_register_*` once at start, `imis_on_*` after commit from the outbox, at least once, in a transaction of the
plugin's own. All hooks are synchronous. A hook enters this file together with its caller and a real implementer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import sqlalchemy as sa

    from imis_core.beneficiaries.checking import BeneficiaryBatch
    from imis_core.beneficiaries.joining import MemberEffect
    from imis_core.beneficiaries.merging import PersonMove
    from imis_core.benefit_packages.schemes import SchemeType
    from imis_core.claims.events import ClaimsValuated
    from imis_core.claims.sampling import ClaimSample, SampleRule
    from imis_core.commands import Command
    from imis_core.context import Context
    from imis_core.errors import Refusal
    from imis_core.jobs_kinds import ChunkedJob, Job
    from imis_core.notifications.notifiers import Notifier
    from imis_core.payments.channels import PaymentChannel
    from imis_core.payments.sources import SourceKind
    from imis_core.payroll.events import PayrollApproved
    from imis_core.payroll.runs import HoldRule, PayrollHolds, PayrollRun
    from imis_core.plugins import Manifest
    from imis_core.queries import Query
    from imis_core.reports.reports import Report
    from imis_core.resource_mappings import ResourceMapping
    from imis_core.routes import Route

PROJECT = "imis"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# --- the plugin itself


@hookspec
def imis_plugin() -> Manifest:  # type: ignore[empty-body]
    """Who the plugin is: name, version, kernel range, settings, migrations, ports. Called once when it is loaded."""


# --- surfaces


@hookspec
def imis_register_scheme_types() -> Iterable[SchemeType]:  # type: ignore[empty-body]
    """The kinds of schemes that the plugin knows: terms, and the strategies that only it can answer."""


@hookspec
def imis_register_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Commands that the plugin adds to the door for writes; names begin with one of the manifest's nouns."""


@hookspec
def imis_register_queries() -> Iterable[Query]:  # type: ignore[empty-body]
    """Queries that the plugin adds to the door for reads; names begin with one of the manifest's nouns."""


@hookspec
def imis_register_jobs() -> Iterable[Job | ChunkedJob]:  # type: ignore[empty-body]
    """Background work: single jobs, with a schedule if they have one, and runs that are cut into chunks."""


@hookspec
def imis_register_reports() -> Iterable[Report]:  # type: ignore[empty-body]
    """Reports: registered queries under a name and a title of their own, written as files like any listing."""


@hookspec
def imis_register_notifiers() -> Iterable[Notifier]:  # type: ignore[empty-body]
    """Ways in which messages leave the system; a message goes through the first one that takes it."""


@hookspec
def imis_register_routes() -> Iterable[Route]:  # type: ignore[empty-body]
    """Addresses of the plugin's own at the web door, for formats that are not the kernel's; names begin with a noun."""


@hookspec
def imis_register_mappings() -> Iterable[ResourceMapping]:  # type: ignore[empty-body]
    """How nouns look in another format; the plugin that declares the mapping's surface in its manifest speaks it."""


# --- beneficiaries


@hookspec
def imis_beneficiary_check_batch(  # type: ignore[empty-body]
    context: Context, batch: BeneficiaryBatch
) -> Mapping[int, Refusal]:
    """What speaks against registering these groups or adding to them: refusals by position. Called once per batch."""


@hookspec
def imis_person_number_batch(  # type: ignore[empty-body]
    context: Context, numbers: Sequence[str]
) -> Mapping[int, Refusal]:
    """What speaks against these numbers of persons: refusals by position. Called once per batch."""


@hookspec
def imis_register_member_effects() -> Iterable[MemberEffect]:  # type: ignore[empty-body]
    """What follows in the same transaction when persons join groups, such as their cover. Set-based."""


@hookspec
def imis_person_merge_sql() -> Iterable[PersonMove]:  # type: ignore[empty-body]
    """Columns that name a person and go over to the person who is kept when two are found to be one."""


# --- payments


@hookspec
def imis_register_payment_channels() -> Iterable[PaymentChannel]:  # type: ignore[empty-body]
    """Ways in which payment providers are told to pay."""


@hookspec
def imis_register_payment_sources() -> Iterable[SourceKind]:  # type: ignore[empty-body]
    """Kinds of debts that orders pay, each with the set-based settling that runs in reconciliation's transaction."""


# --- claims


@hookspec
def imis_claim_sample_sql(sample: ClaimSample) -> Sequence[SampleRule]:  # type: ignore[empty-body]
    """Which claims that have just passed their checks wait for a medical review: conditions over `sample.claims`.

    Asked of the plugins that speak for the scheme, once for the claims of a scheme in a batch; the conditions of all
    and the kernel's own become one statement, and a claim for which any of them holds is chosen.
    """


@hookspec
def imis_on_claims_valuated(context: Context, event: ClaimsValuated) -> None:
    """Claims were valuated. After commit, at least once, in the plugin's own transaction (`context.connection`)."""


# --- payroll


@hookspec
def imis_payroll_lines_sql(run: PayrollRun) -> Sequence[sa.Select[Any]]:  # type: ignore[empty-body]
    """Who is owed what in a cycle: selects that the kernel joins by UNION ALL, asked once per generation.

    Asked of the plugins that speak for the scheme. Labelled columns: `person` and `group` (bigint, exactly one of them
    not null), `place` (bigint or null), `source_kind` (text: regular, award, lump, ...), `source` (bigint: 0 for
    regular, else the item's id), `once` (bool: paid once in all cycles), `package_version` (bigint), `amount_minor`
    (bigint), `steps` (jsonb: pairs of name and minor units, zero steps left out), `waits` (bool: above its approval
    limit) and `arrears` (bigint[] or null: ids of earlier cycles that it makes good). The kernel filters the places,
    leaves out what has an entitlement already and inserts the rest in one statement. What has a source is known by it
    alone: one line for each source and kind, whoever it is paid to by then. Regular lines of persons who were merged
    into others are left out; the others have theirs.
    """


@hookspec
def imis_payroll_hold_sql(holds: PayrollHolds) -> Sequence[HoldRule]:  # type: ignore[empty-body]
    """Which entitlements are held when somebody agrees to them: conditions over `holds.entitlements`, with a reason.

    Asked of the plugins that speak for the scheme, once for each payroll that is approved and once for the single
    entitlements of a scheme that are. An entitlement for which any of the conditions holds is held instead of approved,
    in the same statement; it is ordered once somebody releases it.
    """


@hookspec
def imis_on_payroll_approved(context: Context, event: PayrollApproved) -> None:
    """Payments of a payroll were agreed to. After commit, at least once, in the plugin's own transaction."""
