"""Inputs for every command and query, made from their input classes: a right one, and all that name something else.

A field that names something is known here by its name (`NAMES`), or for one command alone (`OWN`); a field that names
nothing is plain (`PLAIN`). A field of text that is neither is an error of the tests: whoever adds a command with a new
kind of name says here what it names.

A name is written `@key` for the id of what `World.of[side][key]` has, or with `{q}` for the side's mark.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

import attrs
from attrs import frozen

from imis_core.parsing import outside_name
from imis_core.values import Amount

B64: Final = "eA=="
# A picture of one point.
PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
# Fields that name something, by code and by id; the first one is used.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "accident": ("@accident",),
    "approval": ("@approval",),
    "assessment": ("@award",),
    "attachment": ("@file", "@file_claim", "@file_grievance", "@cash_list"),
    "about": ("@P1", "@F1", "@claim1", "@grievance", "@coverage-F1", "@order_paid"),
    "award": ("@award",),
    "beneficiary": ("F1-{q}", "P1-{q}", "@F1"),
    "card": ("@card",),
    "change": ("@change",),
    "claim": ("CL1-{q}", "@claim1"),
    "claims_batch": ("@batch",),
    "claims": ("CL5-{q}", "@claim5"),
    "coverage": ("@coverage-F1", "@coverage-P6"),
    "duplicate": ("@duplicate",),
    "employer": ("EM-{q}", "@employer_id"),
    "employment": ("@employment",),
    "enrolment": ("@enrolment", "@enrolment_waiting"),
    "entitlement": ("@entitlement", "@entitlement_waiting"),
    "entity": ("@P1", "P1-{q}", "F1-{q}", "CL1-{q}", "@coverage-F1", "@claim1", "@order_paid", "@entitlement",
               "@grievance", "@employer_id", "@merge", "@payroll", "@notification", "@approval", "@change", "@award",
               "@accident", "@duplicate", "@import", "@request", "@file", "R-{q}-F1"),
    "event": ("@event",),
    "facility": ("HC-{q}",),
    "grievance": ("@grievance", "@grievance_claim", "@grievance_order", "@grievance_closed"),
    "group": ("F1-{q}", "@F1"),
    "groups": ("F1-{q}", "@F1"),
    "identifier": ("NID-{q}-P1", "P1-{q}"),
    "import": ("@import",),
    "keep": ("P1-{q}", "@P1"),
    "drop": ("P6-{q}", "@P6"),
    "member": ("P2-{q}",),
    "merge": ("@merge",),
    "notification": ("@notification", "@notification_free"),
    "number": ("P1-{q}",),
    "orders": ("@order_voucher", "@order_approved", "@claim_order"),
    "order": ("@order_approved", "@order_paid", "@order_failed", "@claim_order"),
    "payee": ("P1-{q}", "@P1"),
    "payroll": ("@payroll", "@payroll_approved", "@payroll_waiting"),
    "person": ("@P1", "P1-{q}"),
    "persons": ("P1-{q}", "@P1"),
    "recovery": ("RV-{q}",),
    "refund": ("@refund",),
    "refunds": ("@refunds",),
    "reporter": ("P1-{q}",),
    "transmission": ("@transmission",),
    "request": ("@request",),
}  # fmt: skip
# Fields that name nothing of a place, and their value.
PLAIN: Final[Mapping[str, Any]] = {
    "account": "X-1",
    "age": "adult",
    "because": "so",
    "calendar": "gregorian",
    "category": "PAY",
    "channel": "phone",
    "class": None,
    "client": "tests",
    "code": "NEW-1",
    "comment": "said",
    "cost": "1",
    "currency": "USD",
    "cycle": "C4",
    "days": 3,
    "degree": "25",
    "description": "said",
    "diagnosis": "A09",
    "disease": "silicosis",
    "doctor": "Dr X",
    "every": "month",
    "exposure": "dust",
    "family_name": "Fam",
    "file": "f.csv",
    "given_name": "Giv",
    "how": "fell",
    "instalment": "1",
    "legal_form": None,
    "item": "LAB",
    "items": "LAB",
    "kind": None,
    "level": "region",
    "media_type": "text/plain",
    "method": "cash",
    "month": "2024-06",
    "name": "Name",
    "occurred_on": "2024-06-28",
    "outcome": None,
    "override_reason": "so",
    "package": "CASH",
    "password": "a long password",
    "pay_point": "PP",
    "payer": "Payer",
    "place": "here",
    "price": "70",
    "price_list": "PL",
    "price_lists": "PL",
    "quantity": 1,
    "reason": "so",
    "receipt": "R-NEW",
    "reference": "REF",
    "relationship": "other",
    "reissue": "lost",
    "report": "grievances_in_time",
    "role": None,
    "roles": "place",
    "scheme": "safe",
    "secondary": "A09",
    "sex": "F",
    "staff": "Mr X",
    "status": None,
    "sub_level": None,
    "subject": "Hello",
    "subscriber": None,
    "system": "nid",
    "text": "Come",
    "to": "+1",
    "value": "NID-NEW",
    "visit_type": "other",
    "wage": "900",
    "do": "beneficiaries.change_person",
    "cancel_payment": False,
}
CHF: Final = {"scheme": "chf", "package": "BASIC"}
WCF: Final = {"scheme": "wcf", "package": "WORK"}
REPORTED: Final = {
    **WCF,
    "number": "P5-{q}",
    "employer": "EM-{q}",
    "occurred_on": "2024-06-28",
    "reported_by": "worker",
}
NEW_PERSON: Final = {"given_name": "G", "family_name": "F", "sex": "F", "birth_date": "1990-01-01"}
FORMS: Final = {"keep", "drop"}
# What one command or query needs beyond its fields' usual values: its right input. None leaves a field out.
OWN: Final[Mapping[str, Mapping[str, Any]]] = {
    "attachments.add": {"content": B64, "about": "@P1"},
    "beneficiaries.add_member": {"group": "F1-{q}", "number": "P6-{q}", "relationship": "other"},
    "beneficiaries.change_head": {"group": "F1-{q}", "number": "P2-{q}"},
    "beneficiaries.change_person": {"number": "P1-{q}", "given_name": "Other", "location": "PLACE-{q}"},
    "beneficiaries.list": {"name": None, "given_name": "GivenQ", "location": "PLACE-{q}"},
    "beneficiaries.list_groups": {"code": "F1-{q}", "location": "PLACE-{q}"},
    "beneficiaries.record_death": {"number": "P1-{q}", "on": "2024-06-29"},
    "beneficiaries.register_group": {
        "location": "PLACE-{q}",
        "members": [{**NEW_PERSON, "relationship": "head"}, {"number": "P6-{q}", "relationship": "other"}]},
    "beneficiaries.register_person": {**NEW_PERSON, "location": "PLACE-{q}"},
    "beneficiaries.remove_member": {"group": "F1-{q}", "number": "P2-{q}"},
    "beneficiaries.set_recipient": {"group": "F1-{q}", "number": "P2-{q}", "recipient": "alternate"},
    "beneficiaries.change_group": {"group": "F1-{q}", "location": "PLACE-{q}"},
    "beneficiaries.set_photo": {"number": "P1-{q}", "content": PNG, "media_type": "image/png"},
    "beneficiaries.show_person": {"number": "P1-{q}"},
    "benefit_packages.define": {
        "scheme": "safe", "code": "NEW", "valid_from": "2025-01-01", "terms": {"amount": {"base": "1"}}},
    "benefit_packages.show": {"scheme": "safe", "package": "CASH"},
    "catalogue.define_item": {"kind": "service"},
    "catalogue.define_price_list": {"prices": {"LAB": "5"}, "valid_from": "2030-01-01"},
    "claims.list": {"code": "CL1-{q}", "provider": "HC-{q}"},
    "claims.list_in_full": {"code": "CL1-{q}", "provider": "HC-{q}"},
    "claims.process": {"scheme": "chf", "claims": ["CL5-{q}"]},
    "claims.request_payment": {"scheme": "chf", "provider": "HC-{q}", "from": "2024-04-01", "to": "2024-05-31"},
    "claims.review": {"claim": "CL4-{q}", "lines": [{"line": 1, "reject": True, "justification": "so"}]},
    "claims.withdraw": {"claim": "CL4-{q}", "reason": "so"},
    "cards.issue": {"coverage": "@coverage-F1"},
    "claims.submit": {
        "scheme": "chf", "code": "CL-NEW", "provider": "HC-{q}", "number": "P1-{q}", "from": "2024-06-20",
        "lines": [{"item": "LAB", "quantity": 1, "price": "70"}]},
    "contributions.record": {"coverage": "@coverage-F3", "amount": "1", "receipt": "R-NEW"},
    "claims.simulate": {**CHF, "terms": {"insurance_months": 12}, "from": "2024-01-01", "to": "2024-06-30"},
    "contributions.record_subsidy": {"scheme": "chf", "category": "poor", "amount": "1", "receipt": "R-NEW"},
    "contributions.reverse": {"scheme": "chf", "receipt": "R-{q}-P6"},
    "contributions.refund": {"coverage": "@coverage-F1", "amount": "1"},
    "contributions.approve_refunds": {"scheme": "chf", "refunds": ["@refund"]},
    "contributions.refunds": {"scheme": "chf", "status": None},
    "contributions.credits": {"scheme": "chf"},
    "coverage.enrol": {**CHF, "group": "F2-{q}"},
    "coverage.resume": {"coverage": "@coverage-P6"},
    "coverage.list": {"scheme": "chf"},
    "cycles.open": {"scheme": "safe", "code": "NEW", "starts": "2030-01-01", "ends": "2030-01-31"},
    "cycles.plan": {"from": "2024-01-01", "count": 2},
    "eii.accept": {"accident": "@reported", "kind": "work"},
    "eii.appeal": {"assessment": "@award", "reason": "so"},
    "eii.assess": {"accident": "@deadly", "degree": "25", "on": "2024-06-30"},
    "eii.award_funeral": {"accident": "@dead", "payee": "P1-{q}"},
    "eii.award_survivors": {
        "accident": "@deadly", "died_on": "2024-06-01", "survivors": [{"number": "P6-{q}", "relationship": "spouse"}]},
    "eii.certify": {"accident": "@accident", "from": "2024-05-25", "to": "2024-05-28"},
    "eii.confirm_alive": {"award": "@award", "on": "2024-06-30"},
    "eii.decline": {"accident": "@reported"},
    "eii.end_award": {"award": "@award", "on": "2024-06-30", "reason": "other"},
    "eii.index_awards": {"scheme": "wcf"},
    "eii.recover": {"award": "@award", "amount": "1"},
    "eii.report_accident": REPORTED,
    "eii.report_disease": {**REPORTED, "disease": "silicosis", "exposure": "dust"},
    "eligibility.check": {"number": "P1-{q}", "scheme": "chf", "provider": "HC-{q}", "items": ["LAB"]},
    "employment.end": {"employment": "@employment", "on": "2024-06-30"},
    "employment.declare_wages": {"scheme": "wcf", "employer": "EM-{q}", "rows": [{"number": "P5-{q}", "wage": "900"}]},
    "employment.list": {"employer": "EM-{q}"},
    "employment.register": {"employer": "EM-{q}", "number": "P6-{q}", "from": "2024-01-01"},
    "employment.register_employer": {"scheme": "wcf", "code": "NEW", "location": "PLACE-{q}"},
    "events.retry": {"event": "@event", "subscriber": "health_insurance"},
    "jobs.retry": {"job": "@job"},
    "grievances.open": {"category": "PAY", "subject": {"beneficiary": "P1-{q}"}, "reporter": "P1-{q}"},
    "grievances.appeal": {"grievance": "@grievance_resolved"},
    "grievances.close": {"grievance": "@grievance_resolved"},
    "grievances.reopen": {"grievance": "@grievance_closed"},
    "grievances.resolve": {"grievance": "@grievance_open", "decision": "rejected"},
    "health_insurance.utilisation": {"scheme": "chf"},
    "payments.missed": {"scheme": "safe", "cycles": 2},
    "payments.missed_by": {"scheme": "safe", "cycles": 2, "level": None},
    "payments.release": {"order": "@order_held"},
    "payroll.funds": {"payroll": "@payroll"},
    **{f"payroll.{name}": {"payroll": "@payroll", "level": None}
       for name in ("funds_request", "results", "credited", "not_credited")},
    **{f"reports.{name}": {"payroll": "@payroll", "level": None}
       for name in ("funds_request", "cycle_results", "payments_credited", "payments_not_credited")},
    "reports.payments_missed": {"scheme": "safe", "cycles": 2},
    "reports.payments_missed_by": {"scheme": "safe", "cycles": 2, "level": None},
    "payroll.release": {"entitlement": "@entitlement_held"},
    "grievances.assign": {"grievance": "@grievance", "owner": "place-{side}"},
    "grievances.move": {"grievance": "@grievance", "status": "open"},
    "locations.add": {"parent": "PLACE-{q}"},
    "locations.list": {"parent": "LAND"},
    "locations.merge": {"from": ["PLACE-{q}"], "into": "LAND", "on": "2024-06-30"},
    "locations.rename": {"location": "PLACE-{q}", "on": "2024-06-30"},
    "locations.split": {
        "location": "PLACE-{q}", "into": [{"code": "N1", "name": "N1"}, {"code": "N2", "name": "N2"}],
        "on": "2024-06-30"},
    "notifications.send": {"person": "P1-{q}", "to": None},
    "payments.cash_lists": {"payroll": "@payroll"},
    "payments.enrol_recipient": {"number": "P1-{q}", "provider": "POST", "account": "ACC"},
    "payments.orders": {"payroll": "@payroll"},
    "payments.vouchers": {"payroll": "@payroll_vouchers"},
    "payments.voucher_lists": {"payroll": "@payroll_vouchers"},
    "payments.to_enrol": {"provider": "POST", "location": "PLACE-{q}", "unit": "person", "payroll": None},
    "payments.enrol_file": {"provider": "POST", "name": "e.csv", "content": "@answer"},
    "payments.addresses": {"number": "P1-{q}"},
    "payments.recipients": {"provider": "POST"},
    "payments.compare_books": {"provider": "MOMO", "name": "r.csv", "content": "@report"},
    "payments.book_differences": {"comparison": "@comparison", "code": None},
    "payments.reconcile": {"provider": "MOMO", "rows": [{"order": "@claim_order", "status": "failed", "amount": "1"}]},
    "payments.reconcile_file": {"provider": "MOMO", "name": "r.csv", "content": "@report"},
    "payments.reconciliation": {"provider": "POST"},
    "payments.register_provider": {"channel": "voucher"},
    "payments.retry": {"order": "@order_failed"},
    "payments.reverse": {"order": "@order_paid"},
    "payments.submit": {"payroll": "@payroll_approved"},
    "payroll.approve": {"payroll": "@payroll_waiting"},
    "payroll.delete": {"payroll": "@payroll_waiting"},
    "payroll.close": {"payroll": "@payroll"},
    "payments.bank_files": {"payroll": "@payroll"},
    "payments.written_bank_files": {"provider": "BANK"},
    "payments.account_checks": {"provider": "MOMO"},
    "payments.check_accounts": {"provider": "MOMO"},
    "payments.messages": {"provider": "MOMO"},
    "payments.unpayable_accounts": {"provider": "MOMO"},
    "payments.set_bank": {"provider": "BANK", "debtor": "Agency", "account": "DE89370400440532013000"},
    "claims.process_in_background": {"scheme": "chf"},
    "payroll.generate_in_background": {"scheme": "safe", "package": "CASH", "cycle": "C6", "location": "PLACE-{q}"},
    "jobs.show": {"job": "@job"},
    "payroll.generate_again": {"payroll": "@payroll_failed"},
    "payroll.generate": {"scheme": "safe", "package": "CASH", "cycle": "C6", "location": "PLACE-{q}"},
    "payroll.reject": {"payroll": "@payroll_approved"},
    "payroll.recover": {
        "scheme": "safe", "code": "RV-NEW", "group": "F2-{q}", "amount": "1", "instalment": "1", "reason": "so"},
    "payroll.recoveries": {"scheme": "safe"},
    "payroll.set_budget": {"amount": "10"},
    "providers.change": {"provider": "HC-{q}", "name": "Other"},
    "providers.close": {"provider": "HC-{q}", "on": "2024-06-30"},
    "providers.list": {"location": "PLACE-{q}"},
    "providers.register": {"code": "NEW", "location": "PLACE-{q}"},
    "registry.close_period": {"location": "PLACE-{q}"},
    "registry.decide_duplicate": {"duplicate": "@duplicate", "decision": "same"},
    "registry.find_duplicates": {"persons": ["P1-{q}"]},
    "registry.import": {"kind": "persons", "rows": [{"number": "NEW", **NEW_PERSON, "location": "PLACE-{q}"}]},
    "registry.open_period": {"location": "PLACE-{q}", "from": "2031-01-01"},
    "registry.periods": {"location": "PLACE-{q}"},
    "registry.request_change": {"do": "beneficiaries.change_person", "with": {"number": "P1-{q}", "given_name": "X"}},
    "registry.self_exclude": {"person": "P2-{q}"},
    "reports.run": {"report": "grievances_in_time", "with": {}},
    "targeting.approve": {"enrolment": "@enrolment_waiting"},
    "targeting.change_state": {"beneficiary": "F1-{q}", "state": "suspended"},
    "targeting.enrol": {"groups": ["F3-{q}"]},
    "targeting.preview": {"groups": ["F3-{q}"]},
    "targeting.score": {"groups": ["F3-{q}"]},
    "users.add": {"name": "new", "roles": ["place"], "places": ["PLACE-{q}"]},
    "users.change": {"user": "place-{side}", "places": ["PLACE-{q}"]},
    "users.disable": {"user": "place-{side}"},
    "users.change_password": {"password": "not this one", "new_password": "some words of mine"},
    "users.enable": {"user": "place-{side}"},
    "users.end_logins": {"user": "place-{side}"},
    "users.role_matrix": {"role": "place", "name": "users.list"},
    "users.show": {"user": "place-{side}"},
    "users.unlock": {"user": "place-{side}"},
    "providers.show": {"provider": "HC-{q}"},
}  # fmt: skip


class Unknown(AssertionError):
    """A field that these tests cannot fill: say in `NAMES`, `PLAIN` or `OWN` what it names."""


@frozen
class Call:
    """An input with names still to be filled in; `varied` are the paths of those that name something of a side."""

    data: Any
    varied: tuple[tuple[Any, ...], ...]


def calls(name: str, kind: type) -> Iterator[Call]:
    """The right input of a command or query, then the same with each optional name, and each further form of a name."""
    right = _right(name, kind)
    yield Call(right, tuple(_paths(right)))
    for path, template in _further(name, kind, right):
        data = _set(right, path, template)
        yield Call(data, (path if not isinstance(template, list) else (*path, 0),))


def _right(name: str, kind: type) -> dict[str, Any]:
    own = dict(OWN.get(name, {}))
    for attribute, hint in _fields(kind):
        field = outside_name(attribute)
        if field in own:
            continue
        if attribute.default is attrs.NOTHING:
            own[field] = _value(name, field, hint)
        elif field in ("person", "number", "group") and not {"person", "number", "group"} & set(own) and (
            {"person", "number"} <= {outside_name(a) for a in attrs.fields(kind)} and name not in _FREE
        ):  # fmt: skip
            own[field] = NAMES[field][0]
    return {field: value for field, value in own.items() if value is not None}


def _fields(kind: type) -> list[tuple[Any, Any]]:
    """The fields of an input class with their types, which the source may have written as text."""
    hints = typing.get_type_hints(kind)
    return [(attribute, hints[attribute.name]) for attribute in attrs.fields(kind)]


_FREE: Final = frozenset({"employment.list", "employment.wages", "coverage.list", "coverage.list_covered"})


def _value(name: str, field: str, kind: Any) -> Any:
    if field in NAMES:
        return [NAMES[field][0]] if _is_tuple(kind) else NAMES[field][0]
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)[0]
    if field in PLAIN and PLAIN[field] is not None:
        return [PLAIN[field]] if _is_tuple(kind) else PLAIN[field]
    for simple, value in ((bool, False), (int, 1), (date, "2024-06-30"), (Amount, "1")):
        if kind is simple:
            return value
    raise Unknown(f"{name}: the tests do not know what the field {field!r} ({kind}) names")


def _is_tuple(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple


def _further(name: str, kind: type, right: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(path, template) of each other name: optional fields, and further forms of those that are there."""
    for attribute, hint in _fields(kind):
        field = outside_name(attribute)
        told = _texts(hint)
        if told is None:
            continue
        if field not in NAMES and field not in PLAIN and field not in OWN.get(name, {}) and field not in LOCAL:
            raise Unknown(f"{name}: the tests do not know what the field {field!r} ({hint}) names")
        for template in (*NAMES.get(field, ()), *LOCAL.get(field, ())):
            if name.partition(".")[0] in ("payments", "contributions") and field == "provider":
                continue
            value = [template] if told == "list" else template
            if right.get(field) != value and not (field in ("person", "number", "group") and _taken(field, right)):
                yield (field,), value


