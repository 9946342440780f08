"""Enrolling and renewing: policies for groups or single persons, quoted by the scheme type, written as sets.

The members are those counted at enrolment; later changes of a group end a cover (`covers`) and never widen it.
Source: health_insurance.md 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from attrs import evolve, field, frozen

from imis_core.beneficiaries.lookup import GroupRow, resolve_groups, resolve_persons
from imis_core.benefit_packages.lookup import Version, scheme_type, versions_by_id, versions_on
from imis_core.benefit_packages.schemes import Quote, SchemeType
from imis_core.commands import command
from imis_core.context import Context
from imis_core.coverage.dues import Due, book_dues
from imis_core.coverage.holds import Hold, Holds
from imis_core.coverage.lookup import FIELDS, NOUN, Member, Policy, PolicyShown, load_policies, package_codes, shown
from imis_core.coverage.paid import Paid, paid_for
from imis_core.coverage.quoting import (
    Candidate,
    QuoteCase,
    lock_groups,
    payment_terms,
    possible_members,
    quotes_of,
)
from imis_core.coverage.states import ACTIVE, IDLE, RENEWABLE, state_on
from imis_core.coverage.tables import coverage_credits, coverage_members, coverages
from imis_core.database.bulk import insert_rows, take_ids
from imis_core.errors import Problem, Refusal, invalid, not_found


@frozen(kw_only=True)
class Enrol:
    scheme: str
    package: str
    group: str | None = None
    person: str | None = None
    number: str | None = None
    on: date | None = None


@frozen(kw_only=True)
class Renew:
    coverage: str
    on: date | None = None


@frozen(kw_only=True)
class _Asked:
    """One policy asked for, its names resolved. `path` is the input's field that names the holder."""

    position: int
    path: str
    kind: SchemeType
    version: Version
    on: date
    group: int | None
    person: int | None
    renewed: Policy | None = None
    locked: GroupRow | None = None  # the group, if it was locked as it was looked up


@frozen
class _Case:
    """A policy asked for, with its possible members in order of registration and the holder's attributes."""

    asked: _Asked
    members: tuple[Candidate, ...]
    attributes: Mapping[str, Any]


@frozen
class _New:
    """A policy to be written, with the members that it counts."""

    policy: Policy
    members: tuple[Candidate, ...]
    holds: tuple[Hold, ...] = field(eq=False)
    subsidies: Mapping[str, int]
    credit_minor: int = 0  # taken over from the policy that it follows


@command("coverage.enrol", input=Enrol, result=PolicyShown)
def enrol(context: Context, items: tuple[Enrol, ...]) -> list[PolicyShown | Refusal]:
    """Enrol a group or a person in a package: the policy's dates, its members and the contribution that is due."""
    outcomes: list[Any] = [None] * len(items)
    kinds: list[SchemeType | None] = []
    for position, item in enumerate(items):
        kind = coverage_type(context, item.scheme)
        problems = _form_problems(item, context.today)
        refusal = kind if isinstance(kind, Refusal) else invalid(*problems) if problems else None
        outcomes[position] = refusal
        kinds.append(kind if refusal is None and isinstance(kind, SchemeType) else None)
    group_rows = resolve_groups(context, {i.group for i in items if i.group is not None}, lock=True)
    person_rows = resolve_persons(context, {n for i in items if (n := i.person or i.number) is not None})
    versions = versions_on(
        context,
        [(i.scheme, i.package, i.on or context.today) for i, k in zip(items, kinds, strict=True) if k],
        lock=True,
    )
    asked = []
    for position, (item, known) in enumerate(zip(items, kinds, strict=True)):
        if known is None:
            continue
        on = item.on or context.today
        path, name = next((p, n) for p in ("group", "person", "number") if (n := getattr(item, p)) is not None)
        holder = group_rows.get(name) if path == "group" else person_rows.get(name)
        version = versions.get((item.scheme, item.package, on))
        if holder is None:
            outcomes[position] = not_found(path, "group" if path == "group" else "person", name)
        elif version is None:
            outcomes[position] = _no_version(item.package, on)
        else:
            group = holder if isinstance(holder, GroupRow) else None
            asked.append(
                _Asked(
                    position=position,
                    path=path,
                    kind=known,
                    version=version,
                    on=on,
                    group=None if group is None else group.id,
                    person=holder.id if group is None else None,
                    locked=group,
                )
            )
    _enrol_all(context, asked, outcomes, "coverage.enrol")
    return outcomes


