"""What a command of targeting speaks of: a package's version on a day, and the households or persons that it names.

Resolves names for a whole batch; selects and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, Protocol

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_cash_transfer.columns import whole_tables
from imis_cash_transfer.terms import CashTransferTerms
from imis_core.api import (
    Context,
    Problem,
    Refusal,
    Version,
    groups,
    invalid,
    not_found,
    packages,
    parsed_terms,
    persons,
    resolve_groups,
    resolve_persons,
    scheme_type,
    versions_of,
    versions_on,
)

TYPE: Final = "cash_transfer"
FEW: Final = 100  # units that are looked up one by one rather than by reading tables as wholes
HOUSEHOLD: Final = "household"  # the kind of groups that are households
REGISTERED: Final = "active"  # the status of persons and groups that are not out of use


class Asked(Protocol):
    """The fields that the inputs of targeting share; `on` None: today."""

    @property
    def scheme(self) -> str: ...
    @property
    def package(self) -> str: ...
    @property
    def on(self) -> date | None: ...


class Listed(Asked, Protocol):
    """An input that may name the households or persons it is about; None: everybody."""

    @property
    def groups(self) -> tuple[str, ...] | None: ...
    @property
    def persons(self) -> tuple[str, ...] | None: ...


@frozen(kw_only=True)
class Target:
    """A package's version with its terms on a day; `only` are the keys of the units it is limited to."""

    version: Version
    terms: CashTransferTerms
    on: date
    only: tuple[int, ...] | None = None

    @property
    def package(self) -> int:
        return self.version.package

    @property
    def table(self) -> sa.Table:
        """The kernel's table of the units: groups or persons."""
        return persons if self.terms.unit == "person" else groups

    @property
    def holder(self) -> str:
        """The column of the plugin's tables that names a unit."""
        return "person" if self.terms.unit == "person" else "group"

    @property
    def code(self) -> sa.Column[str]:
        return persons.c.number if self.terms.unit == "person" else groups.c.code


def any_of(keys: Iterable[int]) -> Any:
    """`= any_of(keys)`: one of these bigints."""
    return sa.any_(sa.literal(list(keys), ARRAY(sa.BigInteger)))


def key_array(keys: Sequence[int]) -> sa.ColumnElement[Any]:
    return sa.cast(sa.literal(list(keys), ARRAY(sa.BigInteger)), ARRAY(sa.BigInteger))


def registered(context: Context, target: Target) -> sa.ColumnElement[bool]:
    """Who can be a candidate at all: registered, living, not out of use, and seen by the caller."""
    table = target.table
    conditions = [table.c.status == REGISTERED, context.scoped(table)]
    if target.terms.unit == "person":
        conditions.append(sa.or_(persons.c.death_date.is_(None), persons.c.death_date > target.on))
    else:
        conditions.append(groups.c.kind == HOUSEHOLD)
    if target.only is not None:
        conditions.append(table.c.id == any_of(target.only))
    return sa.and_(*conditions)


def present(target: Target) -> sa.ColumnElement[bool]:
    """Who is a beneficiary of their own: a person who was merged into another one is that other one."""
    return persons.c.merged_into.is_(None) if target.terms.unit == "person" else sa.true()


def rows_about(context: Context, target: Target, statement: sa.Select[Any]) -> Sequence[Any]:
    """The rows of a select over a target's units."""
    if target.only is not None and len(target.only) <= FEW:
        return context.execute(statement).all()
    with whole_tables(context):
        return context.execute(statement).all()


def lock_packages(context: Context, ids: Iterable[int]) -> None:
    """Hold packages against other changes of who is in them, in the order of their keys; enrolments of others wait."""
    context.execute(
        sa.select(packages.c.id)
        .where(packages.c.id == any_of(ids))
        .order_by(packages.c.id)
        .with_for_update(key_share=True)
    )


