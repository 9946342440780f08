"""Commands of benefit packages: defining a package's versions. What terms mean is the scheme type's affair."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import msgspec
import sqlalchemy as sa
from attrs import define, frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.benefit_packages.lookup import NOUN, scheme_type
from imis_core.benefit_packages.schemes import SchemeType, TermsCheck
from imis_core.benefit_packages.tables import package_versions, packages
from imis_core.catalogue.lookup import resolve_items
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning, insert_rows, take_ids
from imis_core.database.tables import CORE
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.parsing import InvalidInput, parse, plain
from imis_core.places.lookup import resolve_locations

CODE_MAX = 100  # characters

# The rooms that use versions stand above this one; that a version is in use is asked of their tables by name.
_USERS = tuple(
    sa.table(name, sa.column("package_version"), schema=CORE) for name in ("coverages", "wage_declarations", "payrolls")
)


@frozen(kw_only=True)
class Define:
    scheme: str
    code: str
    name: str
    valid_from: date
    valid_to: date | None = None
    location: str | None = None
    terms: dict[str, Any]


@frozen(kw_only=True)
class Defined:
    id: str
    code: str
    version: int


@frozen
class _Judged:
    """A definition whose form and terms are right."""

    item: Define
    kind: SchemeType
    terms: Any
    given: Any  # the terms as given, as plain data
    location: int | None
    digest: str


@define
class _Version:
    """A version as it stands after the items of the batch so far. `judged` None: as it is in the database."""

    id: int | None
    number: int
    valid_from: date
    digest: str
    judged: _Judged | None = None


@command("benefit_packages.define", input=Define, result=Defined)
def define_package(context: Context, items: tuple[Define, ...]) -> list[Defined | Refusal]:
    """Define a package, or a further version of it from a later day on.

    Version numbers count in the order of definition. The same `valid_from` again: the same content changes nothing,
    other content replaces the version while no coverage uses it, else `benefit_packages.in_use`.
    """
    judged = _judge(context, items)
    accepted = [j for j in judged if isinstance(j, _Judged)]
    package_ids = _lock_packages(context, accepted)
    versions = _load_versions(context, package_ids.values())
    used = _used(context, versions)
    outcomes: list[Defined | Refusal] = []
    clashes: list[tuple[int, _Judged, _Version]] = []
    for position, one in enumerate(judged):
        if isinstance(one, Refusal):
            outcomes.append(one)
            continue
        package = package_ids[one.item.scheme, one.item.code]
        version = _place(versions[package], one, used)
        if version.digest != one.digest:
            clashes.append((position, one, version))
        outcomes.append(Defined(id=context.ids.encode(NOUN, package), code=one.item.code, version=version.number))
    for position, refusal in _in_use(context, clashes):
        outcomes[position] = refusal
    _write(context, versions)
    return outcomes


def _judge(context: Context, items: Sequence[Define]) -> list[_Judged | Refusal]:
    """Scheme, dates, place and terms of every item, with two look-ups for the whole batch."""
    kinds = [scheme_type(context, item.scheme) for item in items]
    read = [
        _read_terms(item.terms, kind.terms) if isinstance(kind, SchemeType) else (None, [])
        for item, kind in zip(items, kinds, strict=True)
    ]
    codes = {
        code
        for kind, (terms, _) in zip(kinds, read, strict=True)
        if isinstance(kind, SchemeType) and terms is not None
        for code in kind.item_codes(terms)
    }
    known = frozenset(code for code, item in resolve_items(context, codes).items() if item.code == code)  # never an id
    named = {
        code
        for kind, (terms, _) in zip(kinds, read, strict=True)
        if isinstance(kind, SchemeType) and terms is not None
        for code in kind.location_codes(terms)
    }
    places = resolve_locations(context, {*named, *(item.location for item in items if item.location is not None)})
    own = places if context.caller.everywhere else {n: p for n, p in places.items() if p.id in context.caller.places}
    known_places = frozenset(code for code in named if code in places and places[code].code == code)
    judged: list[_Judged | Refusal] = []
    for item, kind, (terms, problems) in zip(items, kinds, read, strict=True):
        if isinstance(kind, Refusal):
            judged.append(kind)
            continue
        form = _form_problems(item)
        if form:
            judged.append(invalid(*form))
            continue
        if item.location is not None and item.location not in own:
            judged.append(not_found("location", "location", item.location))
            continue
        if terms is not None:
            currency = context.settings.currency_of(item.scheme)
            check = TermsCheck(
                currency,
                context.app.features_of(item.scheme),
                known & kind.item_codes(terms),
                known_places & kind.location_codes(terms),
                context.settings.deployment.attributes,
            )
            problems = [*problems, *kind.check_terms(terms, check)]
        if problems:
            judged.append(_invalid_terms(item, problems))
            continue
        given = plain(item.terms)
        location = None if item.location is None else places[item.location].id
        judged.append(_Judged(item, kind, terms, given, location, _digest(item, location, given)))
    return judged


def judged_terms(context: Context, scheme: str, code: str, terms: Mapping[str, Any]) -> Any | Refusal:
    """Terms as their class, checked as a definition's are; nothing is stored."""
    item = Define(scheme=scheme, code=code, name=code, valid_from=context.today, terms=dict(terms))
    judged = _judge(context, [item])[0]
    return judged if isinstance(judged, Refusal) else judged.terms


