"""What a plugin is told when a payroll is generated: the package, the cycle, and who has an entitlement already."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from imis_core.context import Context


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

    `package` and `version` are primary keys, `terms` those of the version in force on the cycle's first day.
    `active_on` is the cycle's last day or today, whichever is earlier: who is active then gets an entitlement.
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
