"""Rules of generating payrolls: who is owed what for a cycle, and never twice."""

from __future__ import annotations

from datetime import date

import sqlalchemy as sa

from tests.payroll.conftest import Office


def test_everybody_without_an_entitlement_gets_one(office: Office) -> None:
    """Generating gives everybody active an entitlement of the cycle; again, only who is missing; then nobody."""
    first = office.generate()
    assert (first["status"], first["beneficiaries"], first["amount"]) == ("awaiting_approval", 3, "30.00")
    assert first["by_state"] == {"generated": 3}
    assert office.show(first) == first
    office.app.clock.set(date(2021, 1, 20))
    office.household("H4")
    again = office.generate()
    assert (again["beneficiaries"], again["amount"], office.states(again)) == (1, "10.00", [("H4", "generated")])
    assert again["id"] != first["id"]
    nobody = office.generate()
    assert (nobody["beneficiaries"], nobody["amount"], nobody["by_state"]) == (0, "0.00", {})
    assert office.show(nobody) == nobody


def test_active_is_judged_on_the_last_day_or_today(bare: Office) -> None:
    """Active on the cycle's last day or today, whichever is earlier: who came in between gets nothing of the cycle."""
    bare.package()
    bare.cycle(5)
    bare.cycle(6)
    bare.app.clock.set(date(2021, 5, 28))
    bare.household("H1")
    bare.app.clock.set(date(2021, 6, 15))
    bare.household("H2")
    assert bare.states(bare.generate("C5")) == [("H1", "generated")]
    assert bare.states(bare.generate("C6")) == [("H1", "generated"), ("H2", "generated")]


def test_steps_lead_to_the_amount(office: Office) -> None:
    """An entitlement shows its beneficiary, its amount and the steps to it."""
    first = office.entitlements(office.generate())[0]
    assert first == {
        "id": first["id"], "beneficiary": "H1", "amount": "10.00", "state": "generated", "source": "regular",
        "steps": [{"name": "base", "amount": "10.00"}],
    }  # fmt: skip


def test_above_the_limit_an_entitlement_waits(bare: Office) -> None:
    """Above (not at) the approval limit an entitlement waits for its own approval; the payroll counts both."""
    bare.package(amount="10", approval_limit="11")
    bare.cycle(6)
    bare.household("H1", amount=1100)
    bare.household("H2", amount=1101)
    payroll = bare.generate("C6")
    assert payroll["by_state"] == {"awaiting_approval": 1, "generated": 1}
    assert bare.states(payroll) == [("H1", "generated"), ("H2", "awaiting_approval")]


def test_a_person_may_be_the_beneficiary(bare: Office) -> None:
    """A package of persons gives entitlements to persons, known by their numbers."""
    bare.package(unit="person")
    bare.cycle(6)
    bare.household("H1")
    assert bare.states(bare.generate("C6")) == [("NH1", "generated")]


def test_what_is_paid_once_comes_in_one_cycle_only(bare: Office) -> None:
    """A lump sum is an entitlement of its own, in one cycle only; a beneficiary with two entitlements counts once."""
    bare.household("H1")
    bare.package(lumps=[{"source": 7, "group": "H1", "amount": "500"}])
    bare.cycle(6)
    bare.cycle(7)
    first = bare.generate("C6")
    assert (first["beneficiaries"], first["amount"], first["by_state"]) == (1, "510.00", {"generated": 2})
    assert [e["source"] for e in bare.entitlements(first)] == ["regular", "lump"]
    assert bare.generate("C7")["amount"] == "10.00"
    bare.app.do("payroll.reject", {"payroll": first["id"], "reason": "wrong"})
    assert bare.generate("C7")["amount"] == "500.00"  # the lump sum moves on, also into another cycle
    assert bare.generate("C6")["amount"] == "10.00"


def test_what_has_a_source_is_known_by_it_alone(bare: Office) -> None:
    """An item that is paid in each cycle is paid once in a cycle, also if it belongs to another household by then."""
    bare.household("H1")
    bare.household("H2")
    bare.package(lumps=[{"source": 7, "group": "H1", "amount": "500", "once": False}])
    bare.cycle(6)
    bare.cycle(7)
    assert bare.generate("C6")["amount"] == "520.00"
    with bare.app.database.command(bare.app.system) as (connection, _):
        for before, after in (("H1", "H3"), ("H2", "H1")):
            connection.execute(
                sa.text("UPDATE core.groups SET code = :after WHERE code = :before"), {"before": before, "after": after}
            )
    assert bare.generate("C6")["beneficiaries"] == 0
    assert [(e["beneficiary"], e["source"]) for e in bare.entitlements(bare.generate("C7"))] == [
        ("H1", "regular"), ("H1", "lump"), ("H3", "regular"),
    ]  # fmt: skip


