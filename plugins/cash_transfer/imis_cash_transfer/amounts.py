"""What a beneficiary gets in a cycle, as columns over all of them at once: the rule of the terms in whole minor units.

Asked of `Criteria` with the cycle's first day as the reference date; who is asked about, and from when to when, is said
elsewhere. Source: contract-cash-transfer.md, 'Terms', and domain/cash_transfer.md 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import JSONB

from imis_cash_transfer.columns import Sql, whole
from imis_cash_transfer.terms import CashTransferTerms
from imis_core.api import Criteria, count_of, to_minor

CEILING: Final = "ceiling"  # the step that cuts the amount


@frozen
class Asked:
    """Columns to be selected, labelled: parts of the amount, then deductions wanted; with the names of their steps."""

    parts: tuple[tuple[str, Sql], ...]
    deductions: tuple[tuple[str, Sql], ...]

    @property
    def columns(self) -> list[Sql]:
        named = [(f"part{i}", column) for i, (_, column) in enumerate(self.parts)]
        named += [(f"deduction{i}", column) for i, (_, column) in enumerate(self.deductions)]
        return [column.label(name) for name, column in named]


@frozen
class Worth:
    """An amount in minor units over columns that were asked: `regular` before arrears and deductions, `net` after."""

    regular: Sql
    net: Sql
    steps: Sql  # jsonb: pairs of name and minor units, zero steps left out


def ask(criteria: Criteria, terms: CashTransferTerms, currency: str, *, deductions: bool = True) -> Asked:
    """The parts of an amount: base, per_person and every condition; 0 where a condition is not met or unknown."""
    rule = terms.amount

    def when(amount: Decimal, condition: sa.ColumnElement[bool] | None) -> Sql:
        minor = whole(to_minor(amount, currency))
        return minor if condition is None else sa.case((condition, minor), else_=whole(0))

    parts = [("base", whole(to_minor(rule.base, currency)))]
    if rule.per_person:
        parts.append(("per_person", whole(to_minor(rule.per_person, currency)) * _counted(criteria, terms)))
    parts += [(c.name, when(c.amount, criteria.condition(c.when.expression))) for c in rule.conditions]
    wanted = [
        (d.name, when(d.amount, None if d.when is None else criteria.condition(d.when.expression)))
        for d in (terms.deductions if deductions else ())
    ]
    return Asked(tuple(parts), tuple(wanted))


def _counted(criteria: Criteria, terms: CashTransferTerms) -> Sql:
    """The members that count, at most `max_persons`; a person is its own only member."""
    rule = terms.amount
    if terms.unit == "person":
        own = None if rule.count is None else criteria.condition(rule.count.expression)
        count: Sql = whole(1) if own is None else sa.case((own, whole(1)), else_=whole(0))
    else:
        condition = None if rule.count is None else rule.count.expression
        count = sa.cast(criteria.value(count_of(condition), "number").column, sa.BigInteger)
    return count if rule.max_persons is None else sa.func.least(count, whole(rule.max_persons))


def worth(asked: Asked, row: Any, terms: CashTransferTerms, currency: str, arrears: tuple[Sql, Sql] | None) -> Worth:
    """The amount over `row`, the columns that were asked. `arrears`: their sum in minor units, and their steps.

    The ceiling cuts one cycle's amount; then come arrears; deductions are taken in order, as long as anything is left.
    """
    parts = [(name, row[f"part{i}"]) for i, (name, _) in enumerate(asked.parts)]
    total = _sum([column for _, column in parts])
    regular, steps = total, [_step(name, column) for name, column in parts]
    if terms.ceiling_per_beneficiary is not None:
        regular = sa.func.least(total, whole(to_minor(terms.ceiling_per_beneficiary, currency)), type_=sa.BigInteger)
        steps.append(_step(CEILING, regular - total))
    gross = regular
    if arrears is not None:
        gross = regular + arrears[0]
        steps.append(arrears[1])
    taken: Sql = whole(0)
    wanted = [row[f"deduction{i}"] for i in range(len(asked.deductions))]
    for index, (name, _) in enumerate(asked.deductions):
        # What is taken in all up to here, less what was taken before: never more than there is.
        upto = sa.func.least(_sum(wanted[: index + 1]), gross, type_=sa.BigInteger)
        steps.append(_step(name, taken - upto))
        taken = upto
    return Worth(regular, gross - taken, _joined(steps))


def _step(name: str, minor: Sql) -> Sql:
    """[[name, minor]], or nothing for 0."""
    pair = sa.func.jsonb_build_array(sa.func.jsonb_build_array(sa.cast(name, sa.Text), minor), type_=JSONB)
    return sa.case((minor != 0, pair), else_=sa.literal_column("'[]'::jsonb", JSONB))


def _joined(steps: Sequence[Sql]) -> Sql:
    joined: Sql = steps[0]
    for step in steps[1:]:
        joined = joined.op("||", return_type=JSONB())(step)
    return joined


def _sum(values: Sequence[Sql]) -> Sql:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
