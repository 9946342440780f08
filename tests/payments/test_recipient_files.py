"""Recipients are enrolled by files both ways: who has no address goes out, the provider's answer comes in."""

from __future__ import annotations

import base64
from datetime import date
from typing import Any

import pytest

from imis_core.errors import ImisError
from imis_core.queries import export
from imis_core.testing.app import TestApp
from imis_core.testing.plugin import AppMaker
from imis_core.web.exports import write_export


@pytest.fixture
def office(make_app: AppMaker) -> TestApp:
    """Three households and a facility, a bank, a post office with a counter; enrolment wants a second person."""
    rules = {"roles": ["finance"], "approvers": 1}
    roles = {name: {"permissions": ["*"], "scope": "all"} for name in ("finance", "clerk")}
    settings = {
        "plugins": {"enabled": []}, "schemes": {}, "approvals": {"payments.enrol_recipient": rules}, "roles": roles
    }  # fmt: skip
    app = make_app(today=date(2021, 6, 15), settings=settings, plugins=())
    _furnish(app)
    return app


@pytest.fixture
def free(make_app: AppMaker) -> TestApp:
    """The same without a second person."""
    app = make_app(today=date(2021, 6, 15))
    _furnish(app)
    return app


def _furnish(app: TestApp) -> None:
    app.do("locations.add", {"code": "V", "name": "Village", "level": "region"})
    for number in ("1", "2", "3"):
        head = {
            "given_name": "A",
            "family_name": number,
            "sex": "F",
            "birth_date": "1980-01-01",
            "number": f"N{number}",
        }
        child = {**head, "birth_date": "2015-01-01", "number": f"C{number}", "relationship": "child"}
        place = None if number == "3" else "V"
        members = [{**head, "relationship": "head", "location": place}, child]
        app.do("beneficiaries.register_group", {"code": f"H{number}", "location": place, "members": members})
    app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "bank_file"})
    point = {"code": "PP", "name": "Counter"}
    app.do(
        "payments.register_provider", {"code": "POST", "name": "Post", "channel": "cash_list", "pay_points": [point]}
    )


def _file(app: TestApp, text: str | bytes, provider: str = "BANK", as_: Any = "administrator", **more: Any) -> Any:
    content = base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()
    return app.do(
        "payments.enrol_file", {"provider": provider, "name": "answer.csv", "content": content, **more}, as_=as_
    )


def _addresses(app: TestApp) -> list[tuple[str, str, str | None, str | None]]:
    return [(r["number"], r["provider"], r["account"], r["pay_point"]) for r in app.do("payments.recipients")]


def test_who_has_no_address_is_listed_for_a_provider(free: TestApp) -> None:
    """The primary recipients of households, or all persons, of a place, without those who have an address."""
    everybody = free.do("payments.to_enrol", {"provider": "BANK"})
    assert [(one["number"], one["provider"], one["account"]) for one in everybody] == [
        ("N1", "BANK", None), ("N2", "BANK", None), ("N3", "BANK", None),
    ]  # fmt: skip
    persons = free.do("payments.to_enrol", {"provider": "BANK", "unit": "person", "location": "V"})
    assert [one["number"] for one in persons] == ["C1", "C2", "N1", "N2"]
    _file(free, "number,account\nN1,111\n")
    left = free.do("payments.to_enrol", {"provider": "BANK", "location": "V"})
    assert [one["number"] for one in left] == ["N2"]
    with pytest.raises(ImisError, match="not_found"):
        free.do("payments.to_enrol", {"provider": "NONE"})
    with pytest.raises(ImisError, match="name one of payroll, refunds") as caught:
        free.do("payments.to_enrol", {"provider": "BANK", "payroll": "A", "refunds": "B"})
    assert [problem.path for problem in caught.value.refusal.problems] == ["payroll"]


