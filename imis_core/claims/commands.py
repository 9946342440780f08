"""Commands on claims: submit (entry and checks) and process (valuation)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from imis_core.benefit_packages.schemes import ClaimCase
from imis_core.claims.checks import Checking, Verdict, prepare
from imis_core.claims.entry import EnteredClaim, References, cases, default_scheme, enter, resolve
from imis_core.claims.feedback import ask_by_chance
from imis_core.claims.inputs import CheckedLine, ProcessClaims, ProcessedClaims, SubmitClaim, SubmittedClaim
from imis_core.claims.payers import columns_of
from imis_core.claims.processing import process_scheme
from imis_core.claims.selecting import select_claims
from imis_core.claims.states import CHECKED, NUMBERS
from imis_core.claims.tables import (
    claim_current,
    claim_line_checks,
    claim_line_payers,
    claim_lines,
    claim_states,
    claims,
)
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.bulk import Columns, insert_returning, insert_together
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.values import Money, thousandths_text


@command("claims.submit", input=SubmitClaim, result=SubmittedClaim)
def submit(context: Context, items: tuple[SubmitClaim, ...]) -> list[SubmittedClaim | Refusal]:
    """Take in a provider's claim, check it, and answer whether it is checked or rejected, line by line."""
    # The references first: to look a patient up widens what the caller may see, a case of that patient among it.
    known = resolve(context, items)
    return take_in(context, items, known, cases(context, items))


def take_in(
    context: Context,
    items: Sequence[SubmitClaim],
    known: References,
    of_case: Mapping[int, ClaimCase | Refusal],
    restored_from: Sequence[int] | None = None,
) -> list[SubmittedClaim | Refusal]:
    """Enter, check and store claims; `of_case` by position, `restored_from` the claim that each is made anew from."""
    scheme = default_scheme(context)
    outcomes: list[SubmittedClaim | Refusal] = []
    entered: list[EnteredClaim] = []
    seen: set[str] = set()
    for position, item in enumerate(items):
        case = of_case.get(position)
        claim = case if isinstance(case, Refusal) else enter(context, position, item, known, case, scheme)
        if isinstance(claim, EnteredClaim):
            if claim.code in seen:
                claim = _duplicate(claim.code)
            else:
                seen.add(claim.code)
                entered.append(claim)
        outcomes.append(claim)  # type: ignore[arg-type]  # an entered claim is replaced by its result below
    if not entered:
        return outcomes
    checking = prepare(context, entered)
    # Claims are stored before their lines are judged: one whose code is taken must not count for those after it.
    origins = None if restored_from is None else [restored_from[claim.position] for claim in entered]
    numbers = _store_claims(context, entered, checking, origins)
    kept = [claim for claim in entered if claim.code in numbers]
    verdicts = checking.judge(kept)
    ids = [numbers[claim.code] for claim in kept]
    _store_verdicts(context, list(zip(ids, kept, verdicts, strict=True)))
    outcomes = [_duplicate(o.code) if isinstance(o, EnteredClaim) and o.code not in numbers else o for o in outcomes]
    for claim, verdict, identity in zip(kept, verdicts, context.ids.encode_all("claims", ids), strict=True):
        outcomes[claim.position] = _result(claim, verdict, identity)
    return outcomes


def _duplicate(code: str) -> Refusal:
    return Refusal("claims.duplicate_code", f"there is a claim {code!r} already; a claim's code is used once")


def _store_claims(
    context: Context, entered: Sequence[EnteredClaim], checking: Checking, origins: Sequence[int] | None
) -> dict[str, int]:
    """Write the claims themselves; their numbers by code, without those whose code is taken.

    Codes are unique in the deployment: that a taken one shows, whoever sees the other claim, is a documented exception.
    """
    return {
        row.code: row.id
        for row in insert_returning(
            context.connection,
            claims,
            {
                "scheme": [c.scheme for c in entered],
                "code": [c.code for c in entered],
                "provider": [c.provider.id for c in entered],
                "person": [c.person.id for c in entered],
                "place": [c.provider.location for c in entered],
                "from_date": [c.from_date for c in entered],
                "to_date": [c.to_date for c in entered],
                "target_date": [c.target_date for c in entered],
                "claimed_on": [c.claimed_on for c in entered],
                "visit_type": [c.visit_type for c in entered],
                "facility_level": [c.provider.level for c in entered],
                "adult": [checking.adult(c) for c in entered],
                "diagnosis": [c.diagnosis for c in entered],
                "secondary": [c.secondary or None for c in entered],
                "category": [c.category for c in entered],
                "currency": [c.currency for c in entered],
                "claimed_minor": [c.claimed_minor for c in entered],
                "audit": [context.audit] * len(entered),
                **({} if origins is None else {"restored_from": origins}),
            },
            conflict="(code) DO NOTHING",
            returning="id, code",
        )
    }


Kept = Sequence[tuple[int, EnteredClaim, Verdict]]


