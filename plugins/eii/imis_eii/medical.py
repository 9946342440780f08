"""Medical care through the kernel's claims: an accident is a cover, and so is employment where a claim names none.

The plugin says who is covered, what is paid and up to where; the kernel checks, valuates and pays. Every item of the
catalogue is covered. Source: contract-eii.md, 'Medical'.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.api import (
    ClaimCase,
    Context,
    Refusal,
    insert_rows,
    items,
    not_found,
    package_currencies,
    package_versions,
    packages,
    spells_sql,
    to_minor,
)
from imis_eii.cases import ACCEPTED
from imis_eii.tables import accidents, claim_accidents, medical_terms
from imis_eii.terms import CareTerms, EiiTerms

EMPLOYMENT: Final = "employment"  # the cover of an employed person without an accident; its number is the year
# Kinds of covers, with the kind of accident whose terms hold.
COVERS: Final = (
    ("accident_work", "work"),
    ("accident_commuting", "commuting"),
    ("accident_non_work", "non_work"),
    (EMPLOYMENT, "non_work"),
)
VISIT_TYPES: Final = ("other", "referral", "emergency")
MICRO: Final = 10**6


@frozen(kw_only=True)
class AccidentOfClaim:
    """What `claims.submit` takes beside the kernel's fields: the accident that was treated, by code or id."""

    accident: str | None = None


def claim_cases(context: Context, named: Sequence[AccidentOfClaim]) -> list[ClaimCase | Refusal]:
    """The accidents that claims name. One that was not accepted: `eii.not_accepted`."""
    known = dict(
        context.named(
            accidents, {one.accident for one in named if one.accident is not None},
            accidents.c.id, accidents.c.code, accidents.c.scheme, accidents.c.person, accidents.c.status,
        )
    )  # fmt: skip
    answers: list[ClaimCase | Refusal] = []
    for one in named:
        row = known.get(one.accident or "")
        if row is None:
            answers.append(not_found("accident", "accident", one.accident or ""))
        elif row.status != ACCEPTED:
            message = f"the accident {row.code} is {row.status}; its treatment is paid once it is accepted"
            answers.append(Refusal("eii.not_accepted", message))
        else:
            answers.append(ClaimCase(row.id, row.scheme, row.person))
    return answers


def store_claims(context: Context, of_accidents: Sequence[tuple[int, int]]) -> None:
    """Keep which accident each claim is of."""
    insert_rows(
        context.connection,
        claim_accidents,
        {"claim": [claim for claim, _ in of_accidents], "accident": [accident for _, accident in of_accidents]},
    )


def stored_cases(context: Context, numbers: Sequence[int]) -> dict[int, ClaimCase]:
    """The accidents of stored claims, by claim; claims that named none are left out."""
    rows = context.execute(
        sa.select(claim_accidents.c.claim, accidents.c.id, accidents.c.scheme, accidents.c.person)
        .join(accidents, accidents.c.id == claim_accidents.c.accident)
        .where(claim_accidents.c.claim == sa.any_(sa.literal(list(numbers), ARRAY(sa.BigInteger))))
    )
    return {row.claim: ClaimCase(row.id, row.scheme, row.person) for row in rows}


def store_package(context: Context, stored: Sequence[tuple[int, EiiTerms]]) -> None:
    """Flatten the medical terms of package versions; rows of a replaced version go."""
    versions = [version for version, _ in stored]
    wanted = sa.any_(sa.literal(versions, ARRAY(sa.BigInteger)))
    context.execute(sa.delete(medical_terms).where(medical_terms.c.package_version == wanted))
    currencies = package_currencies(context, versions)
    rows = [
        (
            version, cover_kind, int(terms.medical.of(kind).coinsurance * MICRO),
            _ceiling(terms.medical.of(kind), currencies[version]),
        )
        for version, terms in stored
        if terms.medical is not None
        for cover_kind, kind in COVERS
    ]  # fmt: skip
    if rows:
        columns = [column.name for column in medical_terms.columns]
        insert_rows(context.connection, medical_terms, dict(zip(columns, zip(*rows, strict=True), strict=True)))


def _ceiling(care: CareTerms, currency: str) -> int | None:
    return None if care.ceiling is None else to_minor(care.ceiling, currency)


