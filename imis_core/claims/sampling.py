"""What a plugin is given and answers when claims are chosen for medical review (`imis_claim_sample_sql`)."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from attrs import frozen

if TYPE_CHECKING:
    from imis_core.context import Context


@frozen
class ClaimSample:
    """Claims of one scheme that have just passed their checks.

    `claims` has their rows with the columns of `core.claims` (`id`, `code`, `provider`, `person`, `place`, `from_date`,
    `to_date`, `target_date`, `claimed_on`, `visit_type`, `facility_level`, `adult`, `diagnosis`, `category`,
    `claimed_minor`). The statement runs over everything that is stored, whatever the submitter may see.
    """

    scheme: str
    currency: str
    today: date
    claims: sa.FromClause
    context: Context


@frozen
class SampleRule:
    """Claims for which `condition` holds are reviewed; `reason` is a short name that the reviewer is told."""

    reason: str
    condition: sa.ColumnElement[bool] | Any