def resolve_targets(context: Context, items: Sequence[Asked], *, future: bool = False) -> list[Target | Refusal]:
    """The version and terms that each input speaks of, and whom it names; five statements for the whole batch.

    Refuses days after today (unless `future`), schemes of another kind, packages without a version on the day, units
    that are not there, and units of another kind than the package's.
    """
    days = [item.on or context.today for item in items]
    versions = versions_on(context, {(i.scheme, i.package, day) for i, day in zip(items, days, strict=True)})
    terms = parsed_terms(context, [v for v in versions.values() if context.app.type_of(v.scheme).name == TYPE])
    known_groups = resolve_groups(context, {name for item in items for name in getattr(item, "groups", None) or ()})
    known_persons = resolve_persons(context, {name for item in items for name in getattr(item, "persons", None) or ()})
    answers: list[Target | Refusal] = []
    for item, day in zip(items, days, strict=True):
        refusal = scheme_refusal(context, item.scheme)
        if refusal is None and day > context.today and not future:
            refusal = future_refusal(context)
        version = versions.get((item.scheme, item.package, day))
        if refusal is None and version is None:
            refusal = not_found("package", "benefit package", item.package)
        if refusal is not None or version is None:
            answers.append(refusal or not_found("package", "benefit package", item.package))
            continue
        only = _named(item, terms[version.id], known_groups, known_persons)
        if isinstance(only, Refusal):
            answers.append(only)
        else:
            answers.append(Target(version=version, terms=terms[version.id], on=day, only=only))
    return answers


def resolve_standing(context: Context, items: Sequence[Asked]) -> list[Target | Refusal]:
    """As `resolve_targets`, also for a package that has ended or not begun: who is in it is still moved.

    Where no version is in force on the day, the last one before it holds, else the first.
    """
    names = {item.package for item in items}
    found = {(row.scheme, name): row for name, row in context.named(packages, names)}
    of_package = versions_of(context, {row.id for row in found.values()})
    days = [item.on or context.today for item in items]
    chosen: dict[tuple[str, str, date], Version] = {}
    for item, day in zip(items, days, strict=True):
        package = found.get((item.scheme, item.package))
        versions = of_package[package.id] if package is not None else []
        if versions:
            begun = [v for v in versions if v.valid_from <= day]
            chosen[item.scheme, item.package, day] = begun[-1] if begun else versions[0]
    ours = [v for v in chosen.values() if context.app.type_of(v.scheme).name == TYPE]
    terms = parsed_terms(context, ours)
    answers: list[Target | Refusal] = []
    for item, day in zip(items, days, strict=True):
        refusal = scheme_refusal(context, item.scheme)
        version = chosen.get((item.scheme, item.package, day))
        if refusal is None and day > context.today:
            refusal = future_refusal(context)
        if refusal is None and version is not None:
            answers.append(Target(version=version, terms=terms[version.id], on=day))
        else:
            answers.append(refusal or not_found("package", "benefit package", item.package))
    return answers


def scheme_refusal(context: Context, scheme: str) -> Refusal | None:
    """`input.invalid` at `scheme` for one that is not configured, or of another kind."""
    kind = scheme_type(context, scheme)
    if isinstance(kind, Refusal):
        return kind
    if kind.name != TYPE:
        return invalid(Problem("scheme", "type", f"{scheme!r} is no scheme of cash transfers, but of {kind.name}"))
    return None


def future_refusal(context: Context) -> Refusal:
    return invalid(Problem("on", "future", f"the day is after today ({context.today})"))


def _named(
    item: Any, terms: CashTransferTerms, known_groups: Mapping[str, Any], known_persons: Mapping[str, Any]
) -> tuple[int, ...] | Refusal | None:
    own, other = ("persons", "groups") if terms.unit == "person" else ("groups", "persons")
    if getattr(item, other, None) is not None:
        return invalid(Problem(other, "unit", f"the package is for {own}; name them in `{own}`"))
    names = getattr(item, own, None)
    if names is None:
        return None
    known = known_persons if own == "persons" else known_groups
    problems = [
        Problem(f"{own}.{index}", "not_found", f"no {own[:-1]} {name!r}")
        for index, name in enumerate(names)
        if name not in known or (own == "groups" and known[name].kind != HOUSEHOLD)
    ]
    if problems:
        return Refusal("not_found", f"some {own} are not there, or not there for you", tuple(problems))
    return tuple(sorted({known[name].id for name in names}))
