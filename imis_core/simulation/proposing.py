"""A proposed package in place of the one in force: a scheme type that reads as if every version were the proposal.

Nothing is stored for it. The kernel's own reading of terms and limits goes on unchanged, over selects in which the rows
of the replaced versions are the proposal's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.benefit_packages.commands import judged_terms
from imis_core.benefit_packages.lookup import scheme_type
from imis_core.benefit_packages.schemes import FlatPackage, SchemeType
from imis_core.benefit_packages.tables import package_versions, packages
from imis_core.catalogue.lookup import resolve_items
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found


@frozen
class Proposal:
    """The scheme type as it is (`in_force`) and with the proposal (`proposed`); `versions` are those it replaces."""

    scheme: str
    package: str
    currency: str
    terms: Any
    versions: tuple[int, ...]
    in_force: SchemeType
    proposed: SchemeType


def propose(context: Context, scheme: str, package: str, terms: Mapping[str, Any]) -> Proposal | Refusal:
    """Check the terms as `benefit_packages.define` does and put them in the place of the package's versions."""
    kind = scheme_type(context, scheme)
    if isinstance(kind, Refusal):
        return kind
    if kind.flat_package is None or not kind.takes_claims:
        message = f"schemes of the type {kind.name!r} are not simulated"
        return invalid(Problem("scheme", "unsupported", message))
    versions = tuple(
        context.execute(
            sa.select(package_versions.c.id)
            .join(packages, packages.c.id == package_versions.c.package)
            .where(packages.c.scheme == scheme, packages.c.code == package)
            .order_by(package_versions.c.id)
        ).scalars()
    )
    if not versions:
        return not_found("package", "package", package)
    parsed = judged_terms(context, scheme, package, terms)
    if isinstance(parsed, Refusal):
        return parsed
    currency = context.settings.currency_of(scheme)
    codes = {code: item.id for code, item in resolve_items(context, kind.item_codes(parsed)).items()}
    flat = kind.flat_package(parsed, currency, codes)
    return Proposal(scheme, package, currency, parsed, versions, kind, _replaced(kind, versions, flat))


def _replaced(kind: SchemeType, versions: Sequence[int], flat: FlatPackage) -> SchemeType:
    lines, limits = kind.line_terms_sql, kind.package_limits_sql
    assert lines is not None
    assert limits is not None
    return attrs.evolve(
        kind,
        line_terms_sql=lambda: _with(lines(), versions, flat.items),
        package_limits_sql=lambda: _with(limits(), versions, (flat.limits,)),
    )


def _with(select: sa.Select[Any], versions: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Any:
    """The select's rows of other versions, and for each of these versions the rows given."""
    kept = select.where(select.selected_columns["package_version"].not_in(versions))
    if not rows:
        return kept
    names = [column.name for column in select.selected_columns]
    kinds = {column.name: column.type for column in select.selected_columns}
    given = [name for name in names if name != "package_version"]
    # Arrays of text, cast on the way in: the columns may be of any type.
    source = (
        sa.func.unnest(*(sa.literal([_text(row[name]) for row in rows], ARRAY(sa.Text)) for name in given))
        .table_valued(*(sa.column(name, sa.Text) for name in given))
        .render_derived(name="proposed_rows")
    )
    of_version = (
        sa.func.unnest(sa.literal(list(versions), ARRAY(sa.BigInteger)))
        .table_valued(sa.column("version", sa.BigInteger))
        .render_derived(name="proposed_versions")
    )
    proposed = sa.select(
        *(
            of_version.c.version.label(name)
            if name == "package_version"
            else sa.cast(source.c[name], kinds[name]).label(name)
            for name in names
        )
    ).select_from(of_version.join(source, sa.true()))
    return sa.union_all(kept, proposed)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