@command("coverage.renew", input=Renew, result=PolicyShown)
def renew(context: Context, items: tuple[Renew, ...]) -> list[PolicyShown | Refusal]:
    """Renew a policy that was paid: a new one after it, by the package's version of that day."""
    outcomes: list[Any] = [None] * len(items)
    numbers = [context.ids.decode(NOUN, item.coverage) for item in items]
    policies = load_policies(context, [n for n in numbers if n is not None])
    found = [policies.get(n) if n is not None else None for n in numbers]
    versions = versions_of_renewals(context, items, found)
    asked = []
    for position, (item, one) in enumerate(zip(items, found, strict=True)):
        on = item.on or context.today
        if one is None:
            outcomes[position] = not_found("coverage", "coverage", item.coverage)
        elif on > context.today:
            outcomes[position] = invalid(future(context.today))
        elif isinstance(kind := coverage_type(context, one.scheme, "coverage"), Refusal):
            outcomes[position] = kind
        elif isinstance(version := versions[position], str):
            outcomes[position] = _no_version(version, on, "coverage")
        else:
            asked.append(
                _Asked(
                    position=position,
                    path="coverage",
                    kind=kind,
                    version=version,
                    on=on,
                    group=one.group,
                    person=one.person,
                    renewed=one,
                )
            )
    _enrol_all(context, asked, outcomes, "coverage.renew")
    return outcomes


def versions_of_renewals(
    context: Context, items: Sequence[Renew], found: Sequence[Policy | None]
) -> list[Version | str]:
    """What each policy is renewed to: its package's version of that day, or that of the conversion package.

    The version of the day says which package follows; if the package has ended, the policy's own version says it.
    A code: that package has no version on the day.
    """
    policies = [p for p in found if p is not None]
    codes = package_codes(context, {p.package for p in policies})
    days = [item.on or context.today for item in items]
    own = [(p.scheme, codes[p.package], day) if p is not None else None for p, day in zip(found, days, strict=True)]
    versions = versions_on(context, [key for key in own if key is not None], lock=True)
    enrolled = versions_by_id(context, {p.package_version for p in policies})
    terms = payment_terms(context, [*versions.values(), *enrolled.values()])
    wanted: list[tuple[str, str, date] | None] = []
    for one, key in zip(found, own, strict=True):
        version = versions.get(key) if key is not None else None
        said = version or (enrolled.get(one.package_version) if one is not None else None)
        follows = terms[said.id].conversion_package if said is not None else None
        wanted.append(key if key is None or follows is None else (key[0], follows, key[2]))
    versions |= versions_on(context, [key for key in wanted if key is not None and key not in versions], lock=True)
    return [versions.get(key) or key[1] if key is not None else "" for key in wanted]


def coverage_type(context: Context, scheme: str, path: str = "scheme") -> SchemeType | Refusal:
    """The kind of a scheme that has coverages; `input.invalid` for one that is unknown or has none."""
    kind = scheme_type(context, scheme, path)
    if isinstance(kind, SchemeType) and not kind.has_coverages:
        return invalid(Problem(path, "no_coverages", f"the scheme {scheme!r} ({kind.name}) has no coverages"))
    return kind


def future(today: date, path: str = "on") -> Problem:
    """The problem of a business date after the clock's."""
    return Problem(path, "future", f"the day is after today ({today})")


def _form_problems(item: Enrol, today: date) -> list[Problem]:
    found = []
    if sum(name is not None for name in (item.group, item.person, item.number)) != 1:
        found.append(Problem("group", "required", "name one holder: a group, or a person (by person or number)"))
    if item.on is not None and item.on > today:
        found.append(future(today))
    return found


def _no_version(package: str, on: date, path: str = "package") -> Refusal:
    return Refusal(
        "not_found",
        f"there is no benefit package {package!r} in force on {on}",
        (Problem(path, "not_found", f"no benefit package {package!r} in force on {on}"),),
    )


