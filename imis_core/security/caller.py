"""A caller: one user's permissions and scope, resolved once per request. Default is deny.

Scope `all` sees everything; `place` sees what stands in the caller's places and below; `provider` sees what belongs to
the caller's providers. A user with several roles has the union of their permissions and the widest of their scopes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.database.arrays import any_of
from imis_core.database.tables import CORE
from imis_core.errors import Refusal

_persons: Final = sa.table("persons", sa.column("id"), sa.column("place"), schema=CORE)
_groups: Final = sa.table("groups", sa.column("id"), sa.column("place"), schema=CORE)
_providers: Final = sa.table("providers", sa.column("id"), sa.column("location"), schema=CORE)
_claims: Final = sa.table("claims", sa.column("id"), sa.column("place"), sa.column("provider"), schema=CORE)
OWN: Final = "users.own"  # what every user may do with the own password and logins, whatever the roles
_coverages: Final = sa.table("coverages", sa.column("id"), sa.column("group"), sa.column("person"), schema=CORE)
SYSTEM: Final = 0  # the user number of what the application does by itself


@frozen
class Caller:
    """`places` are the caller's own places and all below them; `looked_up` the persons found by exact number."""

    user: int
    name: str
    roles: tuple[str, ...]
    permissions: frozenset[str]
    everywhere: bool
    places: tuple[int, ...] = ()
    providers: tuple[int, ...] = ()
    looked_up: tuple[int, ...] = ()

    def may(self, permission: str) -> bool:
        """Whether a dotted permission is granted by name, by `noun.*` or by `*`, or is everybody's own."""
        noun = permission.partition(".")[0]
        return permission == OWN or not self.permissions.isdisjoint((permission, f"{noun}.*", "*"))

    def sees_place(self, column: Any) -> sa.ColumnElement[bool]:
        return sa.true() if self.everywhere else _in(column, self.places)

    def sees_person(self, identity: Any, place: Any) -> sa.ColumnElement[bool]:
        if self.everywhere:
            return sa.true()
        return sa.or_(_in(place, self.places), _in(identity, self.looked_up))

    def sees_person_of(self, column: Any) -> sa.ColumnElement[bool]:
        if self.everywhere:
            return sa.true()
        return sa.exists().where(_persons.c.id == column, self.sees_person(_persons.c.id, _persons.c.place))

    def sees_holder(self, group: Any, person: Any) -> sa.ColumnElement[bool]:
        if self.everywhere:
            return sa.true()
        return sa.or_(
            sa.exists().where(_groups.c.id == group, _in(_groups.c.place, self.places)), self.sees_person_of(person)
        )

    def sees_coverage_of(self, column: Any) -> sa.ColumnElement[bool]:
        if self.everywhere:
            return sa.true()
        return sa.exists().where(_coverages.c.id == column, self.sees_holder(_coverages.c.group, _coverages.c.person))

    def sees_claim(self, place: Any, provider: Any) -> sa.ColumnElement[bool]:
        return sa.true() if self.everywhere else sa.or_(_in(place, self.places), _in(provider, self.providers))

    def sees_payee(self, person: Any, provider: Any) -> sa.ColumnElement[bool]:
        if self.everywhere:
            return sa.true()
        return sa.or_(self.sees_provider(provider), self.sees_person_of(person))

    def sees_provider(self, provider: Any) -> sa.ColumnElement[bool]:
        """What belongs to a provider of the caller's, or to one that stands in the caller's places."""
        if self.everywhere:
            return sa.true()
        here = sa.exists().where(_providers.c.id == provider, _in(_providers.c.location, self.places))
        return sa.or_(_in(provider, self.providers), here)

    def sees_request(self, maker: Any, places: Any) -> sa.ColumnElement[bool]:
        """One's own requests, and those of makers who reached no place beyond the caller's."""
        if self.everywhere:
            return sa.true()
        theirs = places.bool_op("<@")(sa.literal(list(self.places), ARRAY(sa.BigInteger)))
        return sa.or_(maker == self.user, sa.and_(sa.literal(bool(self.places)), theirs))

    def sees_claim_of(self, column: Any) -> sa.ColumnElement[bool]:
        if self.everywhere:
            return sa.true()
        return sa.exists().where(_claims.c.id == column, self.sees_claim(_claims.c.place, _claims.c.provider))


def _in(column: Any, numbers: Iterable[int]) -> sa.ColumnElement[bool]:
    condition: sa.ColumnElement[bool] = column == any_of(numbers)
    return condition


def system_caller() -> Caller:
    """The application itself: jobs, migrations of data, event deliveries."""
    return Caller(SYSTEM, "system", (), frozenset("*"), True)


def denied(permission: str) -> Refusal:
    """`permission.denied`, naming the permission that is missing."""
    return Refusal(
        "permission.denied", f"you lack the permission {permission!r}; ask an administrator for a role with it"
    )
