"""Packages as payrolls need them: found within a scheme, with all their versions, and the one that a cycle is under."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa

from imis_core.benefit_packages.lookup import Version, in_force, versions_by_id
from imis_core.benefit_packages.tables import package_versions, packages
from imis_core.context import Context
from imis_core.database.arrays import any_of


def packages_named(context: Context, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """Rows of packages by (scheme, code or id), as they are named; unknown ones are left out. One statement."""
    wanted = set(names)
    found = {(row.scheme, name): row for name, row in context.named(packages, {name for _, name in wanted})}
    return {key: found[key] for key in wanted if key in found}


def versions_of(context: Context, package_ids: Iterable[int]) -> dict[int, list[Version]]:
    """All versions of packages, by package, in the order of their first days. Two statements."""
    wanted = sorted(set(package_ids))
    found: dict[int, list[Version]] = {package: [] for package in wanted}
    if not wanted:
        return found
    ids = context.execute(
        sa.select(package_versions.c.id).where(package_versions.c.package == any_of(wanted))
    ).scalars()
    for version in sorted(versions_by_id(context, ids.all()).values(), key=lambda v: v.valid_from):
        found[version.package].append(version)
    return found


def version_for(versions: Sequence[Version], starts: date, ends: date | None = None) -> Version | None:
    """The version of a cycle: in force on its first day, else the earliest that begins within it."""
    current = in_force(versions, starts)
    if current is not None:
        return current
    later = [v for v in versions if v.valid_from >= starts and (ends is None or v.valid_from <= ends)]
    return min(later, key=lambda v: v.valid_from, default=None)
