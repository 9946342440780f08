"""Queries of benefit packages: which there are, and one with its terms as of a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.benefit_packages.lookup import NOUN, scheme_type, versions_on
from imis_core.benefit_packages.tables import package_versions, packages
from imis_core.context import Context
from imis_core.errors import Refusal, not_found
from imis_core.places.tables import locations
from imis_core.queries import Listing, query


@frozen(kw_only=True)
class ListPackages:
    scheme: str | None = None


@frozen(kw_only=True)
class PackageSummary:
    """A package as its latest version names it."""

    id: str
    scheme: str
    code: str
    name: str
    currency: str
    version: int
    valid_from: date
    valid_to: date | None


@query("benefit_packages.list", input=ListPackages, result=PackageSummary, listing=True)
def list_packages(context: Context, asked: ListPackages) -> Listing | Refusal:
    """List packages, each with its latest version, in order of creation."""
    v = package_versions.alias("v")
    latest = (
        sa.select(v.c.number, v.c.name, v.c.valid_from, v.c.valid_to)
        .where(v.c.package == packages.c.id)
        .order_by(v.c.valid_from.desc())
        .limit(1)
        .lateral("latest")
    )
    select = sa.select(
        packages.c.id, packages.c.scheme, packages.c.code, packages.c.currency,
        latest.c.number, latest.c.name, latest.c.valid_from, latest.c.valid_to,
    ).join_from(packages, latest, sa.true())  # fmt: skip
    if asked.scheme is not None:
        kind = scheme_type(context, asked.scheme)
        if isinstance(kind, Refusal):
            return kind
        select = select.where(packages.c.scheme == asked.scheme)

    def build(rows: Sequence[Any]) -> list[PackageSummary]:
        ids = context.ids.encode_all(NOUN, [row.id for row in rows])
        return [
            PackageSummary(
                id=outside, scheme=row.scheme, code=row.code, name=row.name, currency=row.currency,
                version=row.number, valid_from=row.valid_from, valid_to=row.valid_to,
            )
            for outside, row in zip(ids, rows, strict=True)
        ]  # fmt: skip

    return Listing(select, (packages.c.id,), build, {"code": packages.c.code})


@frozen(kw_only=True)
class ShowPackage:
    scheme: str
    package: str
    on: date | None = None


@frozen(kw_only=True)
class VersionDates:
    version: int
    valid_from: date
    valid_to: date | None


@frozen(kw_only=True)
class PackageShown:
    """A package's version of a day with its terms as given, and the dates of all versions."""

    id: str
    scheme: str
    code: str
    name: str
    currency: str
    version: int
    valid_from: date
    valid_to: date | None
    location: str | None
    terms: Mapping[str, Any]
    versions: tuple[VersionDates, ...]


@query("benefit_packages.show", input=ShowPackage, result=PackageShown)
def show_package(context: Context, asked: ShowPackage) -> PackageShown | Refusal:
    """Show a package as it is on a day (by default today), with its terms."""
    kind = scheme_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    key = (asked.scheme, asked.package, asked.on or context.today)
    version = versions_on(context, [key]).get(key)
    if version is None:
        return not_found("package", "benefit package", asked.package)
    v = package_versions.c
    rows = context.execute(
        sa.select(v.id, v.number, v.valid_from, v.valid_to).where(v.package == version.package).order_by(v.valid_from)
    ).all()
    shown = context.execute(
        sa.select(v.terms, locations.c.code.label("location"))
        .join_from(package_versions, locations, locations.c.id == v.location, isouter=True)
        .where(v.id == version.id)
    ).one()
    return PackageShown(
        id=context.ids.encode(NOUN, version.package), scheme=version.scheme, code=version.code, name=version.name,
        currency=version.currency, version=version.number, valid_from=version.valid_from, valid_to=version.valid_to,
        location=shown.location, terms=shown.terms,
        versions=tuple(VersionDates(version=r.number, valid_from=r.valid_from, valid_to=r.valid_to) for r in rows),
    )  # fmt: skip


QUERIES = (list_packages, show_package)
