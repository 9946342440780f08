"""What refuses a claim at entry: nothing of it is stored, and the answer says where it is wrong."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from imis_core.errors import ImisError, Refusal
from imis_core.testing.app import TestApp
from tests.claims.conftest import TERMS, Clinic


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"provider": "NONE"}, "not_found", "provider"),
        ({"number": "NONE"}, "not_found", "number"),
        ({"number": None, "person": "NONE"}, "not_found", "person"),
        ({"diagnosis": "NONE"}, "not_found", "diagnosis"),
        ({"secondary": ["A09", "NONE"]}, "not_found", "secondary.1"),
        ({"scheme": "none"}, "input.invalid", "scheme"),
        ({"number": None}, "input.invalid", "number"),
        ({"person": "N1"}, "input.invalid", "number"),
        ({"lines": []}, "input.invalid", "lines"),
        ({"code": " "}, "input.invalid", "code"),
        ({"to": "2021-01-31"}, "input.invalid", "to"),
        ({"from": "2021-07-01"}, "input.invalid", "from"),
        ({"to": "2021-07-01"}, "input.invalid", "to"),
        ({"claimed_on": "2021-07-01"}, "input.invalid", "claimed_on"),
        ({"visit_type": "weekly"}, "input.invalid", "visit_type"),
    ],
)
def test_a_claim_with_something_wrong_is_refused_with_its_place(
    clinic: Clinic, changes: dict[str, Any], code: str, path: str
) -> None:
    """Unknown names, dates that cannot be, no lines: refused with the path of the field."""
    assert clinic.refusal("DRUG", **changes) == (code, [path])
    assert clinic.app.rows("SELECT 1 FROM core.claims") == []


@pytest.mark.parametrize(
    ("line", "code", "path"),
    [
        (("NONE", 1, "100"), "not_found", "lines.1.item"),
        (("DRUG", 0, "100"), "input.invalid", "lines.1.quantity"),
        (("DRUG", -1, "100"), "input.invalid", "lines.1.quantity"),
        (("DRUG", "0.0001", "100"), "input.invalid", "lines.1.quantity"),
        (("TEN", "10.001", "100"), "input.invalid", "lines.1.quantity"),
        (("DRUG", 1, "0.001"), "input.invalid", "lines.1.price"),
        (("DRUG", 1, "-1"), "input.invalid", "lines.1.price"),
        (("DRUG", "9000000", "90000000000"), "input.invalid", "lines.1.price"),
    ],
)
def test_a_wrong_line_refuses_the_claim(clinic: Clinic, line: tuple[Any, ...], code: str, path: str) -> None:
    """Unknown item, no or too much quantity, too many decimals, an amount that cannot be kept."""
    assert clinic.refusal("DRUG", line) == (code, [path])


def test_the_largest_quantity_and_the_smallest_are_taken(clinic: Clinic) -> None:
    """Exactly the item's maximum, and a thousandth, are quantities."""
    answer = clinic.submit("C1", ("TEN", 10, "100"), ("DRUG", "0.001", "100"))
    assert [line["quantity_approved"] for line in answer["lines"]] == ["10", "0.001"]


def test_a_code_is_used_once_in_a_batch_and_for_ever(clinic: Clinic) -> None:
    """The second of a batch is refused, and so is any later one; a refused claim does not use its code up."""
    first, second, third = clinic.app.do_all(
        "claims.submit",
        [
            clinic.claim("C1", "DRUG", provider="NONE"),
            clinic.claim("C1", "DRUG"),
            clinic.claim("C1", "LAB"),
        ],
    )
    assert (first.code, second["status"], third.code) == ("not_found", "checked", "claims.duplicate_code")
    assert clinic.refusal("LAB") == ("claims.duplicate_code", [])
    assert [line["item"] for line in clinic.show("C1")["lines"]] == ["DRUG"]


def test_a_code_is_used_once_by_two_at_the_same_moment(clinic: Clinic) -> None:
    """Of two batches with one code at once, one is refused cleanly; the other claims of both are stored."""
    for n in range(6):
        barrier = Barrier(2)

        def send(who: int, n: int = n, barrier: Barrier = barrier) -> list[Any]:
            batch = [clinic.claim(f"TWIN-{n}", "DRUG"), clinic.claim(f"OWN{who}-{n}", "DRUG")]
            barrier.wait()
            return clinic.app.do_all("claims.submit", batch)

        clinic.app.as_user("administrator")
        with ThreadPoolExecutor(2) as pool:
            outcomes = [outcome for batch in pool.map(send, (1, 2)) for outcome in batch]
        refused = [outcome.code for outcome in outcomes if isinstance(outcome, Refusal)]
        assert refused == ["claims.duplicate_code"]
        assert len(clinic.app.rows("SELECT 1 FROM core.claims WHERE code LIKE :code", code=f"%-{n}")) == 3


