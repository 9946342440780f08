"""Finding packages for other rooms: the version in force on a day, and its terms as the scheme type's class.

Reads only. Parsed terms are kept by the application per version and digest, because parsing a large package is slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from imis_core.benefit_packages.schemes import SchemeType
from imis_core.benefit_packages.tables import package_versions, packages
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.parsing import parse

NOUN = "benefit_packages"


@frozen
class Version:
    """A package's version; `valid_to` is its last day (None: open), `digest` that of its content."""

    id: int
    package: int
    scheme: str
    code: str
    currency: str
    number: int
    name: str
    valid_from: date
    valid_to: date | None
    digest: str


def scheme_type(context: Context, scheme: str, path: str = "scheme") -> SchemeType | Refusal:
    """The kind of a scheme; `input.invalid` at `path` for a scheme that is not configured."""
    schemes = context.settings.schemes
    if scheme not in schemes:
        message = f"there is no scheme {scheme!r}{suggestion(scheme, schemes)}"
        return invalid(Problem(path, "unknown", message))
    return context.app.type_of(scheme)


def _versions() -> sa.Select[Any]:
    return sa.select(
        package_versions.c.id,
        package_versions.c.package,
        packages.c.scheme,
        packages.c.code,
        packages.c.currency,
        package_versions.c.number,
        package_versions.c.name,
        package_versions.c.valid_from,
        package_versions.c.valid_to,
        package_versions.c.digest,
    ).join_from(package_versions, packages, packages.c.id == package_versions.c.package)


def versions_on(
    context: Context, wanted: Iterable[tuple[str, str, date]], *, lock: bool = False
) -> dict[tuple[str, str, date], Version]:
    """The version in force for each (scheme, package code or id, day); what has none is left out. One statement.

    In force is the version with the latest `valid_from` up to the day, unless it ended before. `lock` keeps the
    versions from being replaced until the transaction ends.
    """
    asked = set(wanted)
    if not asked:
        return {}
    names = {name for _, name, _ in asked}
    by_id = {name: number for name in names if (number := context.ids.decode(NOUN, name)) is not None}
    statement = (
        _versions()
        .where(
            packages.c.scheme == any_of({scheme for scheme, _, _ in asked}, sa.Text),
            sa.or_(packages.c.code == any_of(names, sa.Text), packages.c.id == any_of(by_id.values(), sa.BigInteger)),
        )
        .order_by(package_versions.c.id)
    )
    if lock:
        statement = statement.with_for_update(read=True, key_share=True, of=package_versions)
    found: dict[tuple[str, str], list[Version]] = {}
    rows: Iterable[Any] = context.execute(statement)
    for row in rows:
        found.setdefault((row.scheme, row.code), []).append(Version(*row))
    code_of = {v.package: v.code for versions in found.values() for v in versions}
    answer = {}
    for scheme, name, day in asked:
        code = code_of.get(by_id[name], name) if name in by_id else name
        version = in_force(found.get((scheme, code), ()), day)
        if version is not None:
            answer[scheme, name, day] = version
    return answer


def versions_of_schemes(context: Context, schemes: Iterable[str]) -> dict[str, dict[int, list[Version]]]:
    """Every version of every package of the schemes: scheme -> package -> versions. One statement."""
    statement = _versions().where(packages.c.scheme == any_of(schemes, sa.Text)).order_by(package_versions.c.id)
    rows: Iterable[Any] = context.execute(statement)
    found: dict[str, dict[int, list[Version]]] = {}
    for row in rows:
        found.setdefault(row.scheme, {}).setdefault(row.package, []).append(Version(*row))
    return found


def in_force(versions: Iterable[Version], day: date) -> Version | None:
    """Of a package's versions the one that holds on a day."""
    begun = [v for v in versions if v.valid_from <= day]
    latest = max(begun, key=lambda v: v.valid_from, default=None)
    return None if latest is None or (latest.valid_to is not None and latest.valid_to < day) else latest


def versions_by_id(context: Context, ids: Iterable[int]) -> dict[int, Version]:
    """Versions by their primary keys. One statement."""
    rows: Iterable[Any] = context.execute(_versions().where(package_versions.c.id == any_of(ids, sa.BigInteger)))
    return {row.id: Version(*row) for row in rows}


def package_currencies(context: Context, ids: Iterable[int]) -> dict[int, str]:
    """The currency of each package version."""
    return {number: version.currency for number, version in versions_by_id(context, ids).items()}


def parsed_terms(context: Context, versions: Iterable[Version]) -> dict[int, Any]:
    """The terms of versions as instances of their scheme type's class, by version id. At most one statement."""
    cache = context.app.terms_cache
    wanted = {v.id: v for v in versions}
    missing = [v for v in wanted.values() if (v.id, v.digest) not in cache]
    if missing:
        rows: Sequence[Any] = context.execute(
            sa.select(package_versions.c.id, package_versions.c.terms, package_versions.c.digest).where(
                package_versions.c.id == any_of([v.id for v in missing], sa.BigInteger)
            )
        ).all()
        for row in rows:
            kind = context.app.type_of(wanted[row.id].scheme)
            cache[row.id, row.digest] = parse(row.terms, kind.terms)
    return {v.id: cache[v.id, v.digest] for v in wanted.values()}
