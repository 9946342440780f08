"""The passed lines of stored claims as the columns of valuation, read by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from attrs import frozen

from imis_core.claims.verdicts import (
    COPAYMENT,
    COVER,
    COVER_KIND,
    LINES_IN_FORCE,
    MEMBERS,
    PACKAGE_VERSION,
    QUANTITY,
    REJECTION,
    REVIEWED_PRICE,
)
from imis_core.context import Context
from imis_core.coverage.covers import COVERAGE_KIND
from imis_core.database.bulk import array_literal
from imis_core.database.numbers import Ints, read_numbers
from imis_core.eligibility.drawing import LinesToValue


@frozen
class StoredLines:
    """`line` is the number of each line in its claim."""

    line: Ints
    lines: LinesToValue


_NAMES: Final = (
    "claim", "service", "line", "quantity", "claimed", "price", "list_price", "reviewed_price", "item", "cover_kind",
    "cover", "package_version", "copayment", "members", "deducted", "payable",
)  # fmt: skip
# The earlier result of a claim that is computed again comes along.
_LINES: Final = f"""
    SELECT b.position - 1, l.service::int::bigint, k.line::bigint, {QUANTITY}, l.quantity_thousandths, l.price_minor,
           coalesce(k.list_price_minor, -1), coalesce({REVIEWED_PRICE}, -1), l.item,
           coalesce(array_position(CAST(%(kinds)s AS text[]), {COVER_KIND}), 0)::bigint - 1, {COVER},
           {PACKAGE_VERSION}, coalesce({COPAYMENT}, -1)::bigint, coalesce({MEMBERS}, -1)::bigint,
           coalesce(r.deducted_milli, 0), coalesce(r.payable_minor, 0)
    FROM {LINES_IN_FORCE} JOIN core.claim_lines l ON l.claim = k.claim AND l.line = k.line
    JOIN unnest(CAST(%(claims)s AS bigint[]), CAST(%(valuations)s AS int[]))
         WITH ORDINALITY AS b(claim, valuation, position) ON b.claim = k.claim
    LEFT JOIN core.claim_results r ON r.claim = k.claim AND r.line = k.line AND r.valuation = b.valuation
    WHERE {REJECTION} IS NULL
"""
_KINDS: Final = (
    f"SELECT DISTINCT {COVER_KIND} FROM {LINES_IN_FORCE} WHERE k.rejection IS NULL AND k.claim = ANY(%(claims)s)"
)


def read_lines(context: Context, claims: Sequence[int], valuations: Sequence[int]) -> StoredLines:
    """The passed lines of claims, in the given order of the claims; `valuations` are the numbers of their last ones."""
    kinds = [COVERAGE_KIND]
    parameters = {"claims": array_literal(claims), "valuations": array_literal(valuations)}
    found = read_numbers(context.connection, _LINES, {**parameters, "kinds": array_literal(kinds)}, _NAMES)
    if bool(np.any(found["cover_kind"] < 0)):
        # Kinds of covers that a plugin brings are numbered by name.
        rows = context.connection.exec_driver_sql(_KINDS, {"claims": list(claims)})
        kinds = sorted(row[0] for row in rows)
        found = read_numbers(context.connection, _LINES, {**parameters, "kinds": array_literal(kinds)}, _NAMES)
    # Products first, then services, as entered.
    order = np.lexsort((found["line"], found["service"], found["claim"]))
    found = {name: column[order] for name, column in found.items()}
    return StoredLines(
        found["line"],
        LinesToValue(
            claim=found["claim"],
            item=found["item"],
            claimed_thousandths=found["claimed"],
            quantity_thousandths=found["quantity"],
            price_minor=found["price"],
            list_price_minor=found["list_price"],
            reviewed_price_minor=found["reviewed_price"],
            kinds=kinds,
            cover_kind=found["cover_kind"],
            cover=found["cover"],
            package_version=found["package_version"],
            copayment=found["copayment"],
            members=found["members"],
            deducted_milli=found["deducted"],
            payable_minor=found["payable"],
        ),
    )
