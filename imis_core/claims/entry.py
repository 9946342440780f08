"""Entry of claims: references resolved for the whole batch, and everything that refuses a claim before it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import attrs
from attrs import frozen

from imis_core.beneficiaries.lookup import PersonRow, resolve_persons
from imis_core.benefit_packages.schemes import ClaimCase
from imis_core.catalogue.bundles import FEE_FOR_SERVICE, Parts, parts_of
from imis_core.catalogue.lookup import ItemRow, resolve_items_and_diagnoses
from imis_core.claims.inputs import LineInput, SubmitClaim
from imis_core.context import Context
from imis_core.eligibility.lines import category_of
from imis_core.errors import Problem, Refusal, invalid, not_found, suggestion
from imis_core.places.lookup import ProviderRow, resolve_providers
from imis_core.values import INT64_MAX, THOUSANDTHS, NotExact, to_minor, to_thousandths

CODE_MAX: Final = 100  # characters of a claim's code
LINES_MAX: Final = 1000


@frozen
class EnteredLine:
    item: ItemRow
    quantity_thousandths: int
    price_minor: int


@frozen
class EnteredClaim:
    """A claim whose references are known and whose form is right; amounts in minor units."""

    position: int  # in the batch
    code: str
    scheme: str
    currency: str
    provider: ProviderRow
    person: PersonRow
    from_date: date
    to_date: date
    claimed_on: date
    visit_type: str
    diagnosis: int
    secondary: tuple[int, ...]
    lines: tuple[EnteredLine, ...]
    category: str
    case: int | None = None  # what the scheme type's own fields name

    @property
    def target_date(self) -> date:
        """The day by which a claim is judged: to-date, else from-date."""
        return self.to_date

    @property
    def overnight(self) -> bool:
        return self.from_date != self.to_date

    @property
    def claimed_minor(self) -> int:
        """What is asked: each line rounded half up to the minor unit."""
        return sum(
            (2 * line.quantity_thousandths * line.price_minor + THOUSANDTHS) // (2 * THOUSANDTHS) for line in self.lines
        )


@frozen
class References:
    """Everything that the claims of a batch name: providers, persons, what stands in the catalogue."""

    providers: Mapping[str, ProviderRow]
    persons: Mapping[str, PersonRow]
    items: Mapping[str, ItemRow]
    diagnoses: Mapping[str, Any]
    bundles: Mapping[int, Parts]  # what those hold whose content a claim names


def resolve(context: Context, items: Sequence[SubmitClaim]) -> References:
    """The references of a batch. A contracted provider finds any person by exact number, logged."""
    providers = resolve_providers(context, {item.provider for item in items})
    persons = resolve_persons(context, {item.person or item.number or "" for item in items}, exact=True)
    of_catalogue, diagnoses = resolve_items_and_diagnoses(
        context,
        {name for item in items for line in item.lines for name in (line.item, *(line.content or ()))},
        {code for item in items for code in (item.diagnosis, *item.secondary)},
    )
    named = {line.item for item in items for line in item.lines if line.content is not None}
    bundles = parts_of(context, [of_catalogue[name].id for name in named if name in of_catalogue])
    return References(providers, persons, of_catalogue, diagnoses, bundles)


def enter(
    context: Context,
    position: int,
    item: SubmitClaim,
    known: References,
    case: ClaimCase | None,
    default_scheme: str | None,
) -> EnteredClaim | Refusal:
    """One claim of the batch, or why it is refused at entry (health_insurance.md 4: nothing is stored)."""
    scheme = item.scheme or (default_scheme if case is None else case.scheme)
    problem = _scheme_problem(context, scheme) or _case_problem(item, case) or _form_problem(context, item)
    if problem is not None:
        return invalid(problem)
    assert scheme is not None
    provider = known.providers.get(item.provider)
    if provider is None:
        return not_found("provider", "provider", item.provider)
    if not _may_claim_for(context, provider):
        return Refusal("permission.denied", f"you do not claim for the provider {provider.code!r}")
    name = item.person or item.number or ""
    person = known.persons.get(name)
    if person is None:
        return not_found("person" if item.person else "number", "person", name)
    if case is not None and case.person != person.id:
        message = "the case is another person's; name the patient whom it is of"
        return invalid(Problem("person" if item.person else "number", "other_person", message))
    for path, code in (("diagnosis", item.diagnosis), *((f"secondary.{i}", c) for i, c in enumerate(item.secondary))):
        if code not in known.diagnoses:
            return not_found(path, "diagnosis", code)
    lines = _lines(context, item, scheme, known)
    if isinstance(lines, Refusal):
        return lines
    to_date = item.to or item.from_
    category = category_of([line.item for line in lines], item.from_ != to_date)
    entered = EnteredClaim(
        position, item.code, scheme, context.settings.currency_of(scheme), provider, person, item.from_, to_date,
        item.claimed_on or context.today, item.visit_type, known.diagnoses[item.diagnosis].id,
        tuple(known.diagnoses[code].id for code in item.secondary), lines, category,
        None if case is None else case.case,
    )  # fmt: skip
    if entered.claimed_minor > INT64_MAX:
        return invalid(Problem("lines", "range", "the claim's total is larger than can be kept"))
    return entered


def _scheme_problem(context: Context, scheme: str | None) -> Problem | None:
    schemes = context.settings.schemes
    if scheme is None:
        return Problem("scheme", "required", "several schemes (or none) take claims; name one")
    if scheme not in schemes:
        return Problem("scheme", "unknown", f"there is no scheme {scheme!r}{suggestion(scheme, schemes)}")
    if not context.app.type_of(scheme).takes_claims:
        return Problem("scheme", "no_claims", f"the scheme {scheme!r} takes no claims")
    return None


def _case_problem(item: SubmitClaim, case: ClaimCase | None) -> Problem | None:
    """What a scheme type's own fields name must be of the scheme that pays; those of another type are out of place."""
    if case is not None and item.scheme is not None and case.scheme != item.scheme:
        return Problem("scheme", "other_scheme", f"the case belongs to the scheme {case.scheme!r}; name that, or none")
    return None


