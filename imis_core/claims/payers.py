"""Which cover pays for a line where several let it pass, and the choice made again at a price that a reviewer sets.

What passed was decided by the checks and stays. Source: health_insurance.md 5.1 (the best share against the best fixed
limit at the line's price) and 5.4 (the reviewer's price goes before all others).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.context import Context
from imis_core.database.bulk import Columns
from imis_core.eligibility.lines import paying_cover
from imis_core.eligibility.terms import LineTerms, TermsKey, read_rules


@frozen
class Payer:
    """A cover that pays for a line: kind, number and package version; which of the package's co-payments holds (None:
    none), and how many members the policy covers on the day (None: not asked)."""

    kind: str
    cover: int
    package_version: int
    copayment: int | None
    members: int | None


def columns_of(payers: Sequence[Payer | None]) -> Columns:
    """Payers as the tables of lines keep them."""
    return {
        "cover_kind": [None if p is None else p.kind for p in payers],
        "cover": [None if p is None else p.cover for p in payers],
        "package_version": [None if p is None else p.package_version for p in payers],
        "copayment": [None if p is None else p.copayment for p in payers],
        "members": [None if p is None else p.members for p in payers],
    }


_PAYERS: Final = sa.text(
    """
    SELECT p.claim, p.line, p.cover_kind, p.cover, p.package_version, p.copayment, p.members,
           c.scheme, c.visit_type, c.adult, l.item, l.price_minor, k.list_price_minor
    FROM core.claim_line_payers p JOIN core.claims c ON c.id = p.claim
    JOIN core.claim_lines l ON l.claim = p.claim AND l.line = p.line
    JOIN core.claim_line_checks k ON k.claim = p.claim AND k.line = p.line
    WHERE p.claim = ANY(:claims) ORDER BY p.claim, p.line, p.ordinal
    """
)
Line = tuple[int, int]  # claim and number of the line


@frozen
class _Choice:
    """A line that several covers let pass, with what they pay for it."""

    listed_minor: int | None
    asked_minor: int
    candidates: tuple[tuple[Payer, LineTerms], ...]


@frozen
class Choices:
    """The lines of some claims that several covers let pass."""

    _lines: Mapping[Line, _Choice]

    def at(self, line: Line, reviewed_minor: int) -> Payer | None:
        """Who pays at a price that a reviewer set, in minor units; None: there was no choice, it stays as it was."""
        choice = self._lines.get(line)
        if choice is None:
            return None
        return paying_cover(choice.candidates, choice.listed_minor, choice.asked_minor, reviewed_minor)[0]


def read_choices(context: Context, claims: Iterable[int]) -> Choices:
    """The choices of some claims: one statement, and one for each scheme where there are any."""
    wanted = sorted(set(claims))
    rows: Sequence[Any] = context.execute(_PAYERS, {"claims": wanted}).all() if wanted else ()
    lines: dict[Line, _Choice] = {}
    for scheme in sorted({row.scheme for row in rows}):
        found = [row for row in rows if row.scheme == scheme]
        kind = context.app.type_of(scheme)
        terms, _ = read_rules(context, kind, {row.package_version for row in found}, {row.item for row in found})
        of_line: dict[Line, list[Any]] = {}
        for row in found:
            of_line.setdefault((row.claim, row.line), []).append(row)
        for line, several in of_line.items():
            candidates = tuple((_payer(row), terms[_key(row)]) for row in several)
            lines[line] = _Choice(several[0].list_price_minor, several[0].price_minor, candidates)
    return Choices(lines)


def _payer(row: Any) -> Payer:
    return Payer(row.cover_kind, row.cover, row.package_version, row.copayment, row.members)


def _key(row: Any) -> TermsKey:
    return row.package_version, row.cover_kind, row.item, row.visit_type, row.adult
