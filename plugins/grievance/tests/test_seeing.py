"""Who sees a grievance: by the place of its subject; what is sensitive with a permission only; its files with it."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from imis_core.errors import ImisError

from .conftest import SETTINGS, Desk

FILE = {"name": "note.txt", "media_type": "text/plain", "content": base64.b64encode(b"a note").decode()}


def _sees(desk: Any, grievance: Any, user: Any) -> bool:
    listed = any(g["code"] == grievance["code"] for g in desk.app.do("grievances.list", as_=user))
    if listed:
        assert desk.show(grievance, as_=user)["code"] == grievance["code"]
    else:
        with pytest.raises(ImisError, match="not_found"):
            desk.show(grievance, as_=user)
    return listed


def test_a_grievance_is_seen_in_the_place_of_its_subject(desk: Any) -> None:
    """A clerk of that place sees and decides it, one of another place neither."""
    grievance = desk.open(subject={"beneficiary": "1"})
    here, there = (desk.app.as_user(f"clerk{n}", "clerk", [f"P{n}"]) for n in (1, 2))
    assert (_sees(desk, grievance, here), _sees(desk, grievance, there)) == (True, False)
    desk.step("move", grievance, status="open")
    with pytest.raises(ImisError) as error:
        desk.step("resolve", grievance, decision="rejected", comment="x", as_=there)
    assert error.value.code == "not_found"
    assert desk.step("resolve", grievance, decision="rejected", comment="x", as_=here)["status"] == "resolved"


def test_row_security_is_the_second_wall(desk: Any) -> None:
    """The database itself shows a clerk no grievance of another place."""
    desk.open(subject={"beneficiary": "1"})
    counts = []
    for place in ("P1", "P2"):
        clerk = desk.app.as_user(f"clerk{place}", "clerk", [place])
        with desk.app.database.query(clerk) as connection:
            counts.append(connection.exec_driver_sql("SELECT count(*) FROM grievance.grievances").scalar_one())
    assert counts == [1, 0]


def test_a_grievance_without_a_place_is_its_openers_and_owners(desk: Any) -> None:
    """About staff or nothing: seen by who opened it, who owns it, and scope `all`."""
    opener, owner, other = (desk.app.as_user(name, "officer", ["P1"]) for name in ("ann", "bob", "eve"))
    grievance = desk.open(as_=opener, subject={"staff": "Mr Jallow"})
    desk.step("assign", grievance, owner="bob", as_=opener)
    assert [_sees(desk, grievance, user) for user in (opener, owner, other)] == [True, True, False]


def test_a_sensitive_grievance_needs_the_permission(desk: Any) -> None:
    """Without `grievances.sensitive` it is not there, for its opener neither; for its owner it is."""
    clerk = desk.app.as_user("carl", "clerk", ["P1"])
    officer = desk.app.as_user("olga", "officer", ["P1"])
    grievance = desk.open("ABUSE", as_=clerk, subject={"beneficiary": "1"})
    assert (_sees(desk, grievance, clerk), _sees(desk, grievance, officer)) == (False, True)
    desk.step("assign", grievance, owner="carl", as_=officer)
    assert _sees(desk, grievance, clerk)


def test_a_category_that_becomes_sensitive_hides_what_is_open(desk: Any) -> None:
    """Sensitivity is that of the category as it is now: nothing stays visible by having been there before."""
    clerk = desk.app.as_user("carl", "clerk", ["P1"])
    grievance = desk.open(subject={"beneficiary": "1"})
    assert _sees(desk, grievance, clerk)
    sensitive = {"code": "OTHER", "name": "Other", "days": 20, "sensitivity": "sensitive"}
    desk.app.do("grievances.define_category", sensitive)
    assert not _sees(desk, grievance, clerk)


def test_files_are_attached_to_a_grievance_and_seen_with_it(desk: Any) -> None:
    """`attachments.add` with the grievance's id; who does not see the grievance sees no file of it."""
    here, there = (desk.app.as_user(f"officer{n}", "officer", [f"P{n}"]) for n in (1, 2))
    grievance = desk.open(subject={"beneficiary": "1"})
    added = desk.app.do("attachments.add", {**FILE, "about": grievance["id"]}, as_=here)
    listed = desk.app.do("attachments.list", {"about": grievance["id"]}, as_=here)
    assert [a["id"] for a in listed] == [added["id"]]
    assert desk.app.do("attachments.read", {"attachment": added["id"]})["content"] == FILE["content"]
    for name, data in (
        ("attachments.list", {"about": grievance["id"]}),
        ("attachments.read", {"attachment": added["id"]}),
        ("attachments.add", {**FILE, "about": grievance["id"]}),
    ):
        with pytest.raises(ImisError) as error:
            desk.app.do(name, data, as_=there)
        assert error.value.code == "not_found"


def test_a_merged_person_keeps_the_grievances_of_both(desk: Any) -> None:
    """A grievance about, or by, the person who is dropped goes over to the one who is kept."""
    grievance = desk.open(subject={"beneficiary": "2"}, reporter="2")
    desk.app.do("beneficiaries.merge", {"keep": "1", "drop": "2"})
    shown = desk.show(grievance)
    assert (shown["subject"]["beneficiary"], shown["reporter"]) == ("1", "1")


def test_a_facility_complains_about_its_own_claim(make_app: Any, stipends: Any) -> None:
    """A claim by its code, for a caller of scope `provider`: it is that facility's, in the facility's place."""
    roles = {**SETTINGS["roles"], "facility": {"permissions": ["grievances.*"], "scope": "provider"}}
    desk = Desk(make_app(settings={**SETTINGS, "roles": roles}, extra={"stipends": stipends}, plugins=[]))
    for number in (1, 2):
        desk.app.do("providers.register", {"code": f"HC{number}", "name": "x", "location": f"P{number}"})
    desk.app.do("catalogue.add_diagnosis", {"code": "A09", "name": "x"})
    with desk.app.database.command(desk.app.system) as (connection, _):
        connection.exec_driver_sql(CLAIM)
    own, other = (desk.app.as_user(f"hc{n}", "facility", providers=[f"HC{n}"]) for n in (1, 2))
    grievance = desk.open("OTHER", as_=own, subject={"claim": "C1"})
    assert (_sees(desk, grievance, own), _sees(desk, grievance, other)) == (True, False)
    shown = desk.show(grievance, as_=own)
    assert (shown["subject"]["claim"], shown["scheme"]) == ("C1", "aid")
    assert _sees(desk, grievance, desk.app.as_user("clerk1", "clerk", ["P1"]))
    with pytest.raises(ImisError, match="not_found"):
        desk.open("OTHER", as_=other, subject={"claim": "C1"})


# No kind of scheme that takes claims is installed beside this plugin, so the claim is written as the kernel would.
CLAIM = """
INSERT INTO core.claims (scheme, code, provider, person, place, from_date, to_date, target_date, claimed_on, visit_type,
                         adult, diagnosis, category, currency, claimed_minor, audit)
SELECT 'aid', 'C1', f.id, p.id, f.location, '2021-01-01', '2021-01-01', '2021-01-01', '2021-01-01', 'other',
       true, d.id, 'visit', 'USD', 100, 1
FROM core.providers f, core.persons p, core.diagnoses d WHERE f.code = 'HC1' AND p.number = '1'
"""