def _store_verdicts(context: Context, kept: Kept) -> None:
    """Write lines, verdicts and states of the claims that are new, and what belongs to their scheme types."""
    if kept:
        insert_together(context.connection, *_lines(kept), *_states(context, kept))
        _store_cases(context, kept)
    for scheme in dict.fromkeys(claim.scheme for _, claim, _ in kept):
        passed = [n for n, claim, verdict in kept if claim.scheme == scheme and verdict.state == CHECKED]
        select_claims(context, scheme, passed)
        ask_by_chance(context, scheme, passed)


def _lines(kept: Kept) -> tuple[tuple[sa.Table, Columns], ...]:
    rows = [
        (number, position, line, verdict)
        for number, claim, of_claim in kept
        for position, (line, verdict) in enumerate(zip(claim.lines, of_claim.lines, strict=True), start=1)
    ]
    claim_numbers, positions = [r[0] for r in rows], [r[1] for r in rows]
    lines: Columns = {
        "claim": claim_numbers,
        "line": positions,
        "item": [r[2].item.id for r in rows],
        "service": [r[2].item.kind == "service" for r in rows],
        "quantity_thousandths": [r[2].quantity_thousandths for r in rows],
        "price_minor": [r[2].price_minor for r in rows],
    }
    payers = [r[3].payer for r in rows]
    checked: Columns = {
        "claim": claim_numbers,
        "line": positions,
        "rejection": [None if r[3].rejection is None else int(r[3].rejection) for r in rows],
        "quantity_thousandths": [r[3].quantity_thousandths for r in rows],
        "list_price_minor": [r[3].list_price_minor for r in rows],
        **columns_of(payers),
    }
    several = [(number, line, n, p) for number, line, _, v in rows for n, p in enumerate(v.payers)]
    if not several:
        return (claim_lines, lines), (claim_line_checks, checked)
    others: Columns = {
        "claim": [row[0] for row in several],
        "line": [row[1] for row in several],
        "ordinal": [row[2] for row in several],
        **columns_of([row[3] for row in several]),
    }
    return (claim_lines, lines), (claim_line_checks, checked), (claim_line_payers, others)


def _states(context: Context, kept: Kept) -> tuple[tuple[sa.Table, Columns], ...]:
    numbers = [number for number, _, _ in kept]
    states = [NUMBERS[verdict.state] for _, _, verdict in kept]
    history: Columns = {
        "claim": numbers,
        "version": [1] * len(kept),
        "state": states,
        "rejection": [None if v.rejection is None else int(v.rejection) for _, _, v in kept],
        "audit": [context.audit] * len(kept),
    }
    present: Columns = {
        "claim": numbers,
        "scheme": [claim.scheme for _, claim, _ in kept],
        "state": states,
        "version": [1] * len(kept),
    }
    return (claim_states, history), (claim_current, present)


def _store_cases(context: Context, kept: Kept) -> None:
    """Let the scheme types keep what their own fields name, in their own tables."""
    for scheme in dict.fromkeys(claim.scheme for _, claim, _ in kept if claim.case is not None):
        store = context.app.type_of(scheme).store_claims
        if store is not None:
            store(context, [(n, c.case) for n, c, _ in kept if c.scheme == scheme and c.case is not None])


def _result(claim: EnteredClaim, verdict: Verdict, identity: str) -> SubmittedClaim:
    return SubmittedClaim(
        id=identity,
        code=claim.code,
        status=verdict.state,
        rejection=None if verdict.rejection is None else verdict.rejection.label,
        rejection_code=None if verdict.rejection is None else int(verdict.rejection),
        category=claim.category,
        claimed=Money(claim.claimed_minor, claim.currency),
        lines=tuple(
            CheckedLine(
                item=line.item.code,
                status="passed" if judged.rejection is None else "rejected",
                rejection=None if judged.rejection is None else judged.rejection.label,
                rejection_code=None if judged.rejection is None else int(judged.rejection),
                quantity_approved=thousandths_text(judged.quantity_thousandths),
            )
            for line, judged in zip(claim.lines, verdict.lines, strict=True)
        ),
    )


@command("claims.process", input=ProcessClaims, result=ProcessedClaims)
def process(context: Context, items: tuple[ProcessClaims, ...]) -> list[ProcessedClaims | Refusal]:
    """Valuate checked claims of a scheme: all, or those named; one named again while unpaid is done again."""
    return [scheme_problem(context, item.scheme) or process_scheme(context, item.scheme, item.claims) for item in items]


def scheme_problem(context: Context, scheme: str) -> Refusal | None:
    """`input.invalid` for a scheme that is none, or that takes no claims."""
    schemes = context.settings.schemes
    if scheme not in schemes:
        message = f"there is no scheme {scheme!r}{suggestion(scheme, schemes)}"
        return invalid(Problem("scheme", "unknown", message))
    if not context.app.type_of(scheme).takes_claims:
        return invalid(Problem("scheme", "no_claims", f"the scheme {scheme!r} takes no claims"))
    return None


COMMANDS = (submit, process)