def _form_problem(context: Context, item: SubmitClaim) -> Problem | None:
    if not item.code.strip() or len(item.code) > CODE_MAX:
        return Problem("code", "format", f"a claim's code has 1 to {CODE_MAX} characters")
    if (item.number is None) == (item.person is None):
        return Problem("number", "required", "name the patient by number or by person, not by both")
    if item.to is not None and item.to < item.from_:
        return Problem("to", "range", "the claim ends before it begins")
    if max(item.from_, item.to or item.from_) > context.today:
        return Problem("to" if item.to else "from", "future", "the claim lies in the future")
    if item.claimed_on is not None and item.claimed_on > context.today:
        return Problem("claimed_on", "future", "the claim was made in the future")
    if not item.lines:
        return Problem("lines", "required", "a claim has at least one line")
    if len(item.lines) > LINES_MAX:
        return Problem("lines", "too_many", f"a claim has at most {LINES_MAX} lines")
    return None


def _may_claim_for(context: Context, provider: ProviderRow) -> bool:
    caller = context.caller
    return caller.everywhere or provider.id in caller.providers or provider.location in caller.places


def _lines(context: Context, item: SubmitClaim, scheme: str, known: References) -> tuple[EnteredLine, ...] | Refusal:
    currency = context.settings.currency_of(scheme)
    lines = []
    for index, line in enumerate(item.lines):
        of_catalogue = known.items.get(line.item)
        if of_catalogue is None:
            return not_found(f"lines.{index}.item", "item", line.item)
        try:
            quantity = to_thousandths(line.quantity)
        except NotExact as error:
            return invalid(Problem(f"lines.{index}.quantity", "decimals", str(error)))
        if quantity <= 0:
            return invalid(Problem(f"lines.{index}.quantity", "range", "a quantity is above 0"))
        most = of_catalogue.max_quantity_thousandths
        if most is not None and quantity > most:
            message = f"at most {most / THOUSANDTHS:g} of {of_catalogue.code!r} on a line"
            return invalid(Problem(f"lines.{index}.quantity", "range", message))
        try:
            price = to_minor(line.price, currency)
        except NotExact as error:
            return invalid(Problem(f"lines.{index}.price", "decimals", str(error)))
        if quantity * price > INT64_MAX:
            return invalid(Problem(f"lines.{index}.price", "range", "quantity x price is larger than can be kept"))
        problem = _content_problem(line, of_catalogue, known)
        if problem is not None:
            return invalid(problem.at(f"lines.{index}.content"))
        lines.append(EnteredLine(of_catalogue, quantity, price))
    return tuple(lines)


def _content_problem(line: LineInput, item: ItemRow, known: References) -> Problem | None:
    """A bundle that is paid by its content is paid only if that is as defined (health_insurance.md 1)."""
    if line.content is None:
        return None
    if item.bundle != FEE_FOR_SERVICE:
        return Problem("", "excluded", f"{item.code!r} is not paid by its content; leave it out")
    parts = known.bundles[item.id]
    held: Parts = {}
    for name, quantity in line.content.items():
        part = known.items.get(name)
        if part is None:
            return Problem(name, "not_found", f"there is no item {name!r}")
        try:
            held[part.id] = held.get(part.id, 0) + to_thousandths(quantity)
        except NotExact as error:
            return Problem(name, "decimals", str(error))
    if held != parts:
        return Problem("", "differs", f"this is not what {item.code!r} holds; claim the items by themselves")
    return None


def cases(context: Context, items: Sequence[SubmitClaim]) -> dict[int, ClaimCase | Refusal]:
    """What the scheme types' own fields name, by the position of the claim; asked once per type for a whole batch."""
    found: dict[int, ClaimCase | Refusal] = {}
    for kind in context.app.scheme_types.values():
        if kind.claim_fields is None or kind.claim_cases is None:
            continue
        names = [a.name for a in attrs.fields(kind.claim_fields)]
        given = {
            position: kind.claim_fields(**{name: getattr(item, name) for name in names})
            for position, item in enumerate(items)
            if any(getattr(item, name) is not None for name in names)
        }
        if given:
            answers = kind.claim_cases(context, list(given.values()))
            found.update(zip(given, answers, strict=True))
    return found


def default_scheme(context: Context) -> str | None:
    """The only scheme that takes claims, if there is just one."""
    taking = [code for code in context.settings.schemes if context.app.type_of(code).takes_claims]
    return taking[0] if len(taking) == 1 else None