def _form_problems(item: Define) -> list[Problem]:
    found = []
    if not item.code or len(item.code) > CODE_MAX or not item.code.isprintable() or item.code != item.code.strip():
        found.append(Problem("code", "format", f"a code has 1 to {CODE_MAX} printable characters"))
    if not item.name.strip():
        found.append(Problem("name", "required", "give the package a name"))
    if item.valid_to is not None and item.valid_to < item.valid_from:
        found.append(Problem("valid_to", "order", f"{item.valid_to} is before valid_from ({item.valid_from})"))
    return found


def _invalid_terms(item: Define, problems: Iterable[Problem]) -> Refusal:
    return Refusal(
        "benefit_packages.invalid_terms",
        f"the terms of package {item.code!r} are not valid; mend the listed fields",
        tuple(p.at("terms") for p in problems),
    )


def _read_terms(given: Mapping[str, Any], kind: type) -> tuple[Any, list[Problem]]:
    """Terms as their class, with the problems of form. Wrong fields are left out for a second reading, so that the
    check of the rest can report in the same answer; terms that lack something required have no second reading."""
    try:
        return parse(given, kind), []
    except InvalidInput as error:
        problems = list(error.problems)
    rest: Any = dict(given)
    for problem in problems:
        rest = _without(rest, problem.path.split("."))
    try:
        return parse(rest, kind), problems
    except InvalidInput:
        return None, problems


def _without(value: Any, path: Sequence[str]) -> Any:
    """A copy of nested tables without the field at `path`; what leads into a list goes as a whole."""
    head, *tail = path
    if not isinstance(value, Mapping) or head not in value:
        return value
    if tail and isinstance(value[head], Mapping):
        return {**value, head: _without(value[head], tail)}
    return {key: part for key, part in value.items() if key != head}


def _digest(item: Define, location: int | None, given: Any) -> str:
    content = [item.name, item.valid_to, location, given]
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def _lock_packages(context: Context, judged: Sequence[_Judged]) -> dict[tuple[str, str], int]:
    """The packages of the batch, made where they are new, locked in the order of their keys; ids by (scheme, code)."""
    wanted = sorted({(j.item.scheme, j.item.code) for j in judged})
    if not wanted:
        return {}
    schemes, codes = [s for s, _ in wanted], [c for _, c in wanted]
    insert_returning(
        context.connection,
        packages,
        {"scheme": schemes, "code": codes, "currency": [context.settings.currency_of(s) for s in schemes]},
        conflict="(scheme, code) DO NOTHING",
    )
    rows = context.execute(
        sa.select(packages.c.id, packages.c.scheme, packages.c.code)
        .where(
            packages.c.scheme == any_of(schemes, sa.Text),
            packages.c.code == any_of(codes, sa.Text),
        )
        .order_by(packages.c.id)
        .with_for_update()
    ).all()
    return {(row.scheme, row.code): row.id for row in rows if (row.scheme, row.code) in set(wanted)}


def _load_versions(context: Context, package_ids: Iterable[int]) -> dict[int, list[_Version]]:
    """All versions of the packages, locked: an enrolment that reads one of them waits, or is waited for."""
    found: dict[int, list[_Version]] = {package: [] for package in package_ids}
    if found:
        v = package_versions.c
        rows = context.execute(
            sa.select(v.id, v.number, v.valid_from, v.digest, v.package)
            .where(v.package == any_of(found))
            .order_by(v.id)
            .with_for_update()
        )
        for row in rows:
            found[row.package].append(_Version(row.id, row.number, row.valid_from, row.digest))
    return found


def _used(context: Context, versions: Mapping[int, Sequence[_Version]]) -> frozenset[int]:
    """Ids of the versions by which something was computed; for who does not see everything all count as used."""
    ids = [v.id for several in versions.values() for v in several if v.id is not None]
    if not ids or not context.caller.everywhere:
        return frozenset(ids)
    # Named with its table: a bare name would be taken for the users' own column where they have one of that name.
    listed = (
        sa.func.unnest(sa.literal(ids, ARRAY(sa.BigInteger))).table_valued("id", name="listed").render_derived().c.id
    )
    kinds = context.app.scheme_types.values()
    users = [*_USERS, *(table for kind in kinds for table in kind.version_users)]
    uses = sa.or_(*(sa.exists().where(table.c.package_version == listed) for table in users))
    return frozenset(context.execute(sa.select(listed).where(uses)).scalars())