def test_cancelled_with_their_payroll_entitlements_move_on(office: Office) -> None:
    """Those cancelled with a rejected payroll move into the new one with the same id, computed anew."""
    first = office.generate()
    before = office.entitlements(first)
    office.app.do("payroll.reject", {"payroll": first["id"], "reason": "wrong amount"})
    assert office.show(first) | {"status": "rejected", "beneficiaries": 0, "amount": "0.00"} == office.show(first)
    office.attribute("H1", amount=2500)
    second = office.generate()
    after = office.entitlements(second)
    assert [e["id"] for e in after] == [e["id"] for e in before]
    assert [e["amount"] for e in after] == ["25.00", "10.00", "10.00"]
    assert (second["beneficiaries"], second["amount"]) == (3, "45.00")
    # The rejected payroll still tells what it had.
    assert office.show(first)["by_state"] == {"cancelled": 3}
    assert [(e["amount"], e["state"]) for e in office.entitlements(first)] == [("10.00", "cancelled")] * 3


def test_cancelled_by_itself_it_does_not_come_back(office: Office) -> None:
    """An entitlement whose order was cancelled alone stays so, also when its payroll is rejected later."""
    payroll = office.approved()
    office.app.do("payments.cancel", {"order": office.orders(payroll)[0]["id"], "reason": "moved away"})
    assert office.states(payroll)[0] == ("H1", "cancelled")
    office.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "wrong"})
    assert office.states(office.generate()) == [("H2", "generated"), ("H3", "generated")]


def test_a_deleted_payroll_is_not_shown_and_frees_its_entitlements(office: Office) -> None:
    """Deleted: as if it had not been, and its entitlements move into the next one."""
    first = office.generate()
    assert office.app.do("payroll.delete", {"payroll": first["id"]})["status"] == "deleted"
    assert office.code("payroll.show", {"payroll": first["id"]}) == "not_found"
    assert office.app.do("payroll.list", {"scheme": "g"}) == []
    second = office.generate()
    assert second["beneficiaries"] == 3
    office.app.do("payroll.reject", {"payroll": second["id"], "reason": "wrong"})
    office.app.do("payroll.delete", {"payroll": second["id"]})  # nothing of it was ever approved either
    assert office.generate()["beneficiaries"] == 3


def test_what_may_have_been_paid_is_not_deleted(office: Office) -> None:
    """A payroll of which something was approved is not deleted, also after it was rejected."""
    payroll = office.approved()
    assert office.code("payroll.delete", {"payroll": payroll["id"]}) == "payroll.may_have_been_paid"
    office.app.do("payroll.reject", {"payroll": payroll["id"], "reason": "wrong"})
    assert office.code("payroll.delete", {"payroll": payroll["id"]}) == "payroll.may_have_been_paid"


def test_arrears_count_as_the_cycle_made_good(bare: Office) -> None:
    """A cycle that a later entitlement makes good counts as having its own: generating it gives nothing."""
    bare.package(arrears=True)
    bare.app.clock.set(date(2021, 1, 1))
    bare.household("H1")
    bare.app.clock.set(date(2021, 6, 15))
    for month in (1, 2, 3):
        bare.cycle(month)
    later = bare.generate("C2")
    assert (later["amount"], bare.generate("C1")["beneficiaries"]) == ("20.00", 0)
    bare.app.do("payroll.reject", {"payroll": later["id"], "reason": "C1 first"})
    assert bare.generate("C1")["amount"] == "10.00"
    assert bare.generate("C2")["amount"] == "10.00"
    assert bare.generate("C3")["amount"] == "10.00"


def test_a_location_limits_a_payroll_to_what_lies_there(bare: Office) -> None:
    """A location stands for itself and the places below it; the others wait for a payroll of their own."""
    bare.package()
    bare.cycle(6)
    _places(bare)
    assert bare.states(bare.generate("C6", location="R1")) == [("H1", "generated"), ("H2", "generated")]
    assert bare.states(bare.generate("C6")) == [("H3", "generated"), ("H4", "generated")]
    unknown = {"scheme": "g", "package": "P", "cycle": "C6", "location": "R9"}
    assert bare.code("payroll.generate", unknown) == "not_found"


def _places(office: Office) -> None:
    for code, parent in (("R1", None), ("D1", "R1"), ("R2", None)):
        office.app.do("locations.add", {"code": code, "name": code, "level": "area", "parent": parent})
    for code, place in (("H1", "R1"), ("H2", "D1"), ("H3", "R2"), ("H4", None)):
        office.household(code, place)


def test_a_clerk_pays_the_own_places_only(bare: Office) -> None:
    """A caller of scope place generates for the own places, sees those payrolls only, and pays them wholly."""
    bare.package()
    bare.cycle(6)
    _places(bare)
    clerk, other = (bare.app.as_user(f"c{code}", "clerk", (code,)) for code in ("R1", "R2"))
    boss = bare.app.as_user("boss", "clerk", ("R1",))
    payroll = bare.generate("C6", as_=clerk)
    assert bare.states(payroll) == [("H1", "generated"), ("H2", "generated")]
    assert bare.code("payroll.show", {"payroll": payroll["id"]}, as_=other) == "not_found"
    assert bare.code("payroll.approve", {"payroll": payroll["id"]}, as_=other) == "not_found"
    assert bare.approve(payroll, as_=boss)["by_state"] == {"approved": 2}
    abroad = {"scheme": "g", "package": "P", "cycle": "C6", "location": "R2"}
    assert bare.code("payroll.generate", abroad, as_=clerk) == "not_found"
    both = bare.app.as_user("both", "clerk", ("R1", "R2"))
    assert bare.code("payroll.generate", {"scheme": "g", "package": "P", "cycle": "C6"}, as_=both) == "input.invalid"


