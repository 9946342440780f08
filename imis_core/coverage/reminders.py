"""What holders are told of their policies, once a day by a job: renewals to come, old photos, policies that ended.

Each is told once. A policy expires by its dates, on reading (`states.state_on`); here that is only told.
Source: health_insurance.md 2, 'Renewal'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.audit import request_digest, write_entry
from imis_core.benefit_packages.lookup import Version
from imis_core.context import Context
from imis_core.coverage.enrolment import Renew, versions_of_renewals
from imis_core.coverage.lookup import NOUN, Policy, load_policies
from imis_core.coverage.states import ACTIVE, IDLE, SUSPENDED, TERMINATED
from imis_core.coverage.tables import coverage_reminders
from imis_core.database.bulk import insert_rows
from imis_core.jobs import Job, NoInput
from imis_core.notifications.outbox import Message, notify
from imis_core.notifications.texts import message_text

if TYPE_CHECKING:
    from imis_core.application import Application

REMIND: Final = "core.remind_holders"
CHUNK: Final = 1000
EXPIRY_DAYS: Final = 31  # who was not told within a month of the end is not told any more
RENEWAL, PHOTO, EXPIRY = "renewal", "photo", "expiry"

# Policies that were paid, end in a span, have no successor that stands, and whose holder was not told yet.
_ENDING: Final = sa.text(
    """
    SELECT c.id FROM core.coverages c
    WHERE c.id > :after AND c.state = ANY(CAST(:states AS text[])) AND c.effective_from IS NOT NULL
      AND c.ends BETWEEN :first AND :last
      AND NOT EXISTS (SELECT FROM core.coverage_reminders r WHERE r.coverage = c.id AND r.kind = :kind)
      AND NOT EXISTS (
        SELECT FROM core.coverages s WHERE s.renews = c.id AND s.state <> :terminated
          AND NOT (s.state = :idle AND s.last_payment < :today))
    ORDER BY c.id LIMIT :chunk
    """
)
# Whom to tell, and under which name: the head of a household, or the person who is enrolled alone.
_HOLDERS: Final = sa.text(
    """
    SELECT c.id, p.id AS person, coalesce(nullif(concat_ws(' ', p.given_name, p.family_name), ''), p.number) AS name
    FROM core.coverages c
    LEFT JOIN core.memberships m ON m."group" = c."group" AND m.relationship = 'head' AND m.left_on IS NULL
    JOIN core.persons p ON p.id = coalesce(c.person, m.person)
    WHERE c.id = ANY(CAST(:ids AS bigint[])) AND p.death_date IS NULL
    """
)
# Covered persons whose photo is too old on the day of renewal; who has none is not warned.
_PHOTOS: Final = sa.text(
    """
    SELECT m.coverage, p.id, p.number, p.photo_on,
           coalesce(nullif(concat_ws(' ', p.given_name, p.family_name), ''), p.number) AS name
    FROM core.coverage_members m JOIN core.coverages c ON c.id = m.coverage JOIN core.persons p ON p.id = m.person
    WHERE m.coverage = ANY(CAST(:ids AS bigint[])) AND p.death_date IS NULL
      AND p.photo_on + make_interval(months => CASE
            WHEN p.birth_date + make_interval(years => :adult_age) <= :today THEN :adult ELSE :child END) <= :today
    ORDER BY m.coverage, m.ordinal
    """
)


@frozen
class _Told:
    """A reminder to be kept, with its message if there is somebody to tell."""

    coverage: int
    kind: str
    message: Message | None
    person: int | None = None
    version: int | None = None


def remind(app: Application, _: NoInput) -> None:
    """Tell holders, in chunks of one transaction each."""
    today = app.clock.today()
    notice = timedelta(days=app.settings.deployment.renewal_notice_days)
    for kind, first, last in (
        (RENEWAL, today, today + notice),
        (EXPIRY, today - timedelta(days=EXPIRY_DAYS), today - timedelta(days=1)),
    ):
        after: int | None = 0
        while after is not None:
            after = _chunk(app, kind, first, last, after)


def _chunk(app: Application, kind: str, first: date, last: date, after: int) -> int | None:
    """Tell the holders of the policies behind a number; the last of them, or None if there was none."""
    with app.database.command(app.system) as (connection, audit):
        context = Context(app, connection, app.system, app.clock.now(), app.clock.today(), audit, REMIND)
        ids = list(
            context.execute(
                _ENDING,
                {
                    "after": after, "states": [ACTIVE, SUSPENDED], "first": first, "last": last, "kind": kind,
                    "terminated": TERMINATED, "idle": IDLE, "today": context.today, "chunk": CHUNK,
                },
            ).scalars()
        )  # fmt: skip
        if not ids:
            return None
        policies = load_policies(context, ids)
        holders: Iterable[Any] = context.execute(_HOLDERS, {"ids": ids})
        of = {row.id: row for row in holders}
        told = (
            _renewals(context, [policies[n] for n in ids], of)
            if kind == RENEWAL
            else [_told(context, policies[n], EXPIRY, of.get(n)) for n in ids]
        )
        _keep(context, told)
        write_entry(context, len(told), 0, request_digest(REMIND, [kind, ids]), None)
        return int(ids[-1])


def _renewals(context: Context, policies: Sequence[Policy], holders: dict[int, Any]) -> list[_Told]:
    """Offers to the version, or the conversion package, that is in force after the end; and warnings of photos."""
    days = [policy.ends + timedelta(days=1) for policy in policies]
    versions = versions_of_renewals(context, [Renew(coverage="", on=day) for day in days], policies)
    offered = [
        _told(context, policy, RENEWAL, holders.get(policy.id), version)
        for policy, version in zip(policies, versions, strict=True)
        if isinstance(version, Version)  # the package ended and nothing follows: there is nothing to offer
    ]
    deployment = context.settings.deployment
    photos: Iterable[Any] = context.execute(
        _PHOTOS,
        {
            "ids": [one.coverage for one in offered], "today": context.today,
            "adult_age": deployment.age_of_majority, "adult": deployment.photo_months.adult,
            "child": deployment.photo_months.child,
        },
    )  # fmt: skip
    for row in photos:
        holder = holders.get(row.coverage)
        fields = {"person": row.name, "number": row.number, "taken": row.photo_on}
        message = None if holder is None else _message(context, PHOTO, holder.person, row.coverage, **fields)
        offered.append(_Told(row.coverage, PHOTO, message, person=row.id))
    return offered


def _told(context: Context, policy: Policy, kind: str, holder: Any, version: Version | None = None) -> _Told:
    number = None if version is None else version.id
    if holder is None:
        return _Told(policy.id, kind, None, version=number)
    fields = {"holder": holder.name, "ends": policy.ends, "starts": policy.ends + timedelta(days=1)}
    package = "" if version is None else version.name
    return _Told(
        policy.id, kind, _message(context, kind, holder.person, policy.id, package=package, **fields), version=number
    )


def _message(context: Context, kind: str, to: int, coverage: int, /, **fields: Any) -> Message:
    return Message(
        person=to,
        subject=message_text(context.settings, f"{kind}.subject", **fields),
        text=message_text(context.settings, f"{kind}.text", **fields),
        about=(NOUN, coverage),
    )


def _keep(context: Context, told: Sequence[_Told]) -> None:
    numbers = iter(notify(context, [one.message for one in told if one.message is not None]))
    if not told:
        return
    insert_rows(
        context.connection,
        coverage_reminders,
        {
            "coverage": [one.coverage for one in told],
            "kind": [one.kind for one in told],
            "person": [one.person for one in told],
            "package_version": [one.version for one in told],
            "told_on": [context.today] * len(told),
            "notification": [None if one.message is None else next(numbers) for one in told],
            "audit": [context.audit] * len(told),
        },
    )


JOBS: Final = (
    Job(REMIND, NoInput, remind, "Offer renewals, warn of old photos, tell of policies that ended", daily=True),
)
