"""A claim that its maker takes back, and a rejected one that is made anew. Neither changes what was decided before.

A withdrawn claim uses up nothing any more, and owes nothing if it was valuated; its code stays taken. A restored claim
is a new one with a code of its own, checked by today's state, that names the rejected one.
Source: health_insurance.md 4 (states).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen

from imis_core.benefit_packages.schemes import ClaimCase
from imis_core.claims.commands import take_in
from imis_core.claims.entry import resolve
from imis_core.claims.inputs import LineInput, SubmitClaim, SubmittedClaim
from imis_core.claims.moving import ClaimRow, Move, locked_claims, move_claims
from imis_core.claims.paying import in_open_requests
from imis_core.claims.releasing import release
from imis_core.claims.states import CLAIM_STATES, REJECTED, VALUATED, VOID_NUMBERS, WITHDRAWN
from imis_core.commands import command
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, not_found
from imis_core.values import MINOR_UNITS, THOUSANDTHS, Amount, Quantity


@frozen(kw_only=True)
class WithdrawClaim:
    claim: str
    reason: str


@frozen(kw_only=True)
class WithdrawnClaim:
    code: str
    status: str


@command("claims.withdraw", input=WithdrawClaim, result=WithdrawnClaim)
def withdraw(context: Context, items: tuple[WithdrawClaim, ...]) -> list[WithdrawnClaim | Refusal]:
    """Take back claims that nobody asked the payment of, with a reason; what they used up is free again.

    What valuated ones took of deductibles and ceilings goes back, and what they owed is owed no more; other claims stay
    as they were valuated.
    """
    known = locked_claims(context, [item.claim for item in items])
    valuated = [claim for claim in known.values() if claim.state == VALUATED]
    asked_for = in_open_requests(context, (claim.id for claim in valuated))
    outcomes: list[WithdrawnClaim | Refusal] = []
    moves: list[Move] = []
    taken_back: dict[str, list[int]] = {}  # valuated ones by scheme
    for item in items:
        claim = known.get(item.claim)
        if claim is None:
            outcomes.append(not_found("claim", "claim", item.claim))
        elif not item.reason.strip():
            outcomes.append(invalid(Problem("reason", "required", "say why the claim is withdrawn")))
        elif not CLAIM_STATES.allows(claim.state, WITHDRAWN):
            outcomes.append(CLAIM_STATES.refusal(f"the claim {claim.code!r}", claim.state, WITHDRAWN))
        elif claim.id in asked_for:
            message = f"the payment of the claim {claim.code!r} was asked for; it is free once that request is rejected"
            outcomes.append(Refusal("claims.payment_requested", message))
        else:
            if claim.state == VALUATED:
                taken_back.setdefault(claim.scheme, []).append(claim.id)
                claim.valuation += 1
            moves.append(claim.moved(WITHDRAWN, reason=item.reason.strip()))
            outcomes.append(WithdrawnClaim(code=claim.code, status=WITHDRAWN))
    for scheme, numbers in sorted(taken_back.items()):
        release(context, scheme, numbers)
    move_claims(context, moves)
    return outcomes


@frozen(kw_only=True)
class RestoreClaim:
    """`code`: that of the new claim."""

    claim: str
    code: str


_SUCCESSORS: Final = sa.text(
    "SELECT c.restored_from, c.code FROM core.claims c JOIN core.claim_current t ON t.claim = c.id "
    "WHERE c.restored_from = ANY(:claims) AND t.state <> ALL(:void)"
)
_HEADS: Final = sa.text(
    """
    SELECT c.id, p.code AS provider, c.person, c.from_date, c.to_date, c.visit_type, d.code AS diagnosis, c.currency,
           coalesce((SELECT array_agg(s.code ORDER BY o.n) FROM unnest(c.secondary) WITH ORDINALITY AS o(id, n)
                     JOIN core.diagnoses s ON s.id = o.id), '{}') AS secondary
    FROM core.claims c JOIN core.providers p ON p.id = c.provider JOIN core.diagnoses d ON d.id = c.diagnosis
    WHERE c.id = ANY(:claims)
    """
)
_LINES: Final = sa.text(
    "SELECT l.claim, i.code, l.quantity_thousandths, l.price_minor FROM core.claim_lines l "
    "JOIN core.items i ON i.id = l.item WHERE l.claim = ANY(:claims) ORDER BY l.claim, l.line"
)


@command("claims.restore", input=RestoreClaim, result=SubmittedClaim)
def restore(context: Context, items: tuple[RestoreClaim, ...]) -> list[SubmittedClaim | Refusal]:
    """Make a rejected claim anew under another code, claimed today and checked again; the two are linked."""
    known = locked_claims(context, [item.claim for item in items])
    rejected = {claim.id: claim for claim in known.values() if claim.state == REJECTED}
    successors = context.execute(_SUCCESSORS, {"claims": list(rejected), "void": list(VOID_NUMBERS)})
    standing = {row.restored_from: row.code for row in successors}
    contents = _contents(context, rejected)
    # Whose claim the caller sees, that person may be claimed for: the audit entry of the claim tells who did.
    context.look_up(content.patient for content in contents.values())
    cases = _cases(context, rejected)
    outcomes: list[Any] = []
    chosen: list[int] = []  # positions of the items whose claim is made anew
    for position, item in enumerate(items):
        claim = known.get(item.claim)
        if claim is None:
            outcomes.append(not_found("claim", "claim", item.claim))
        elif claim.state != REJECTED:
            message = f"the claim {claim.code!r} is {claim.state}; only a rejected claim is restored"
            outcomes.append(Refusal("claims.wrong_state", message))
        elif claim.id in standing:
            message = f"the claim {claim.code!r} was restored as {standing[claim.id]!r}, which still stands"
            outcomes.append(Refusal("claims.already_restored", message))
        else:
            standing[claim.id] = item.code  # a second one in the same batch would double the claim
            chosen.append(position)
            outcomes.append(claim)
    asked = [contents[outcomes[position].id](items[position].code) for position in chosen]
    taken = take_in(
        context,
        asked,
        resolve(context, asked),
        {index: cases[number] for index, p in enumerate(chosen) if (number := outcomes[p].id) in cases},
        restored_from=[outcomes[position].id for position in chosen],
    )
    for position, answer in zip(chosen, taken, strict=True):
        outcomes[position] = answer
    return outcomes


class _Content:
    """What a claim asked, ready to be asked again under another code."""

    def __init__(self, head: Any, scheme: str, person: str, lines: Sequence[LineInput]) -> None:
        self._head, self._scheme, self._person, self._lines = head, scheme, person, tuple(lines)
        self.patient: int = head.person

    def __call__(self, code: str) -> SubmitClaim:
        head = self._head
        return SubmitClaim(
            code=code, scheme=self._scheme, provider=head.provider, person=self._person, from_=head.from_date,
            to=head.to_date, visit_type=head.visit_type, diagnosis=head.diagnosis, secondary=tuple(head.secondary),
            lines=self._lines,
        )  # fmt: skip


def _contents(context: Context, rejected: Mapping[int, ClaimRow]) -> dict[int, _Content]:
    """What the claims asked, in two statements."""
    numbers = {"claims": sorted(rejected)}
    heads = {row.id: row for row in context.execute(_HEADS, numbers)} if rejected else {}
    lines: dict[int, list[LineInput]] = {}
    for row in context.execute(_LINES, numbers) if rejected else ():
        scale = Decimal(10) ** MINOR_UNITS[heads[row.claim].currency]
        lines.setdefault(row.claim, []).append(
            LineInput(
                item=row.code,
                quantity=Quantity(Decimal(row.quantity_thousandths) / THOUSANDTHS),
                price=Amount(Decimal(row.price_minor) / scale),
            )
        )
    persons = context.ids.encode_all("persons", [head.person for head in heads.values()])
    return {
        number: _Content(heads[number], rejected[number].scheme, person, lines[number])
        for number, person in zip(heads, persons, strict=True)
    }


def _cases(context: Context, rejected: Mapping[int, ClaimRow]) -> dict[int, ClaimCase]:
    """The cases that the claims named (an accident), as their scheme types kept them."""
    found: dict[int, ClaimCase] = {}
    for scheme in sorted({claim.scheme for claim in rejected.values()}):
        kept = context.app.type_of(scheme).stored_cases
        if kept is not None:
            found |= kept(context, [number for number, claim in rejected.items() if claim.scheme == scheme])
    return found


COMMANDS: Final = (withdraw, restore)