def test_what_cannot_be_generated_is_refused(office: Office) -> None:
    """Unknown names are not found; a scheme of which nobody says who is owed what, and a foreign cycle, are invalid."""
    asked = {"scheme": "g", "package": "P", "cycle": "C1"}
    office.package("Q")
    office.cycle(7, package="Q")
    assert office.code("payroll.generate", asked | {"scheme": "x"}) == "input.invalid"
    assert office.code("payroll.generate", asked | {"scheme": "quiet"}) == "input.invalid"
    assert office.code("payroll.generate", asked | {"package": "X"}) == "not_found"
    assert office.code("payroll.generate", asked | {"cycle": "X"}) == "not_found"
    assert office.code("payroll.generate", asked | {"cycle": "C7"}) == "input.invalid"


def test_a_version_that_begins_within_the_cycle_serves_it(bare: Office) -> None:
    """The version in force on the cycle's first day counts, else the earliest one that begins within it."""
    bare.package(valid_from="2021-05-10", amount="10")
    bare.package(valid_from="2021-05-20", amount="20")
    for month in (4, 5, 6):
        bare.cycle(month)
    bare.app.clock.set(date(2021, 4, 1))
    bare.household("H1")
    bare.app.clock.set(date(2021, 6, 15))
    asked = {"scheme": "g", "package": "P", "cycle": "C4"}
    assert bare.code("payroll.generate", asked) == "input.invalid"
    assert bare.generate("C5")["amount"] == "10.00"
    assert bare.generate("C6")["amount"] == "20.00"


def test_a_merged_person_is_paid_as_the_one_who_was_kept(bare: Office) -> None:
    """A person who turned out to be another one between payroll and approval: the kept person is the recipient."""
    bare.package(unit="person")
    bare.cycle(6)
    bare.household("H1")
    bare.household("H2")
    payroll = bare.generate("C6")
    bare.app.do("beneficiaries.merge", {"keep": "NH1", "drop": "NH2"})
    bare.approve(payroll)
    assert [o["recipient"] for o in bare.orders(payroll)] == ["NH1", "NH1"]


def test_nobody_is_paid_as_two_persons(bare: Office) -> None:
    """Who had an entitlement of a cycle, or a cycle made good, gets none as the person into whom he was merged."""
    bare.package(unit="person")
    bare.cycle(5)
    bare.cycle(6)
    bare.household("H1")
    assert bare.generate("C6")["beneficiaries"] == 1
    bare.household("H2")
    bare.app.do("beneficiaries.merge", {"keep": "NH2", "drop": "NH1"})
    assert bare.generate("C6")["beneficiaries"] == 0


def test_of_two_persons_who_are_one_one_entitlement_moves_on(bare: Office) -> None:
    """Both had one in a payroll that was deleted: the newer one moves on, with its own history, and is paid."""
    bare.package(unit="person")
    bare.cycle(6)
    bare.household("H1")
    bare.app.do("payroll.delete", {"payroll": bare.generate("C6")["id"]})
    bare.household("H2")
    both = bare.generate("C6")
    newer = bare.entitlements(both)[1]["id"]
    bare.app.do("payroll.delete", {"payroll": both["id"]})
    bare.app.do("beneficiaries.merge", {"keep": "NH2", "drop": "NH1"})
    payroll = bare.generate("C6")
    assert [e["id"] for e in bare.entitlements(payroll)] == [newer]
    assert [o["recipient"] for o in bare.orders(bare.approve(payroll))] == ["NH2"]
    histories = bare.app.rows(
        "SELECT entitlement, array_agg(version ORDER BY version) AS versions "
        "FROM core.entitlement_states GROUP BY entitlement ORDER BY entitlement"
    )
    assert [row["versions"] for row in histories] == [[1, 2, 3, 4], [1, 2, 3, 4]]


def test_the_trail_tells_what_happened_to_a_payroll(office: Office) -> None:
    """The audit trail of a payroll and of an entitlement names the commands that moved them."""
    payroll = office.approved()
    first = office.entitlements(payroll)[0]
    office.app.do("payroll.hold", {"entitlement": first["id"], "reason": "complaint"})
    trail = office.app.do("audit.trail", {"entity": payroll["id"]})
    assert [t["command"] for t in trail] == ["payroll.generate", "payroll.approve"]
    trail = office.app.do("audit.trail", {"entity": first["id"]})
    assert [t["command"] for t in trail] == ["payroll.generate", "payroll.approve", "payroll.hold"]