def _place(versions: list[_Version], judged: _Judged, used: frozenset[int]) -> _Version:
    """The version of this definition: a new one, or that of the same day, replaced if it may be.

    A version whose digest stays another one than the definition's is in use.
    """
    same = next((v for v in versions if v.valid_from == judged.item.valid_from), None)
    if same is None:
        number = 1 + max((v.number for v in versions), default=0)
        same = _Version(None, number, judged.item.valid_from, judged.digest, judged)
        versions.append(same)
    elif same.digest != judged.digest and same.id not in used:
        same.digest, same.judged = judged.digest, judged
    return same


def _in_use(context: Context, clashes: Sequence[tuple[int, _Judged, _Version]]) -> list[tuple[int, Refusal]]:
    """`benefit_packages.in_use` for definitions that would change a version that coverages use, with what differs."""
    if not clashes:
        return []
    v = package_versions.c
    ids = [version.id for _, _, version in clashes]
    rows = context.execute(sa.select(v.id, v.name, v.valid_to, v.location, v.terms).where(v.id == any_of(ids)))
    stored = {row.id: row for row in rows}
    refusals = []
    for position, judged, version in clashes:
        assert version.id is not None
        differs = _differences(stored[version.id], judged)
        message = (
            f"version {version.number} of package {judged.item.code!r} (valid from {version.valid_from}) is in use and "
            f"differs in {', '.join(differs)}; define a new version with a later valid_from"
        )
        refusals.append((position, Refusal("benefit_packages.in_use", message, details={"differs": differs})))
    return refusals


def _differences(stored: Any, judged: _Judged) -> list[str]:
    found = [
        name
        for name, new in (("name", judged.item.name), ("valid_to", judged.item.valid_to), ("location", judged.location))
        if getattr(stored, name) != new
    ]
    absent = object()
    for name in sorted({*stored.terms, *judged.given}):
        old, new = stored.terms.get(name, absent), judged.given.get(name, absent)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            parts = sorted(k for k in {*old, *new} if old.get(k, absent) != new.get(k, absent))
            found += [f"terms.{name}.{part}" for part in parts]
        else:
            found.append(f"terms.{name}")
    return found


def _write(context: Context, versions: Mapping[int, Sequence[_Version]]) -> None:
    """Write new and replaced versions and let their types store the terms."""
    changed = [(package, v) for package, several in versions.items() for v in several if v.judged is not None]
    new = [(package, v) for package, v in changed if v.id is None]
    replaced = [v for _, v in changed if v.id is not None]
    if new:
        for (_, version), number in zip(new, take_ids(context.connection, package_versions, len(new)), strict=True):
            version.id = number
        columns = _columns([v for _, v in new])
        columns["package"] = [package for package, _ in new]
        columns["number"] = [v.number for _, v in new]
        columns["valid_from"] = [v.valid_from for _, v in new]
        insert_rows(context.connection, package_versions, columns)
    if replaced:
        context.execute(_REPLACE, _columns(replaced))
    by_kind: dict[str, tuple[SchemeType, list[tuple[int, Any]]]] = {}
    for _, version in changed:
        assert version.judged is not None
        assert version.id is not None
        kind = version.judged.kind
        by_kind.setdefault(kind.name, (kind, []))[1].append((version.id, version.judged.terms))
    for kind, stored in by_kind.values():
        if kind.store_package is not None:
            kind.store_package(context, stored)


def _columns(versions: Sequence[_Version]) -> dict[str, list[Any]]:
    judged = [v.judged for v in versions if v.judged is not None]
    return {
        "id": [v.id for v in versions],
        "name": [j.item.name for j in judged],
        "valid_to": [j.item.valid_to for j in judged],
        "location": [j.location for j in judged],
        "terms": [msgspec.json.encode(j.given, order="sorted").decode() for j in judged],
        "digest": [j.digest for j in judged],
    }


_REPLACE = sa.text("""
    UPDATE core.package_versions AS v
    SET name = n.name, valid_to = n.valid_to, location = n.location, terms = CAST(n.terms AS jsonb), digest = n.digest
    FROM unnest(CAST(:id AS bigint[]), CAST(:name AS text[]), CAST(:valid_to AS date[]), CAST(:location AS bigint[]),
                CAST(:terms AS text[]), CAST(:digest AS text[])) AS n(id, name, valid_to, location, terms, digest)
    WHERE v.id = n.id
""")

COMMANDS = (define_package,)
