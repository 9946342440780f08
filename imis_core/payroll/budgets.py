"""Budgets of packages: what is granted, reserved by approvals and spent by payments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.benefit_packages.lookup import scheme_type
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.payroll.tables import budgets
from imis_core.payroll.versions import packages_named
from imis_core.queries import query
from imis_core.values import Amount, Money, NotExact, to_minor


@frozen
class Budget:
    """A package's budget in minor units; `granted` None: none was set, and nothing is limited."""

    granted: int | None
    reserved: int
    spent: int

    @property
    def available(self) -> int | None:
        return None if self.granted is None else self.granted - self.reserved - self.spent

    @property
    def limit(self) -> int | None:
        """What an approval may reserve: nothing costs nothing, also where more was spent than is granted now."""
        return None if self.available is None else max(self.available, 0)

    def refusal(self, context: Context, scheme: str, amount_minor: int) -> Refusal | None:
        """`payroll.over_budget` for an amount above what is available."""
        if self.limit is None or amount_minor <= self.limit:
            return None
        wanted, left = (context.money(minor, scheme) for minor in (amount_minor, self.limit))
        return Refusal("payroll.over_budget", f"{wanted} is above the {left} that the budget has left; raise it first")


def locked_budgets(context: Context, packages: Iterable[int]) -> dict[int, Budget]:
    """The budgets of packages, locked in the order of their packages; a package without one has an open budget."""
    wanted = sorted(set(packages))
    if not wanted:
        return {}
    context.execute(_OPEN, {"packages": wanted})
    rows: Iterable[Any] = context.execute(_LOCKED, {"packages": wanted})
    return {row.package: Budget(row.budget_minor, row.reserved_minor, row.spent_minor) for row in rows}


def move_budgets(context: Context, moves: Mapping[int, tuple[int, int]]) -> None:
    """Add to what packages have reserved and spent, in minor units; one statement."""
    changed = {package: move for package, move in sorted(moves.items()) if any(move)}
    if changed:
        context.execute(
            _MOVE,
            {
                "packages": list(changed),
                "reserved": [reserved for reserved, _ in changed.values()],
                "spent": [spent for _, spent in changed.values()],
            },
        )


_OPEN: Final = sa.text(
    "INSERT INTO core.budgets (package) SELECT unnest(CAST(:packages AS bigint[])) ON CONFLICT DO NOTHING"
)
_LOCKED: Final = sa.text(
    "SELECT package, budget_minor, reserved_minor, spent_minor FROM core.budgets "
    "WHERE package = ANY(CAST(:packages AS bigint[])) ORDER BY package FOR UPDATE"
)
_MOVE: Final = sa.text(
    """
    INSERT INTO core.budgets AS b (package, reserved_minor, spent_minor)
    SELECT * FROM unnest(CAST(:packages AS bigint[]), CAST(:reserved AS bigint[]), CAST(:spent AS bigint[]))
    ON CONFLICT (package) DO UPDATE SET reserved_minor = b.reserved_minor + excluded.reserved_minor,
                                        spent_minor = b.spent_minor + excluded.spent_minor
    """
)


@frozen(kw_only=True)
class SetBudget:
    scheme: str
    package: str
    amount: Amount


@frozen(kw_only=True)
class AskBudget:
    scheme: str
    package: str


@frozen(kw_only=True)
class BudgetShown:
    """`budget` and `available` are absent where no budget was set: nothing is limited then."""

    budget: Money | None
    reserved: Money
    spent: Money
    available: Money | None


@command("payroll.set_budget", input=SetBudget, result=BudgetShown)
def set_budget(context: Context, items: tuple[SetBudget, ...]) -> list[BudgetShown | Refusal]:
    """Say how much a package may cost in all; what is reserved and spent already counts."""
    known = packages_named(context, {(item.scheme, item.package) for item in items})
    current = locked_budgets(context, {row.id for row in known.values()})
    wanted: dict[int, int] = {}
    outcomes: list[BudgetShown | Refusal] = []
    for item in items:
        kind = scheme_type(context, item.scheme)
        package = known.get((item.scheme, item.package))
        if isinstance(kind, Refusal):
            outcomes.append(kind)
        elif package is None:
            outcomes.append(not_found("package", "benefit package", item.package))
        else:
            try:
                amount = to_minor(item.amount, context.settings.currency_of(item.scheme))
            except NotExact as error:
                outcomes.append(invalid(Problem("amount", "range", str(error))))
                continue
            wanted[package.id] = amount
            counted = current[package.id]
            outcomes.append(_shown(context, item.scheme, Budget(amount, counted.reserved, counted.spent)))
    if wanted:
        context.execute(
            sa.text(
                "UPDATE core.budgets b SET budget_minor = n.amount "
                "FROM unnest(CAST(:packages AS bigint[]), CAST(:amounts AS bigint[])) AS n(package, amount) "
                "WHERE b.package = n.package"
            ),
            {"packages": list(wanted), "amounts": list(wanted.values())},
        )
    return outcomes


@query("payroll.budget", input=AskBudget, result=BudgetShown)
def show_budget(context: Context, asked: AskBudget) -> BudgetShown | Refusal:
    """A package's budget, what approvals reserve of it, what was spent, and what is left."""
    kind = scheme_type(context, asked.scheme)
    if isinstance(kind, Refusal):
        return kind
    package = packages_named(context, {(asked.scheme, asked.package)}).get((asked.scheme, asked.package))
    if package is None:
        return not_found("package", "benefit package", asked.package)
    row = context.execute(
        sa.select(budgets.c.budget_minor, budgets.c.reserved_minor, budgets.c.spent_minor).where(
            budgets.c.package == package.id
        )
    ).first()
    return _shown(
        context,
        asked.scheme,
        Budget(None, 0, 0) if row is None else Budget(row.budget_minor, row.reserved_minor, row.spent_minor),
    )


def _shown(context: Context, scheme: str, budget: Budget) -> BudgetShown:
    return BudgetShown(
        budget=None if budget.granted is None else context.money(budget.granted, scheme),
        reserved=context.money(budget.reserved, scheme),
        spent=context.money(budget.spent, scheme),
        available=None if budget.available is None else context.money(budget.available, scheme),
    )


COMMANDS = (set_budget,)
QUERIES = (show_budget,)
