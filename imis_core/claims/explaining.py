"""A claim told in words: what was asked, why each line was refused or what was paid for it, step by step.

The figures are those of `claims.show`; what the package and the price list said comes from the version that the claim
was judged by. It decides nothing. Source: health_insurance.md 5.7 (so that anyone can be told why).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from imis_core.claims.explained import LineFacts, line_facts
from imis_core.claims.inputs import ShownClaim, ShownLine
from imis_core.claims.queries import show_claim
from imis_core.context import Context
from imis_core.errors import Problem, Refusal, invalid, suggestion
from imis_core.queries import query
from imis_core.translations import Writer, language_for, languages
from imis_core.values import Money

# Why a line or a claim is refused, by the name of the rejection.
WHY: Final = {
    "reviewer": "the medical reviewer refused it.",
    "all_lines_rejected": "no line of the claim is left.",
    "not_in_price_list": "the facility had no price for it on {day}.",
    "not_covered": "no package of the patient covers it.",
    "patient_category": "it is not for patients of this sex or age.",
    "frequency": "the patient had the same item within {days} days of it.",
    "person_invalid": "the patient or the family was not active on {day}.",
    "target_date": "it was claimed before the care was given.",
    "care_type": "it does not fit the care that the facility gives (in-patient or out-patient).",
    "max_hospitalisations": "the hospital stays that the package grants in a period are used up.",
    "max_visits": "the visits that the package grants in a period are used up.",
    "max_consultations": "the consultations that the package grants in a period are used up.",
    "max_surgeries": "the surgeries that the package grants in a period are used up.",
    "max_deliveries": "the deliveries that the package grants in a period are used up.",
    "max_antenatal": "the antenatal visits that the package grants in a period are used up.",
    "max_provisions": "the quantity that the package grants in a period is used up.",
    "waiting_period": "the patient is still in the waiting period.",
    "no_coverage": "no policy of the patient covered {day}.",
}
_STATUS: Final = {
    "entered": "It is entered and not checked yet.",
    "checked": "It passed the checks and is not valued yet.",
    "processed": "It waits for the batch of relative prices.",
    "valuated": "Of {claimed} that were claimed the scheme owes {payable}.",
    "paid": "Of {claimed} that were claimed the scheme paid {payable}.",
    "withdrawn": "It was withdrawn: {reason}",
}
_LEVELS: Final = {
    "treatment": "for this claim",
    "person": "for this person",
    "policy": "for the whole policy",
}


@frozen(kw_only=True)
class ExplainClaim:
    """`language`: one that has a catalog; by default the deployment's first."""

    claim: str
    language: str | None = None


@frozen(kw_only=True)
class ExplainedLine:
    line: int
    item: str
    sentences: tuple[str, ...]


@frozen(kw_only=True)
class ExplainedClaim:
    """`sentences` are of the claim as a whole; `text` is everything, a sentence a line."""

    code: str
    language: str
    sentences: tuple[str, ...]
    lines: tuple[ExplainedLine, ...]
    text: str


@query("claims.explain", input=ExplainClaim, result=ExplainedClaim, permission="claims.show")
def explain(context: Context, asked: ExplainClaim) -> ExplainedClaim | Refusal:
    """A claim in words, with the figures of every step, in a language of the deployment."""
    language = language_for(asked.language, context.settings.deployment.languages)
    if language is None:
        known = ", ".join(languages())
        message = f"there is no catalog of {asked.language!r} (there are: {known})"
        return invalid(Problem("language", "unknown", message + suggestion(asked.language or "", languages())))
    claim = show_claim(context, asked.claim)
    if isinstance(claim, Refusal):
        return claim
    writer = Writer(language)
    facts = line_facts(context, claim)
    whole = _whole(writer, claim)
    lines = tuple(
        ExplainedLine(line=line.line, item=line.item, sentences=tuple(_line(writer, claim, line, facts[line.line])))
        for line in claim.lines
    )
    parts = [*whole, *(sentence for line in lines for sentence in _indented(line.sentences))]
    return ExplainedClaim(
        code=claim.code, language=language, sentences=tuple(whole), lines=lines, text="\n".join(parts)
    )


def _indented(sentences: Sequence[str]) -> list[str]:
    return ["", sentences[0], *(f"  {sentence}" for sentence in sentences[1:])]


def _whole(w: Writer, claim: ShownClaim) -> list[str]:
    said = [
        w.say(
            "Claim {code} of the facility {facility} for care from {first} to {last}.",
            code=claim.code, facility=claim.provider, first=w.day(claim.from_), last=w.day(claim.to),
        )
        if claim.from_ != claim.to
        else w.say(
            "Claim {code} of the facility {facility} for care on {day}.",
            code=claim.code, facility=claim.provider, day=w.day(claim.to),
        )
    ]  # fmt: skip
    if claim.status == "rejected":
        why = w.say(WHY[claim.rejection or "all_lines_rejected"], day=w.day(claim.to), days=0)
        said.append(w.say("It is rejected: {why}", why=why))
    else:
        payable = claim.payable or Money(0, claim.currency)
        said.append(
            w.say(
                _STATUS[claim.status], claimed=w.money(claim.claimed), payable=w.money(payable),
                reason=claim.reason or "",
            )
        )  # fmt: skip
    if claim.awaits_review:
        said.append(w.say("It was chosen for medical review and waits for it."))
    if claim.reviewed_at is not None:
        said.append(w.say("It had its medical review on {day}.", day=w.day(claim.reviewed_at.date())))
    if claim.restored_from is not None:
        said.append(w.say("It was made anew from the rejected claim {code}.", code=claim.restored_from))
    if claim.restored_as is not None:
        said.append(w.say("It was made anew as the claim {code}.", code=claim.restored_as))
    return said


