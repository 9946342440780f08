"""Taking grievances in: categories, subjects, schemes, reporters who are named and those who are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imis_core.errors import ImisError

from .conftest import SETTINGS, Desk


def _refusal(desk: Any, as_: Any = "administrator", **fields: Any) -> tuple[str, str]:
    with pytest.raises(ImisError) as error:
        desk.open(as_=as_, **fields)
    return error.value.code, error.value.refusal.problems[0].path


def test_a_grievance_is_received_with_a_code_and_a_due_day(desk: Any) -> None:
    """`{id, code, status = received, due, held}`: due = day opened + days; every code is another one."""
    opened = desk.app.do_all("grievances.open", [{"category": "OTHER", "description": "x"}] * 3)
    assert {(one["status"], one["due"], one["held"]) for one in opened} == {("received", "2021-01-21", False)}
    assert len({one["code"] for one in opened}) == 3
    shown = [desk.app.do("grievances.show", {"grievance": opened[0][name]}) for name in ("id", "code")]
    assert shown[0] == shown[1]
    assert (shown[0]["channel"], shown[0]["priority"], shown[0]["clock"]) == ("office", "normal", "on_time")


@pytest.mark.parametrize("subject", [{"beneficiary": "1"}, {"beneficiary": "G1"}, {"staff": "Mr Jallow"}])
def test_a_grievance_is_about_a_beneficiary_or_staff(desk: Any, subject: dict[str, str]) -> None:
    """A person by number, a group by code, staff in words: shown and listed by that name."""
    desk.app.do("beneficiaries.register_group", {"code": "G1", "members": [{"number": "1", "relationship": "head"}]})
    opened = desk.open(subject=subject)
    desk.open(subject={"beneficiary": "2"})
    kind, name = next(iter(subject.items()))
    assert {k: v for k, v in desk.show(opened)["subject"].items() if v is not None} == {kind: name}
    assert [g["code"] for g in desk.app.do("grievances.list", {"subject": subject})] == [opened["code"]]


def test_a_grievance_is_about_an_order_of_a_scheme(desk: Any) -> None:
    """An order by its id; the grievance then belongs to the order's scheme and is listed under it."""
    order = desk.orders(desk.payroll())[0]["id"]
    opened = desk.open(subject={"order": order})
    shown = desk.show(opened)
    assert (shown["subject"]["order"], shown["scheme"]) == (order, "aid")
    assert [g["code"] for g in desk.app.do("grievances.list", {"scheme": "aid"})] == [opened["code"]]
    assert len(desk.app.do("grievances.list", {"subject": {"order": order}})) == 1


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"category": "NONE"}, ("not_found", "category")),
        ({"description": " "}, ("input.invalid", "description")),
        ({"subject": {}}, ("input.invalid", "subject")),
        ({"subject": {"beneficiary": "1", "staff": "x"}}, ("input.invalid", "subject")),
        ({"subject": {"beneficiary": "9"}}, ("not_found", "subject.beneficiary")),
        ({"subject": {"order": "9"}}, ("not_found", "subject.order")),
        ({"subject": {"claim": "C9"}}, ("not_found", "subject.claim")),
        ({"subject": {"staff": ""}}, ("input.invalid", "subject.staff")),
        ({"subject": {"payment": "9"}}, ("input.invalid", "subject.payment")),
        ({"priority": "extreme"}, ("input.invalid", "priority")),
        ({"reporter": ""}, ("input.invalid", "reporter")),
        ({"scheme": "aids"}, ("input.invalid", "scheme")),
        ({"scheme": "other"}, ("input.invalid", "scheme")),
    ],
)
def test_what_is_wrong_is_refused_at_its_field(desk: Any, fields: dict[str, Any], refusal: tuple[str, str]) -> None:
    """Unknown names are `not_found`, wrong forms `input.invalid`; a scheme must be one that grievances speak for."""
    assert _refusal(desk, **fields) == refusal
    assert desk.app.do("grievances.list") == []


def test_a_scheme_must_be_that_of_the_subject(make_app: Any, stipends: Any) -> None:
    """An order belongs to one scheme: another one beside it is refused."""
    schemes = {"aid": {"type": "stipends"}, "second": {"type": "stipends"}}
    desk = Desk(make_app(settings={**SETTINGS, "schemes": schemes}, extra={"stipends": stipends}, plugins=[]))
    order = desk.orders(desk.payroll())[0]["id"]
    assert _refusal(desk, scheme="second", subject={"order": order}) == ("input.invalid", "scheme")
    assert desk.show(desk.open(scheme="aid", subject={"order": order}))["scheme"] == "aid"


def test_the_reporter_of_an_anonymous_grievance_is_kept_nowhere(desk: Any) -> None:
    """Neither shown, nor in the row, its history or the audit's copy of the request; a named one is shown."""
    named = desk.open(reporter="Fatou Jallow")
    assert desk.show(named)["reporter"] == "Fatou Jallow"
    hidden = desk.open(reporter="Secret Person", anonymous=True)
    assert desk.show(hidden)["reporter"] is None
    tables = desk.app.rows(
        "SELECT schemaname AS s, tablename AS t FROM pg_tables WHERE schemaname IN ('core', 'grievance', 'jobs')"
    )
    for table in tables:
        rows = desk.app.rows(f'SELECT to_jsonb(x)::text AS row FROM "{table["s"]}"."{table["t"]}" x')
        assert not any("Secret Person" in row["row"] for row in rows), table
    entries = desk.app.rows("SELECT input FROM core.audit_entries WHERE command = 'grievances.open' ORDER BY id")
    assert json.loads(json.dumps(entries[1]["input"]))[0]["reporter"] == "***"


def test_a_reporter_who_is_a_beneficiary_is_known_by_number(desk: Any) -> None:
    """A person's number or id becomes that person, shown by number."""
    person = desk.app.do("beneficiaries.register_person", {
        "number": "77", "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"})  # fmt: skip
    assert desk.show(desk.open(reporter=person["id"]))["reporter"] == "77"


def test_a_category_defined_again_counts_for_what_is_opened_from_then_on(desk: Any) -> None:
    """The due day and the clock of open grievances stay; the same definition again changes nothing."""
    before = desk.open()
    again = {"code": "OTHER", "name": "Other", "days": 4}
    assert desk.app.do("grievances.define_category", again) == desk.app.do("grievances.define_category", again)
    assert (desk.show(before)["due"], desk.open()["due"]) == ("2021-01-21", "2021-01-05")
    versions = desk.app.rows("SELECT version FROM grievance.grievance_categories WHERE code = 'OTHER'")
    assert versions == [{"version": 2}]
    shown = {c["code"]: c["days"] for c in desk.app.do("grievances.categories")}
    assert shown == {"ABUSE": 4, "OTHER": 4, "PAY": 20}


@pytest.mark.parametrize("fields", [{"days": -1}, {"code": ""}, {"name": " "}, {"sensitivity": "secret"}])
def test_a_wrong_category_is_refused(desk: Any, fields: dict[str, Any]) -> None:
    """A category has a code, a name, 0 to 3650 days and one of two sensitivities."""
    with pytest.raises(ImisError) as error:
        desk.app.do("grievances.define_category", {"code": "X", "name": "X", "days": 1, **fields})
    assert error.value.refusal.problems[0].path == next(iter(fields))