def covers_sql(on: sa.ColumnElement[date], case: sa.ColumnElement[int]) -> sa.Select[Any]:
    """The accident that a claim names, from its day on; without one, employment on the day, a cover for the year."""
    a = accidents.c
    of_accident = sa.select(
        (sa.literal("accident_", sa.Text) + a.kind).label("cover_kind"),
        a.id.label("cover"),
        a.scheme,
        a.person,
        # The accident's own terms are kept; a package without medical care leaves it to the one that has it.
        sa.func.coalesce(
            sa.select(medical_terms.c.package_version)
            .where(medical_terms.c.package_version == a.package_version)
            .limit(1)
            .scalar_subquery(),
            _version_with_care(a.scheme, a.occurred_on),
        ).label("package_version"),
        a.occurred_on.label("effective_from"),
    ).where(a.id == case, a.status == ACCEPTED, a.occurred_on <= on)
    spells = spells_sql(on).subquery("spells")
    employed = (
        sa.select(
            sa.literal(EMPLOYMENT, sa.Text).label("cover_kind"),
            sa.cast(sa.extract("year", on), sa.BigInteger).label("cover"),
            spells.c.scheme,
            spells.c.person,
            _version_with_care(spells.c.scheme, on).label("package_version"),
            sa.func.min(spells.c.starts).label("effective_from"),
        )
        .where(case.is_(None))
        .group_by(spells.c.scheme, spells.c.person)
    )
    both = sa.union_all(of_accident, employed).subquery("covers")
    return sa.select(both).where(both.c.package_version.is_not(None))


def _version_with_care(scheme: Any, on: Any) -> sa.ScalarSelect[Any]:
    """The version with medical terms that is in force in a scheme on a day."""
    v, later = package_versions.alias(), package_versions.alias()
    superseded = (
        sa.exists()
        .where(later.c.package == v.c.package, later.c.valid_from > v.c.valid_from, later.c.valid_from <= on)
        .correlate_except(later)
    )
    return (
        sa.select(v.c.id)
        .join(packages, packages.c.id == v.c.package)
        .where(
            packages.c.scheme == scheme,
            v.c.valid_from <= on,
            sa.or_(v.c.valid_to.is_(None), on <= v.c.valid_to),
            sa.not_(superseded),
            sa.exists().where(medical_terms.c.package_version == v.c.id),
        )
        .order_by(v.c.valid_from.desc(), packages.c.code)
        .limit(1)
        .correlate_except(v, packages)
        .scalar_subquery()
    )


def line_terms_sql() -> sa.Select[Any]:
    """Every item of the catalogue at the list's price and the percentage of the kind of cover."""
    visits = sa.values(sa.column("visit_type", sa.Text), name="visits").data([(v,) for v in VISIT_TYPES])
    ages = sa.values(sa.column("adult", sa.Boolean), name="ages").data([(True,), (False,)])
    m = medical_terms.c
    return sa.select(
        m.package_version,
        m.cover_kind,
        items.c.id.label("item"),
        visits.c.visit_type,
        ages.c.adult,
        sa.literal("pricelist", sa.Text).label("price_origin"),
        sa.null().cast(sa.BigInteger).label("fixed_limit_minor"),
        m.share_micro,
    ).select_from(medical_terms.join(items, sa.true()).join(visits, sa.true()).join(ages, sa.true()))


def package_limits_sql() -> sa.Select[Any]:
    """The ceiling of an accident, or of a person's calendar year."""
    m = medical_terms.c
    none = sa.null().cast(sa.BigInteger)
    level = sa.case((m.ceiling_minor.is_(None), None), (m.cover_kind == EMPLOYMENT, "person"), else_="policy")
    return sa.select(
        m.package_version,
        m.cover_kind,
        sa.null().cast(sa.Text).label("deductible_level"),
        none.label("deductible_general"),
        none.label("deductible_inpatient"),
        none.label("deductible_outpatient"),
        level.label("ceiling_level"),
        m.ceiling_minor.label("ceiling_general"),
        none.label("ceiling_inpatient"),
        none.label("ceiling_outpatient"),
        sa.false().label("hospital_by_facility"),
    )