def _enrol_all(context: Context, asked: Sequence[_Asked], outcomes: list[Any], purpose: str) -> None:
    """Quote, judge and write the policies of a batch; fills in the outcomes. A constant number of statements."""
    cases = _cases(context, asked, outcomes)
    package_ids = {c.asked.version.package for c in cases}
    holds = Holds.load(context, package_ids, {m.id for c in cases for m in c.members})
    renewed = load_policies(context, [c.asked.renewed.id for c in cases if c.asked.renewed], lock=True)
    cases = _still_renewable(context, cases, renewed, outcomes)
    quotes = _quotes(context, cases)
    over = _credits(context, renewed)
    numbers = take_ids(context.connection, coverages, len(cases))
    new: list[_New] = []
    for case, quote, number in zip(cases, quotes, numbers, strict=True):
        if isinstance(quote, Refusal):
            outcomes[case.asked.position] = quote
            continue
        renewed_id = case.asked.renewed.id if case.asked.renewed else 0
        credit = over.pop(renewed_id, 0)
        policy = _policy(case.asked, quote, number, credit)
        members = tuple(case.members[i] for i in quote.counted)
        refusal = _already_enrolled(context, holds, policy, members)
        if refusal is not None:
            outcomes[case.asked.position] = refusal
            over[renewed_id] = credit
            continue
        taken = []
        for member in members:
            hold = Hold(None, number, quote.starts, quote.ends, policy.state, quote.ends, quote.last_payment)
            holds.take(policy.package, member.id, hold)
            taken.append(hold)
        new.append(_New(policy, members, tuple(taken), dict(quote.subsidies), credit))
        outcomes[case.asked.position] = _shown(context, case.asked.version.code, policy, members, credit)
    holds.write_changed(context)
    _write(context, new)
    book_dues(context, [Due(n.policy.id, n.policy.scheme, n.policy.value_minor, n.subsidies) for n in new], purpose)
    _move_credits(context, new)


def _cases(context: Context, asked: Sequence[_Asked], outcomes: list[Any]) -> list[_Case]:
    """The possible members of every policy asked for; groups and persons are locked, in the order of their keys."""
    group_ids = {a.group for a in asked if a.group is not None}
    group_rows = {a.group: a.locked.attributes for a in asked if a.group is not None and a.locked is not None}
    group_rows |= lock_groups(context, group_ids - group_rows.keys())
    listed, people = possible_members(context, group_ids, {a.person for a in asked if a.person is not None})
    cases = []
    for one in asked:
        if one.group is not None:
            members = [
                people[m.person].as_member(m.relationship)
                for m in listed.get(one.group, ())
                if m.person in people and (m.left_on is None or m.left_on > one.on)
            ]
            attributes = group_rows[one.group]
        else:
            assert one.person is not None
            members = [people[one.person]] if one.person in people else []
            attributes = members[0].attributes if members else {}
        alive = tuple(m for m in members if m.died is None or m.died > one.on)
        if alive:
            cases.append(_Case(one, alive, attributes))
        else:
            message = f"nobody is left to be covered on {one.on}; name a holder with living members"
            outcomes[one.position] = invalid(Problem(one.path, "no_members", message))
    return cases


def _still_renewable(
    context: Context, cases: Sequence[_Case], renewed: Mapping[int, Policy], outcomes: list[Any]
) -> list[_Case]:
    """Judge the policies that are renewed, now that they are locked."""
    kept = []
    for case in cases:
        before = case.asked.renewed
        if before is None:
            kept.append(case)
            continue
        one = renewed[before.id]
        state = state_on(one.state, one.ends, case.asked.on)
        if state in RENEWABLE and one.effective_from is not None:
            kept.append(evolve(case, asked=evolve(case.asked, renewed=one)))
        else:
            unpaid = " and was never paid" if one.effective_from is None else ""
            outcomes[case.asked.position] = Refusal(
                "coverage.wrong_state",
                f"the policy is {state}{unpaid}; only an active or expired one that was paid can be renewed",
            )
    return kept


