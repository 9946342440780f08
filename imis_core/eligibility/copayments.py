"""Which of a package's co-payments holds for a claim: the first whose condition is met (contract-health.md).

Conditions are criteria over the patient, the household, the claim and the facility; one statement for a whole batch.
What the household is counts whoever asks, so the statement sees every row and answers conditions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY

from imis_core.beneficiaries.tables import persons
from imis_core.context import Context
from imis_core.criteria.parser import parse_expression
from imis_core.criteria.patients import Patients
from imis_core.eligibility.covers import Cover
from imis_core.eligibility.terms import NO_LIMITS, LimitsKey, PackageLimits
from imis_core.places.tables import locations

# The attribute of a person or household that names, by its code, the facility where care begins.
FIRST_SERVICE_POINT: Final = "first_service_point"
REFERRED: Final = "referral"


@frozen
class Visit:
    """A claim as conditions may ask about it; no facility where none is named (`provider` None)."""

    person: int
    on: date
    visit_type: str
    category: str
    overnight: bool
    level: str | None
    care_type: str | None
    place: int | None
    provider: str | None


def matching_copayments(
    context: Context, limits: Mapping[LimitsKey, PackageLimits], asked: Sequence[tuple[Visit, Iterable[Cover]]]
) -> list[dict[LimitsKey, int]]:
    """For each visit the position of the co-payment that holds, by package; a package without one is left out.

    At most one statement, and none where no package has a condition.
    """
    packages = [
        {key for cover in covers if limits.get(key := (cover.package_version, cover.kind), NO_LIMITS).copayments}
        for _, covers in asked
    ]
    texts = sorted(
        {c.condition for keys in packages for key in keys for c in limits[key].copayments if c.condition is not None}
    )
    rows = [number for number, keys in enumerate(packages) if keys]
    met = _met(context, texts, [asked[number][0] for number in rows]) if texts else {}
    found: list[dict[LimitsKey, int]] = [{} for _ in asked]
    for position, number in enumerate(rows):
        for key in packages[number]:
            for place, copayment in enumerate(limits[key].copayments):
                if copayment.condition is None or met.get((position, copayment.condition), False):
                    found[number][key] = place
                    break
    return found


def _met(context: Context, texts: Sequence[str], visits: Sequence[Visit]) -> dict[tuple[int, str], bool]:
    """Which conditions each visit meets."""
    kinds: dict[str, tuple[Sequence[Any], Any]] = {
        "person": ([v.person for v in visits], sa.BigInteger),
        "on_day": ([v.on for v in visits], sa.Date),
        "visit_type": ([v.visit_type for v in visits], sa.Text),
        "category": ([v.category for v in visits], sa.Text),
        "overnight": ([v.overnight for v in visits], sa.Boolean),
        "level": ([v.level for v in visits], sa.Text),
        "care_type": ([v.care_type for v in visits], sa.Text),
        "place": ([v.place for v in visits], sa.BigInteger),
        "provider": ([v.provider for v in visits], sa.Text),
    }
    asked = (
        sa.func.unnest(*(sa.literal(list(values), ARRAY(kind)) for values, kind in kinds.values()))
        .table_valued(*(sa.column(name, kind) for name, (_, kind) in kinds.items()), with_ordinality="position")
        .render_derived(name="asked")
    )

    def fact(name: str, kind: Any) -> sa.ColumnElement[Any]:
        return sa.literal_column(f"asked.{name}", kind())

    facts: dict[str, sa.ColumnElement[Any]] = {
        "claim.visit_type": fact("visit_type", sa.Text),
        "claim.category": fact("category", sa.Text),
        "claim.overnight": fact("overnight", sa.Boolean),
        "claim.referred": fact("visit_type", sa.Text) == sa.literal_column(f"'{REFERRED}'", sa.Text),
        "facility.level": fact("level", sa.Text),
        "facility.care_type": fact("care_type", sa.Text),
        "facility.location": sa.select(locations.c.code)
        .where(locations.c.id == fact("place", sa.BigInteger))
        .scalar_subquery(),
    }
    with context.seeing_all():  # from here on: the members' scope is written into the statement as it is built
        patients = Patients(context, fact("on_day", sa.Date), facts)
        # Whose first service point is not known has it nowhere: false, so that `not` of it is met.
        of_patient = patients.attribute(FIRST_SERVICE_POINT).op("#>>", return_type=sa.Text)(sa.literal_column("'{}'"))
        facts["facility.is_first_service_point"] = sa.func.coalesce(
            of_patient == fact("provider", sa.Text), sa.literal_column("false"), type_=sa.Boolean
        )
        conditions = [patients.condition(parse_expression(text)).label(f"m{i}") for i, text in enumerate(texts)]
        statement = sa.select(asked.c.position, *conditions).select_from(
            asked.join(patients.from_clause(), persons.c.id == asked.c.person)
        )
        rows = context.execute(statement).all()
    return {(row[0] - 1, text): bool(row[i + 1]) for row in rows for i, text in enumerate(texts)}
