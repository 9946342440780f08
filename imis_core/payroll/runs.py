"""What a plugin is told when a payroll is generated: the package, the cycle, and who has an entitlement already."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.beneficiaries.lookup import merged_persons
from imis_core.payroll.tables import entitlement_arrears, entitlement_current, entitlements

if TYPE_CHECKING:
    from imis_core.context import Context

# The kind and the source of what a beneficiary gets each cycle, without an item of its own.
REGULAR: Final = "regular"
REGULAR_SOURCE: Final = 0


@frozen
class CycleRow:
    """A cycle; `starts` and `ends` are its first and last day."""

    id: int
    code: str
    starts: date
    ends: date


@frozen(kw_only=True)
class PayrollRun:
    """One generation of a payroll.

    `package` and `version` are primary keys, `terms` those of the version in force on the cycle's first day (else of
    the earliest one that begins within the cycle). `active_on` is the cycle's last day or today, whichever is earlier:
    who is active then gets an entitlement. `earlier` are the opened cycles of the package that began before this one,
    in order; `entitled()` says who has a regular entitlement of which cycle, so that arrears can be told. `places` are
    the keys of the locations that the payroll is for (None: everywhere): the kernel leaves out lines of other places,
    so that a plugin need not make them.
    """

    scheme: str
    currency: str
    package: int
    package_code: str
    version: int
    terms: Any
    cycle: CycleRow
    active_on: date
    today: date
    context: Context
    earlier: tuple[CycleRow, ...] = ()
    places: tuple[int, ...] | None = None

    def entitled(self) -> sa.Select[Any]:
        """A select of `cycle`, `group`, `person`: regular entitlements of the package, and cycles made good by others.

        Who was merged into another person stands there as that one. Entitlements that were cancelled with a rejected
        payroll do not count: they are made anew.
        """
        merged = merged_persons()
        person = sa.func.coalesce(merged.c.merged_into, entitlements.c.person).label("person")
        of_package = sa.and_(
            entitlements.c.package == self.package,
            entitlements.c.source_kind == REGULAR,
            entitlement_current.c.free.is_(False),
        )
        own = (
            sa.select(entitlements.c.cycle, entitlements.c.group, person)
            .join(entitlement_current, entitlement_current.c.entitlement == entitlements.c.id)
            .outerjoin(merged, merged.c.id == entitlements.c.person)
            .where(of_package)
        )
        # Arrears count as their latest payroll computed them.
        made_good = (
            sa.select(entitlement_arrears.c.cycle, entitlements.c.group, person)
            .join(entitlements, entitlements.c.id == entitlement_arrears.c.entitlement)
            .join(
                entitlement_current,
                sa.and_(
                    entitlement_current.c.entitlement == entitlement_arrears.c.entitlement,
                    entitlement_current.c.payroll == entitlement_arrears.c.payroll,
                ),
            )
            .outerjoin(merged, merged.c.id == entitlements.c.person)
            .where(of_package)
        )
        both = sa.union_all(own, made_good).subquery("entitled")
        return sa.select(both.c.cycle, both.c.group, both.c.person)


@frozen(kw_only=True)
class PayrollHolds:
    """Entitlements of one scheme that somebody agrees to now, for `imis_payroll_hold_sql`.

    `entitlements` has the columns of `core.entitlements`: `id`, `scheme`, `package`, `cycle`, `group`, `person`,
    `place`, `source_kind`, `source`, `once`. The statement runs over everything that is stored, whatever the approver
    may see.
    """

    scheme: str
    currency: str
    today: date
    entitlements: sa.FromClause
    context: Context


@frozen
class HoldRule:
    """Entitlements for which `condition` holds are held instead of approved; `reason` is a short name that is kept.

    The condition is one column of a statement over all entitlements of a payroll: what depends on other tables is
    `column.in_(select)`, which the database reads once, not a look-up for each.
    """

    reason: str
    condition: sa.ColumnElement[bool] | Any