def test_a_person_is_named_by_number_or_id(clinic: Clinic) -> None:
    """`number` and `person` take either; the claim shows the number."""
    identity = clinic.person("N9")["members"][0]["id"]
    clinic.insure("N9", "BASIC")
    clinic.submit("C1", "DRUG", number=None, person=identity)
    clinic.submit("C2", "DRUG", number=None, person="N9")
    assert [clinic.show(code)["number"] for code in ("C1", "C2")] == ["N9", "N9"]


def test_with_two_schemes_the_scheme_is_named(make_app: Any) -> None:
    """Where several schemes take claims, one that names none is refused at `scheme`; covers do not cross schemes."""
    clinic = Clinic(make_app(settings={"schemes": {"other": {"type": "health_insurance"}}}))
    assert clinic.refusal("DRUG") == ("input.invalid", ["scheme"])
    assert clinic.submit("C1", "DRUG", scheme="chf")["status"] == "checked"
    assert clinic.submit("C2", "DRUG", scheme="other")["rejection"] == "no_coverage"


@pytest.fixture
def desk(make_app: Any) -> Clinic:
    """A clinic whose clerks claim for their own facility, or for the facilities of their district."""
    claims = {"permissions": ["claims.*"]}
    roles = {"facility_clerk": {**claims, "scope": "provider"}, "district_clerk": {**claims, "scope": "place"}}
    return Clinic(make_app(settings={"roles": roles}))


def test_nobody_claims_for_another_facility(desk: Clinic) -> None:
    """A clerk of one facility is refused for another, before anything is said about the patient."""
    clerk = desk.app.as_user("anna", "facility_clerk", providers=["HC"])
    assert desk.refusal("DRUG", as_=clerk, provider="OUT") == ("permission.denied", [])
    nobody = desk.app.as_user("ben", "district_clerk")
    assert desk.refusal("DRUG", as_=nobody) == ("permission.denied", [])


def test_a_facility_finds_its_patients_by_exact_number_and_the_look_up_is_kept(desk: Clinic) -> None:
    """A person outside the clerk's scope is found by number, is covered as usual, and the look-up is written down."""
    clerk = desk.app.as_user("anna", "facility_clerk", providers=["HC"])
    answer = desk.submit("C1", "DRUG", as_=clerk)
    assert (answer["status"], answer["rejection"]) == ("checked", None)
    (row,) = desk.app.rows(
        "SELECT p.number, l.command, u.name FROM core.lookups l JOIN core.persons p ON p.id = l.person "
        'JOIN core.users u ON u.id = l."user"'
    )
    assert dict(row) == {"number": "N1", "command": "claims.submit", "name": "anna"}
    assert desk.refusal("DRUG", as_=clerk, number="N8") == ("not_found", ["number"])


def test_a_facility_sees_its_own_claims_only(desk: Clinic) -> None:
    """A claim of another facility is not found, by code or by list."""
    desk.submit("C1", "DRUG")
    desk.submit("C2", "DRUG", provider="OUT")
    clerk = desk.app.as_user("anna", "facility_clerk", providers=["OUT"])
    assert [claim["code"] for claim in desk.app.do("claims.list", as_=clerk)] == ["C2"]
    with pytest.raises(ImisError) as caught:
        desk.app.do("claims.show", {"claim": "C1"}, as_=clerk)
    assert caught.value.code == "not_found"


def statements(app: TestApp, work: Any) -> int:
    before = app.database.statements
    work()
    return app.database.statements - before


def test_the_number_of_statements_does_not_grow_with_the_batch(clinic: Clinic) -> None:
    """Ten claims and two hundred take the same number of statements, to submit and to process."""
    limits = {"deductible": {"level": "person", "general": "10"}, "ceiling": {"level": "policy", "general": "500"}}
    clinic.package("LIMITED", {**TERMS, **limits})
    clinic.insure("N1", "LIMITED")
    counts = []
    clinic.process()
    for size in (10, 200):
        batch = [clinic.claim(f"S{size}-{n}", "DRUG", "LAB", "EXTRA") for n in range(size)]
        submitted = statements(clinic.app, lambda batch=batch: clinic.app.do_all("claims.submit", batch))
        counts.append((submitted, statements(clinic.app, clinic.process)))
    assert counts[0] == counts[1]
