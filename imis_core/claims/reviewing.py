"""The medical review: a person with the knowledge decides on lines that passed the checks, each with a justification.

It lowers quantities and prices or rejects; it never raises what the checks allowed, and values nothing itself. Where
several policies let a line pass, its price decides anew which of them pays.
Source: health_insurance.md 4 (code -1), 5.1 (the payer) and 5.4 (the reviewer's price goes before all others).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
import sqlalchemy as sa
from attrs import define, frozen

from imis_core.claims.inputs import ShownClaim
from imis_core.claims.moving import ClaimRow, Move, locked_claims, move_claims
from imis_core.claims.payers import Choices, Payer, columns_of, read_choices
from imis_core.claims.queries import shown_claims
from imis_core.claims.states import CHECKED, CLAIM_STATES, REJECTED
from imis_core.claims.tables import claim_line_reviews, claim_reviews
from imis_core.claims.verdicts import LINES_IN_FORCE, QUANTITY, REJECTION, REVIEWED_PRICE
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import insert_rows
from imis_core.eligibility.rejections import Rejection
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.values import Amount, NotExact, Quantity, thousandths_text, to_minor, to_thousandths


@frozen(kw_only=True)
class ReviewedLine:
    """A line by its number `line` or, where it is the only one of the claim, by `item`; amounts per unit.

    Without quantity, price and reject the line is confirmed as it is.
    """

    line: int | None = None
    item: str | None = None
    quantity: Quantity | None = None
    price: Amount | None = None
    reject: bool = False
    justification: str


@frozen(kw_only=True)
class ReviewClaim:
    """`lines`: those that the reviewer speaks about; none at all lets the claim pass as it is."""

    claim: str
    lines: tuple[ReviewedLine, ...]


@define
class _Line:
    """A line as it stands while the reviews of a batch are gone through."""

    line: int
    item: str
    asked_thousandths: int
    asked_price_minor: int
    rejection: int | None
    quantity_thousandths: int
    price_minor: int | None
    justification: str | None = None
    payer: Payer | None = None  # None: the one that the checks chose


@frozen
class _Review:
    """A finished review, to be written."""

    claim: int
    review: int
    lines: tuple[_Line, ...]


_LINES: Final = sa.text(
    f"""
    SELECT k.claim, k.line, i.code AS item, l.quantity_thousandths AS asked_thousandths,
           l.price_minor AS asked_price_minor, {REJECTION} AS rejection, {QUANTITY} AS quantity_thousandths,
           {REVIEWED_PRICE} AS price_minor, v.justification, v.cover_kind, v.cover, v.package_version, v.copayment,
           v.members
    FROM {LINES_IN_FORCE} JOIN core.claim_lines l ON l.claim = k.claim AND l.line = k.line
    JOIN core.items i ON i.id = l.item WHERE k.claim = ANY(:claims) ORDER BY k.claim, k.line
    """
)


@command("claims.review", input=ReviewClaim, result=ShownClaim)
def review(context: Context, items: tuple[ReviewClaim, ...]) -> list[ShownClaim | Refusal]:
    """Decide on lines of checked claims: quantity, price or rejection, each with a justification."""
    known = locked_claims(context, [item.claim for item in items])
    lines: dict[int, list[_Line]] = {}
    for row in context.execute(_LINES, {"claims": sorted({claim.id for claim in known.values()})}):
        lines.setdefault(row.claim, []).append(_line(row))
    repriced = {item.claim for item in items if any(line.price is not None for line in item.lines)}
    choices = read_choices(context, (known[name].id for name in repriced if name in known))
    reviews: list[_Review] = []
    moves: list[Move] = []
    outcomes: list[Any] = []
    for item in items:
        claim = known.get(item.claim)
        outcome = _reviewed(context, item, claim, lines, choices)
        if isinstance(outcome, Refusal):
            outcomes.append(outcome)
            continue
        assert claim is not None
        claim.review += 1
        lines[claim.id] = outcome
        reviews.append(_Review(claim.id, claim.review, tuple(outcome)))
        moves.append(_moved(claim, outcome))
        outcomes.append(claim.id)
    _write(context, reviews, moves)
    shown = shown_claims(context, {claim for claim in outcomes if isinstance(claim, int)})
    return [shown[outcome] if isinstance(outcome, int) else outcome for outcome in outcomes]


def _line(row: Any) -> _Line:
    payer = None
    if row.cover is not None:
        payer = Payer(row.cover_kind, row.cover, row.package_version, row.copayment, row.members)
    return _Line(
        row.line, row.item, row.asked_thousandths, row.asked_price_minor, row.rejection, row.quantity_thousandths,
        row.price_minor, row.justification, payer,
    )  # fmt: skip


def _reviewed(
    context: Context, item: ReviewClaim, claim: ClaimRow | None, lines: dict[int, list[_Line]], choices: Choices
) -> list[_Line] | Refusal:
    """The lines of a claim after a review, as copies; or why it is refused."""
    if claim is None:
        return not_found("claim", "claim", item.claim)
    if claim.state != CHECKED:
        message = f"the claim {claim.code!r} is {claim.state}; only a checked claim is reviewed"
        return Refusal(f"{CLAIM_STATES.noun}.wrong_state", message)
    # A line that this review does not speak of stays as an earlier one left it, with what that said.
    after = [attrs.evolve(line) for line in lines[claim.id]]
    problems: list[Problem] = []
    spoken: set[int] = set()
    for index, said in enumerate(item.lines):
        found = _decide(said, after, context.settings.currency_of(claim.scheme), spoken)
        problems += [problem.at(f"lines.{index}") for problem in found]
    if problems:
        return invalid(*problems)
    for line in after:
        if line.line in spoken and line.price_minor is not None:
            line.payer = choices.at((claim.id, line.line), line.price_minor) or line.payer
    return after


def _decide(said: ReviewedLine, lines: Sequence[_Line], currency: str, spoken: set[int]) -> list[Problem]:
    """Apply what is said of one line; problems instead if it cannot be."""
    line = _named(said, lines)
    if isinstance(line, Problem):
        return [line]
    if line.line in spoken:
        return [Problem("line" if said.line else "item", "duplicate", f"line {line.line} is named twice")]
    spoken.add(line.line)
    if line.rejection is not None:
        message = f"line {line.line} is rejected already ({Rejection(line.rejection).label}); a review brings none back"
        return [Problem("line" if said.line else "item", "rejected", message)]
    if not said.justification.strip():
        return [Problem("justification", "required", "say why: the provider is told")]
    if said.reject:
        given = [name for name in ("quantity", "price") if getattr(said, name) is not None]
        if given:
            return [Problem(name, "excluded", f"a rejected line has no {name}") for name in given]
        line.rejection, line.quantity_thousandths, line.price_minor = int(Rejection.REVIEWER), 0, None
    else:
        problems = _amounts(said, line, currency)
        if problems:
            return problems
    line.justification = said.justification.strip()
    return []


def _named(said: ReviewedLine, lines: Sequence[_Line]) -> _Line | Problem:
    if (said.line is None) == (said.item is None):
        return Problem("line", "required", "name the line by `line` or by `item`, not by both")
    if said.line is not None:
        found = [line for line in lines if line.line == said.line]
        return found[0] if found else Problem("line", "not_found", f"the claim has lines 1 to {len(lines)}")
    found = [line for line in lines if line.item == said.item]
    if len(found) > 1:
        numbers = ", ".join(str(line.line) for line in found)
        return Problem("item", "ambiguous", f"{said.item!r} stands in lines {numbers}; name one by `line`")
    return found[0] if found else Problem("item", "not_found", f"no line of the claim is for {said.item!r}")


def _amounts(said: ReviewedLine, line: _Line, currency: str) -> list[Problem]:
    """Set quantity and price. What the checks allowed is the most: what is above it others may have used up."""
    quantity, price = line.quantity_thousandths, line.price_minor
    try:
        if said.quantity is not None:
            quantity = to_thousandths(said.quantity)
    except NotExact as error:
        return [Problem("quantity", "decimals", str(error))]
    try:
        if said.price is not None:
            price = to_minor(said.price, currency)
    except NotExact as error:
        return [Problem("price", "decimals", str(error))]
    if quantity <= 0:
        return [Problem("quantity", "range", "a quantity is above 0; to refuse the line write reject = true")]
    if quantity > line.quantity_thousandths:
        message = f"at most {thousandths_text(line.quantity_thousandths)}, which is what stands approved"
        return [Problem("quantity", "range", message)]
    if price is not None and quantity * price > line.asked_thousandths * line.asked_price_minor:
        return [Problem("price", "range", "a line never pays more than was claimed; lower the price")]
    line.quantity_thousandths, line.price_minor = quantity, price
    return []


def _moved(claim: ClaimRow, lines: Sequence[_Line]) -> Move:
    if all(line.rejection is not None for line in lines):
        return claim.moved(REJECTED, Rejection.ALL_LINES_REJECTED)
    return claim.moved(CHECKED)


def _write(context: Context, reviews: Sequence[_Review], moves: Sequence[Move]) -> None:
    if not reviews:
        return
    insert_rows(
        context.connection,
        claim_reviews,
        {
            "claim": [one.claim for one in reviews],
            "review": [one.review for one in reviews],
            "reviewer": [context.caller.user] * len(reviews),
            "reviewed_at": [context.now] * len(reviews),
            "audit": [context.audit] * len(reviews),
        },
    )
    rows = [(one, line) for one in reviews for line in one.lines]
    insert_rows(
        context.connection,
        claim_line_reviews,
        {
            "claim": [one.claim for one, _ in rows],
            "line": [line.line for _, line in rows],
            "review": [one.review for one, _ in rows],
            "rejection": [line.rejection for _, line in rows],
            "quantity_thousandths": [line.quantity_thousandths for _, line in rows],
            "price_minor": [line.price_minor for _, line in rows],
            "justification": [line.justification for _, line in rows],
            **columns_of([line.payer for _, line in rows]),
        },
    )
    move_claims(context, moves)


COMMANDS: Final = (review,)