def _line(w: Writer, claim: ShownClaim, line: ShownLine, facts: LineFacts) -> list[str]:
    said = [
        w.say(
            "Line {line}, {item}: {quantity} at {price} each, {claimed} in all.",
            line=w.quantity(str(line.line)), item=line.item, quantity=w.quantity(line.quantity),
            price=w.money(line.price), claimed=w.money(line.claimed),
        )
    ]  # fmt: skip
    if line.justification is not None:
        said.append(w.say("The medical reviewer says: {words}", words=line.justification))
    if line.rejection is not None:
        why = w.say(WHY[line.rejection], day=w.day(claim.to), days=w.quantity(str(facts.frequency_days or 0)))
        return [*said, w.say("Rejected: {why}", why=why)]
    if Decimal(line.quantity_approved) != Decimal(line.quantity):
        said.append(
            w.say(
                "{approved} of {asked} are approved.",
                approved=w.quantity(line.quantity_approved), asked=w.quantity(line.quantity),
            )
        )  # fmt: skip
    if facts.package is not None:
        said.append(
            w.say(
                "The package {package}, in the version of {day}, pays for it.",
                package=facts.package, day=w.day(facts.version_from or claim.to),
            )
        )  # fmt: skip
    said += _price(w, line, facts)
    return [*said, *_steps(w, claim, line, facts)] if line.steps else said


def _price(w: Writer, line: ShownLine, facts: LineFacts) -> list[str]:
    """Where the price of one unit comes from."""
    if line.unit_price is None:
        return []
    price = w.money(line.unit_price)
    if facts.reviewed_price:
        return [w.say("Price of one: {price}, set by the medical reviewer.", price=price)]
    if facts.price_origin == "provider":
        return [w.say("Price of one: {price}, as the facility asked; so the package says.", price=price)]
    if facts.price_list is None or facts.listed is None:
        return [w.say("Price of one: {price}.", price=price)]
    values = {
        "price": price, "list": facts.price_list, "day": w.day(facts.list_from), "listed": w.money(facts.listed)
    }  # fmt: skip
    if line.unit_price != facts.listed:
        return [
            w.say(
                "Price of one: {price}, as asked; the price list {list} in force from {day} allows {listed}.", **values
            )
        ]
    return [w.say("Price of one: {price}, by the price list {list} in force from {day}.", **values)]


def _steps(w: Writer, claim: ShownClaim, line: ShownLine, facts: LineFacts) -> list[str]:
    """The steps that changed something, and what is paid at the end."""
    said: list[str] = []
    before = line.claimed
    for step in line.steps:
        cut = Money(before.minor - step.amount.minor, claim.currency)
        figures = {"cut": w.money(cut), "rest": w.money(step.amount)}
        said += _step(w, step.name, cut, figures, claim, facts)
        before = step.amount
    paid = line.payable or Money(0, claim.currency)
    said.append(
        w.say(
            "The scheme pays {paid} of the {claimed} that were claimed.", paid=w.money(paid),
            claimed=w.money(line.claimed),
        )
    )  # fmt: skip
    return said


def _step(w: Writer, name: str, cut: Money, figures: dict[str, Any], claim: ShownClaim, facts: LineFacts) -> list[str]:
    if name == "price":
        return [w.say("Quantity and price make {rest}.", **figures)]
    if name == "coinsurance" and facts.share is not None and (cut.minor or facts.share != 100):
        return [w.say("The scheme's share is {share}: {rest}.", share=w.percent(facts.share), **figures)]
    if not cut.minor:
        return []
    if name == "limit" and facts.fixed_limit is not None:
        return [w.say("At most {most} is paid for one: {rest}.", most=w.money(facts.fixed_limit), **figures)]
    if name == "deductible" and facts.deductible is not None:
        level, amount = facts.deductible
        return [
            w.say(
                "Deductible of {amount} {level}: {cut} of it is taken here, {rest} are left.",
                amount=w.money(amount), level=w.say(_LEVELS[level]), **figures,
            )
        ]  # fmt: skip
    if name == "copayment":
        return [w.say("Co-payment of the patient: {cut}, {rest} are left.", **figures)]
    if name == "category_cap" and facts.cap is not None:
        return [
            w.say(
                "At most {most} is paid for such a claim ({category}): {cut} lie above it, {rest} are left.",
                most=w.money(facts.cap), category=w.say(claim.category), **figures,
            )
        ]  # fmt: skip
    if name == "ceiling" and facts.ceiling is not None:
        level, amount = facts.ceiling
        return [
            w.say(
                "Ceiling of {amount} {level}: {cut} lie above what is left of it.",
                amount=w.money(amount), level=w.say(_LEVELS[level]), **figures,
            )
        ]  # fmt: skip
    return [w.say("Step {name}: {cut} less, {rest} are left.", name=name, **figures)]


QUERIES: Final = (explain,)
