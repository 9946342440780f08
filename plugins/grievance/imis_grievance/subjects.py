"""What a grievance is about: an order, a beneficiary, a claim or a member of staff, as far as the caller sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from attrs import fields, frozen

from imis_core.api import (
    Context,
    Problem,
    Refusal,
    claims,
    invalid,
    name_problem,
    not_found,
    orders,
    persons,
    providers,
    resolve_groups,
    resolve_persons,
    suggestion,
)
from imis_grievance.columns import any_of

PLUGIN: Final = "grievance"


@frozen(kw_only=True)
class Subject:
    """One of: `order` (an id), `beneficiary` (a person's number or a group's code), `claim` (a code), `staff` (a name).

    Members of staff are named in words: whom people complain about need not be a user of the system.
    """

    order: str | None = None
    beneficiary: str | None = None
    claim: str | None = None
    staff: str | None = None

    @property
    def kinds(self) -> list[str]:
        return [field.name for field in fields(Subject) if getattr(self, field.name) is not None]


@frozen(kw_only=True)
class Found:
    """A subject that is there: what to store of it, with its place, its facility and its scheme."""

    order: int | None = None
    person: int | None = None
    group: int | None = None
    claim: int | None = None
    staff: str | None = None
    place: int | None = None
    provider: int | None = None
    scheme: str | None = None


def resolve(context: Context, subjects: Iterable[Subject | None]) -> dict[Subject, Found | Refusal]:
    """Each subject as the caller may see it, or its refusal with paths from `subject` on; a statement per kind."""
    wanted = {subject for subject in subjects if subject is not None}
    single = {subject for subject in wanted if len(subject.kinds) == 1}
    beneficiaries = {s.beneficiary for s in single if s.beneficiary is not None}
    people = resolve_persons(context, beneficiaries)
    families = resolve_groups(context, beneficiaries - set(people))
    found_orders = _orders(context, {s.order for s in single if s.order is not None})
    found_claims = _claims(context, {s.claim for s in single if s.claim is not None})
    answer: dict[Subject, Found | Refusal] = {}
    for subject in wanted:
        if subject not in single:
            message = "name one of order, beneficiary, claim and staff"
            answer[subject] = invalid(Problem("subject", "required", message))
        elif subject.order is not None:
            answer[subject] = found_orders.get(subject.order) or not_found("subject.order", "order", subject.order)
        elif subject.claim is not None:
            answer[subject] = found_claims.get(subject.claim) or not_found("subject.claim", "claim", subject.claim)
        elif subject.beneficiary is not None:
            answer[subject] = _beneficiary(subject.beneficiary, people, families)
        else:
            staff = subject.staff or ""
            problem = name_problem("subject.staff", staff)
            answer[subject] = Found(staff=staff) if problem is None else invalid(problem)
    return answer


def _beneficiary(name: str, people: Mapping[str, Any], families: Mapping[str, Any]) -> Found | Refusal:
    """A person wins over a group of the same name."""
    if name in people:
        return Found(person=people[name].id, place=people[name].place)
    if name in families:
        return Found(group=families[name].id, place=families[name].place)
    return not_found("subject.beneficiary", "person or group", name)


def _orders(context: Context, names: set[str]) -> dict[str, Found]:
    numbers = {number: name for name in names if (number := context.ids.decode("orders", name)) is not None}
    if not numbers:
        return {}
    rows = context.execute(
        sa.select(
            orders.c.id, orders.c.scheme, orders.c.provider,
            sa.func.coalesce(persons.c.place, providers.c.location).label("place"),
        )
        .outerjoin(persons, persons.c.id == orders.c.person)
        .outerjoin(providers, providers.c.id == orders.c.provider)
        .where(orders.c.id == any_of(numbers), context.scoped(orders))
    )  # fmt: skip
    return {
        numbers[row.id]: Found(order=row.id, place=row.place, provider=row.provider, scheme=row.scheme) for row in rows
    }


def _claims(context: Context, names: set[str]) -> dict[str, Found]:
    columns = (claims.c.id, claims.c.code, claims.c.scheme, claims.c.place, claims.c.provider)
    return {
        name: Found(claim=row.id, place=row.place, provider=row.provider, scheme=row.scheme)
        for name, row in context.named(claims, names, *columns)
    }


def scheme_refusal(context: Context, scheme: str | None, subject: Found | None) -> Refusal | None:
    """What speaks against the scheme of a grievance: it is that of its subject, and this plugin speaks for it."""
    if scheme is not None and scheme not in context.settings.schemes:
        message = f"there is no scheme {scheme!r}{suggestion(scheme, context.settings.schemes)}"
        return invalid(Problem("scheme", "unknown", message))
    own = None if subject is None else subject.scheme
    if scheme is not None and own is not None and scheme != own:
        return invalid(Problem("scheme", "subject", f"the subject belongs to the scheme {own!r}; leave the scheme out"))
    named = scheme or own
    if named is not None and PLUGIN not in context.app.speakers(named):
        message = f"the scheme {named!r} takes no grievances; add {PLUGIN!r} to its `plugins` in imis.toml"
        return invalid(Problem("scheme", "plugins", message))
    return None