def test_the_list_filled_in_comes_back_as_enrolments(free: TestApp) -> None:
    """A file goes out; with the accounts filled in, it is the provider's answer; the same again changes nothing."""
    query = free.queries["payments.to_enrol"]
    with write_export(export(free, query.name, {"provider": "BANK"}, free.system), query.result, "text/csv") as file:
        lines = file.read().decode("utf-8-sig").splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    filled = [{**row, "account": f"ACC-{row['number']}"} for row in rows]
    text = "\n".join([",".join(header), *(",".join(row.values()) for row in filled)])
    answer = _file(free, text)
    assert answer == {"loaded": 3, "unchanged": 0, "awaiting": 0, "approval": None, "rows": []}
    assert _addresses(free) == [(f"N{n}", "BANK", f"ACC-N{n}", None) for n in (1, 2, 3)]
    assert _file(free, text) == {"loaded": 0, "unchanged": 3, "awaiting": 0, "approval": None, "rows": []}


def test_rows_are_loaded_or_listed_with_the_reason(free: TestApp) -> None:
    """One by one: unknown persons, no account, the provider's refusals and a person's second row are listed."""
    text = (
        "number,account,reason,name\n"
        "N1,111,,Anna\n"
        "N9,999,,Nobody\n"
        "N2,,no such customer,Ben\n"
        "N3,,,\n"
        "N1,112,,Anna again\n"
        ",113,,\n"
    )
    answer = _file(free, text)
    assert (answer["loaded"], _addresses(free)) == (1, [("N1", "BANK", "111", None)])
    assert [(row["row"], row["field"], row["code"]) for row in answer["rows"]] == [
        (2, "number", "not_found"), (3, "reason", "refused"), (4, "account", "required"), (5, None, "not_unique"),
        (6, "number", "required"),
    ]  # fmt: skip
    with pytest.raises(ImisError, match=r"input\.invalid"):
        _file(free, "name,account\nAnna,1\n")
    assert _file(free, "number,pay_point\nN1,PP\nN2,XX\n", "POST")["rows"] == [
        {"row": 2, "field": "pay_point", "code": "not_found"}
    ]
    assert _addresses(free) == [("N1", "POST", None, "PP")]


def test_a_second_person_agrees_to_addresses_also_of_files(office: TestApp) -> None:
    """Under `[approvals]` neither a single enrolment nor a file changes an address before a finance officer agrees."""
    anna, ben, fay = office.as_user("anna", "clerk"), office.as_user("ben", "clerk"), office.as_user("fay", "finance")
    single = {"number": "N1", "provider": "BANK", "account": "111"}
    asked = office.do("payments.enrol_recipient", single, as_=anna)
    waiting = _file(office, "number,account\nN2,222\nN3,333\nN9,1\n", as_=anna)
    assert (waiting["loaded"], waiting["awaiting"]) == (0, 2)
    assert [row["row"] for row in waiting["rows"]] == [3]
    assert _addresses(office) == []
    for approval in (asked["approval"], waiting["approval"]):
        for refused in (anna, ben):
            with pytest.raises(ImisError):
                office.do("approvals.approve", {"approval": approval}, as_=refused)
        assert office.do("approvals.approve", {"approval": approval}, as_=fay)["status"] == "approved"
    assert _addresses(office) == [(f"N{n}", "BANK", str(n) * 3, None) for n in (1, 2, 3)]
    (kept,) = office.do("payments.addresses", {"number": "N2"})
    assert (kept["account"], kept["actor"], kept["approver"], kept["until"]) == ("222", "anna", "fay", None)


def test_every_address_is_kept_with_who_changed_it(free: TestApp) -> None:
    """One active address a scheme; earlier ones stay listed with their days and who said so."""
    _file(free, "number,account\nN1,111\n", as_="ann")
    free.clock.set(date(2021, 7, 1))
    _file(free, "number,account\nN1,222\n", as_="bob")
    kept = free.do("payments.addresses", {"number": "N1"})
    assert [(k["account"], k["actor"], k["since"][:10], (k["until"] or "")[:10]) for k in kept] == [
        ("111", "ann", "2021-06-15", "2021-07-01"), ("222", "bob", "2021-07-01", ""),
    ]  # fmt: skip
    with pytest.raises(ImisError, match="not_found"):
        free.do("payments.addresses", {"number": "N9"})
    with pytest.raises(ImisError, match=r"input\.invalid"):
        free.do("payments.addresses", {})
