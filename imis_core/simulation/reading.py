"""The claims of a period with their lines as they were asked and decided, in order of target date and code.

First who they are of and when (`read_heads`), then part by part all of them (`read_past`); a constant number of
statements for each part. It judges nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from attrs import frozen

from imis_core.catalogue.lookup import ItemRow, resolve_items
from imis_core.claims.states import NUMBERS, WITHDRAWN
from imis_core.claims.verdicts import LINES_IN_FORCE
from imis_core.context import Context
from imis_core.database.bulk import array_literal
from imis_core.database.numbers import Ints, read_numbers

_HEADS: Final = """
    SELECT row_number() OVER (ORDER BY c.target_date, c.code), c.id, coalesce(p.merged_into, p.id),
           (c.target_date - DATE '0001-01-01')::bigint + 1
    FROM core.claims c JOIN core.claim_current t ON t.claim = c.id JOIN core.persons p ON p.id = c.person
    WHERE c.scheme = %(scheme)s AND c.target_date BETWEEN %(starts)s AND %(ends)s AND t.state <> %(withdrawn)s
"""
_CLAIMS: Final = sa.text(
    """
    SELECT c.id, coalesce(p.merged_into, p.id) AS person, c.target_date, c.from_date <> c.to_date AS overnight,
           c.visit_type, c.category, c.adult, c.facility_level, t.state, t.valuation,
           (SELECT s.rejection FROM core.claim_states s WHERE s.claim = t.claim AND s.version = t.version) AS rejection,
           p.sex, p.birth_date,
           f.code AS provider, f.care_type, f.location
    FROM core.claims c JOIN core.claim_current t ON t.claim = c.id
    JOIN core.persons p ON p.id = c.person JOIN core.providers f ON f.id = c.provider
    WHERE c.id = ANY(CAST(:claims AS bigint[])) ORDER BY c.target_date, c.code
    """
)
# 0 stands for "no rejection", -1 for an amount that is not there.
_NAMES: Final = (
    "claim", "line", "service", "item", "asked", "price", "list_price", "rejection", "checked", "reviewed_rejection",
    "reviewed_quantity", "reviewed_price", "deducted", "above", "payable",
)  # fmt: skip
_LINES: Final = f"""
    SELECT b.position - 1, k.line::bigint, l.service::int::bigint, l.item, l.quantity_thousandths, l.price_minor,
           coalesce(k.list_price_minor, -1), coalesce(k.rejection, 0)::bigint, k.quantity_thousandths,
           coalesce(v.rejection, 0)::bigint, coalesce(v.quantity_thousandths, -1), coalesce(v.price_minor, -1),
           coalesce(r.deducted_milli, 0), coalesce(r.above_ceiling_minor, 0), coalesce(r.payable_minor, 0)
    FROM {LINES_IN_FORCE} JOIN core.claim_lines l ON l.claim = k.claim AND l.line = k.line
    JOIN unnest(CAST(%(claims)s AS bigint[])) WITH ORDINALITY AS b(claim, position) ON b.claim = k.claim
    LEFT JOIN core.claim_results r ON r.claim = k.claim AND r.line = k.line AND r.valuation = t.valuation
    ORDER BY b.position, k.line
"""


@frozen
class Heads:
    """Claims in order of target date and code, one element each: number, patient, target date as an ordinal day."""

    claim: Ints
    person: Ints
    day: Ints


@frozen
class Past:
    """Claims (rows, in order) and their lines (columns by name; `claim` is a position among the claims)."""

    claims: Sequence[Any]
    lines: dict[str, Ints]
    items: dict[int, ItemRow]


def read_heads(context: Context, scheme: str, starts: date, ends: date) -> Heads:
    """The claims of a scheme whose target date lies in a period, but for withdrawn ones."""
    asked = {"scheme": scheme, "starts": starts, "ends": ends, "withdrawn": NUMBERS[WITHDRAWN]}
    found = read_numbers(context.connection, _HEADS, asked, ("position", "claim", "person", "day"))
    order = np.argsort(found["position"])
    return Heads(found["claim"][order], found["person"][order], found["day"][order])


def read_past(context: Context, claims: Ints) -> Past:
    """Some claims with their lines."""
    rows = context.execute(_CLAIMS, {"claims": array_literal(claims.tolist())}).all()
    lines = read_numbers(context.connection, _LINES, {"claims": array_literal([row.id for row in rows])}, _NAMES)
    numbers = np.unique(lines["item"]).tolist()
    codes = context.execute(sa.text("SELECT code FROM core.items WHERE id = ANY(:ids)"), {"ids": numbers}).scalars()
    items = {item.id: item for item in resolve_items(context, list(codes)).values()}
    return Past(rows, lines, items)