# Names that are not the field's only meaning: filters by a place, a facility or a user.
LOCAL: Final[Mapping[str, tuple[str, ...]]] = {
    "location": ("PLACE-{q}", "@location_id"),
    "parent": ("PLACE-{q}",),
    "provider": ("HC-{q}", "@facility_id"),
    "id": ("@P1", "@F1", "@claim1", "@coverage-F1", "@facility_id", "@location_id"),
    "owner": ("place-{side}",),
    "user": ("place-{side}",),
    "places": ("PLACE-{q}",),
    "providers": ("HC-{q}",),
    "from": ("PLACE-{q}",),
    "into": ("PLACE-{q}",),
    "after": (),
    "debtor": (),
    "bank": (),
    "confirmation_number": (),
    "confirmation_type": (),
    "language": (),
    "note": (),
    "forget": (),
    "job": ("@job",),
    "login": (),
    "address": (),
    "password": (),
    "subscriber": (),
    "state": (),
    "class": (),
}


def _taken(field: str, right: Mapping[str, Any]) -> bool:
    """`person` and `number` are either or, and `group` beside them in some commands."""
    return any(other in right for other in ("person", "number", "group") if other != field)


def _texts(kind: Any) -> str | None:
    """Whether a field holds text: alone, or in a list; None if it holds none."""
    if kind is str:
        return "one"
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next((found for part in typing.get_args(kind) if (found := _texts(part))), None)
    if _is_tuple(kind) and typing.get_args(kind)[0] is str:
        return "list"
    return None


def _paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a name of a side stands in an input."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _paths(part, (*at, key))
    elif isinstance(value, (list, tuple)):
        for position, part in enumerate(value):
            yield from _paths(part, (*at, position))
    elif isinstance(value, str) and is_name(value):
        yield at


def is_name(text: str) -> bool:
    return text.startswith("@") or "{q}" in text or "{side}" in text


def _set(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = dict(value) if isinstance(value, Mapping) else list(value)
    copied[path[0]] = _set(copied.get(path[0]) if isinstance(copied, dict) else copied[path[0]], path[1:], new)
    return copied


def filled(value: Any, fill: Any, at: tuple[Any, ...] = ()) -> Any:
    """An input with its names filled in by `fill(template, path)`."""
    if isinstance(value, Mapping):
        return {key: filled(part, fill, (*at, key)) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(part, fill, (*at, position)) for position, part in enumerate(value)]
    return fill(value, at) if isinstance(value, str) and is_name(value) else value