def _quotes(context: Context, cases: Sequence[_Case]) -> list[Quote | Refusal]:
    return quotes_of(
        context,
        [
            QuoteCase(
                version=case.asked.version,
                enrolled_on=case.asked.on,
                reference=case.asked.on,
                group=case.asked.group,
                members=case.members,
                attributes=case.attributes,
                previous_end=case.asked.renewed.ends if case.asked.renewed else None,
            )
            for case in cases
        ],
    )


def _credits(context: Context, renewed: Mapping[int, Policy]) -> dict[int, int]:
    """What was paid too much for the policies that are renewed: it is paid for what follows them."""
    paid = paid_for(context, renewed)
    return {n: over for n, p in renewed.items() if (over := paid.get(n, Paid()).minor - p.due_minor) > 0}


def _move_credits(context: Context, new: Sequence[_New]) -> None:
    moved = [n for n in new if n.credit_minor]
    if moved:
        insert_rows(
            context.connection,
            coverage_credits,
            {
                "given_by": [n.policy.renews for n in moved],
                "taken_by": [n.policy.id for n in moved],
                "moved_on": [n.policy.enrolled_on for n in moved],
                "minor": [n.credit_minor for n in moved],
                "audit": [context.audit] * len(moved),
            },
        )


def _policy(asked: _Asked, quote: Quote, number: int, credit: int) -> Policy:
    """The policy of a quote; one with nothing due, or whose contribution a credit pays, is active at once."""
    free = quote.due_minor <= credit
    return Policy(
        id=number,
        scheme=asked.version.scheme,
        package=asked.version.package,
        package_version=asked.version.id,
        group=asked.group,
        person=asked.person,
        renews=asked.renewed.id if asked.renewed else None,
        state=ACTIVE if free else IDLE,
        enrolled_on=asked.on,
        starts=quote.starts,
        ends=quote.ends,
        last_payment=quote.last_payment,
        effective_from=max(asked.on, quote.starts) if free else None,
        terminated_on=None,
        currency=asked.version.currency,
        value_minor=quote.value_minor,
        subsidy_minor=quote.subsidy_minor,
        due_minor=quote.due_minor,
    )


def _already_enrolled(context: Context, holds: Holds, policy: Policy, members: Sequence[Candidate]) -> Refusal | None:
    for member in members:
        hold = holds.conflict(policy.package, member.id, policy.starts, policy.ends, policy.enrolled_on)
        if hold is not None:
            return already_enrolled(context, member.number if member.seen else None, hold)
    return None


def already_enrolled(context: Context, number: str | None, hold: Hold) -> Refusal:
    """`coverage.already_enrolled`, naming the days and, where the caller may see them, the person and the policy."""
    details = {} if number is None else {"number": number}
    if hold.state is not None:
        details["coverage"] = context.ids.encode(NOUN, hold.coverage)
    who = "a member whom you do not see" if number is None else f"person {number!r}"
    message = (
        f"{who} has a policy of this package from {hold.starts} to {hold.ends}; "
        "renew it, terminate it, or leave the person out"
    )
    return Refusal("coverage.already_enrolled", message, details=details)


def _shown(context: Context, code: str, policy: Policy, members: Sequence[Candidate], paid_minor: int) -> PolicyShown:
    members = [member for member in members if member.seen]
    identities = context.ids.encode_all("persons", [m.id for m in members])
    first = policy.effective_from
    listed = [Member(id=i, number=m.number, effective_from=first) for i, m in zip(identities, members, strict=True)]
    return shown(policy, context.ids.encode(NOUN, policy.id), code, listed, paid_minor, context.today)


def _write(context: Context, new: Sequence[_New]) -> None:
    if not new:
        return
    insert_rows(context.connection, coverages, {name: [getattr(n.policy, name) for n in new] for name in FIELDS})
    rows = [
        (n.policy.id, n.policy.package, member.id, ordinal, n.policy.enrolled_on, hold.text)
        for n in new
        for ordinal, (member, hold) in enumerate(zip(n.members, n.holds, strict=True), start=1)
    ]
    names = ("coverage", "package", "person", "ordinal", "joined_on", "held")
    insert_rows(context.connection, coverage_members, dict(zip(names, zip(*rows, strict=True), strict=True)))
