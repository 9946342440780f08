"""Items of one batch may depend on each other exactly as if they had come one after the other."""

from __future__ import annotations

from typing import Any

from imis_core.errors import Refusal
from imis_core.testing.app import TestApp

BORN = "1985-02-01"


def person(number: str, **more: Any) -> dict[str, Any]:
    return {"number": number, "given_name": "Awa", "family_name": number, "sex": "F", "birth_date": BORN, **more}


def codes(outcomes: list[Any]) -> list[str | None]:
    """The error code of each outcome, None where there is none."""
    return [o.code if isinstance(o, Refusal) else None for o in outcomes]


def household(app: TestApp, code: str, *numbers: str, **more: Any) -> Any:
    members = [person(n, relationship="head" if n == numbers[0] else "child") for n in numbers]
    return app.do("beneficiaries.register_group", {"code": code, "members": members, **more})


def test_groups_one_after_the_other(app: TestApp) -> None:
    """A person, a code and a number that an earlier item took are taken; one that it refused are free."""
    outcomes = app.do_all(
        "beneficiaries.register_group",
        [
            {"code": "H1", "members": [person("P1", relationship="head"), person("P2", relationship="child")]},
            {"code": "H1", "members": [person("P3", relationship="head")]},
            {"code": "H2", "members": [person("P3", relationship="head"), {"number": "P2", "relationship": "child"}]},
            {"code": "H2", "members": [person("P3", relationship="head")]},
            {"code": "H3", "members": [person("P1", relationship="head")]},
            {"code": "CLUB", "kind": "club", "members": [{"number": "P3", "relationship": "head"}]},
            {"members": [{"number": "P4", "relationship": "head"}]},
        ],
    )
    assert codes(outcomes) == [
        None, "beneficiaries.duplicate_code", "beneficiaries.already_member", None, "beneficiaries.number_taken", None,
        "not_found",
    ]  # fmt: skip
    assert [m["number"] for m in app.do("beneficiaries.show_group", {"group": "H2"})["members"]] == ["P3"]


def test_members_one_after_the_other(app: TestApp) -> None:
    """Each result shows the group as it stood after its own item."""
    household(app, "H1", "P1", "P2")
    household(app, "H2", "Q1")
    outcomes = app.do_all(
        "beneficiaries.add_member",
        [
            {"group": "H1", **person("P3"), "relationship": "head"},
            {"group": "H1", **person("P4"), "relationship": "head", "recipient": "primary"},
            {"group": "H2", "number": "P4", "relationship": "child"},
            {"group": "H1", **person("P4"), "relationship": "child"},
            {"group": "H2", "number": "P2", "relationship": "child"},
        ],
    )
    assert codes(outcomes) == [
        None, None, "beneficiaries.already_member", "beneficiaries.number_taken", "beneficiaries.already_member",
    ]  # fmt: skip
    assert [(o["head"], o["primary"], len(o["members"])) for o in outcomes[:2]] == [("P3", "P1", 3), ("P4", "P4", 4)]
    outcomes = app.do_all(
        "beneficiaries.remove_member",
        [{"group": "H1", "number": n} for n in ("P4", "P4", "P1", "P2", "P3")] + [{"group": "H2", "person": "P1"}],
    )
    assert codes(outcomes) == [
        None, "beneficiaries.not_a_member", None, None, None, "beneficiaries.not_a_member",
    ]  # fmt: skip
    assert [o["head"] for o in outcomes if isinstance(o, dict)] == ["P1", "P2", "P3", None]
    outcomes = app.do_all("beneficiaries.record_death", [{"number": "Q1"}, {"person": "Q1"}, {"number": "P1"}])
    assert codes(outcomes) == [None, "beneficiaries.wrong_state", None]
    assert outcomes[0]["members"] == []
    assert "code" not in outcomes[2] or outcomes[2]["code"] is None


def test_heads_and_recipients_one_after_the_other(app: TestApp) -> None:
    """Whoever is named last stands; the results before show what stood then."""
    household(app, "H1", "P1", "P2", "P3")
    outcomes = app.do_all("beneficiaries.change_head", [{"group": "H1", "person": n} for n in ("P2", "P3", "P2")])
    assert [[m["relationship"] for m in o["members"]] for o in outcomes] == [
        ["other", "head", "child"], ["other", "other", "head"], ["other", "head", "other"],
    ]  # fmt: skip
    outcomes = app.do_all(
        "beneficiaries.set_recipient",
        [
            {"group": "H1", "number": "P2", "recipient": "alternate"},
            {"group": "H1", "number": "P2", "recipient": "primary"},
            {"group": "H1", "number": "P3", "recipient": "alternate"},
            {"group": "H1", "number": "P2", "recipient": "none"},
        ],
    )
    assert [(o["primary"], o["alternate"]) for o in outcomes] == [
        ("P1", "P2"), ("P2", None), ("P2", "P3"), ("P1", "P3"),
    ]  # fmt: skip


def test_periods_imports_and_exclusions_one_after_the_other(app: TestApp) -> None:
    """A second opening is refused, a second import of the same rows is the first one, a second exclusion is none."""
    app.do("locations.add", {"code": "V1", "name": "Bakau", "level": "village"})
    opening = {"location": "V1", "from": "2021-01-01"}
    assert codes(app.do_all("registry.open_period", [opening, opening])) == [None, "registry.wrong_state"]
    closing = {"location": "V1"}
    assert codes(app.do_all("registry.close_period", [closing, closing])) == [None, "registry.wrong_state"]
    sent = {"kind": "persons", "file": "a.csv", "rows": [person("P1")]}
    first, second = app.do_all("registry.import", [sent, {**sent, "file": "b.csv"}])
    assert (first["id"], first["repeated"], second["repeated"]) == (second["id"], False, True)
    app.as_user("ben")
    outcomes = app.do_all("registry.approve_import", [{"import": first["id"]}] * 2, as_="ben")
    assert codes(outcomes) == [None, "registry.wrong_state"]
    outcomes = app.do_all("registry.self_exclude", [{"number": "P1"}, {"person": "P1"}, {"number": "P2"}])
    assert codes(outcomes) == [None, None, "not_found"]
    assert len(app.rows("SELECT id FROM core.exclusions")) == 1


def test_imports_of_one_batch_share_numbers(app: TestApp) -> None:
    """Two imports with one number both wait; the one approved second finds it taken."""
    sent = [{"kind": "persons", "file": "a.csv", "rows": [person("P1", given_name=name)]} for name in ("Awa", "Ida")]
    staged = app.do_all("registry.import", sent)
    assert [s["valid"] for s in staged] == [1, 1]
    app.as_user("ben")
    outcomes = app.do_all("registry.approve_import", [{"import": s["id"]} for s in staged], as_="ben")
    assert [o["state"] for o in outcomes] == ["loaded", "failed"]


def test_pairs_are_found_and_decided_one_after_the_other(app: TestApp) -> None:
    """The second search of a batch finds nothing new; a pair is decided once."""
    for number in ("P1", "P2"):
        app.do("beneficiaries.register_person", person(number, identifiers=[{"system": "nid", "value": "1"}]))
    assert [o["found"] for o in app.do_all("registry.find_duplicates", [{"persons": ["P1"]}, {}])] == [1, 0]
    (pair,) = app.do("registry.duplicates")
    decide = {"duplicate": pair["id"], "decision": "same"}
    outcomes = app.do_all("registry.decide_duplicate", [decide, {**decide, "decision": "different"}])
    assert codes(outcomes) == [None, "registry.wrong_state"]
    undo = {"merge": outcomes[0]["merge"]}
    assert codes(app.do_all("registry.undo_merge", [undo, undo])) == [None, "registry.wrong_state"]


def test_recipients_one_after_the_other(app: TestApp) -> None:
    """The last enrolment of a batch is the one that holds; a code is registered once."""
    app.do("beneficiaries.register_person", person("P1"))
    shop = {"code": "SHOP", "name": "Shop", "channel": "voucher"}
    outcomes = app.do_all("payments.register_provider", [shop, shop, {**shop, "code": "POST"}])
    assert codes(outcomes) == [None, "payments.duplicate_code", None]
    outcomes = app.do_all(
        "payments.enrol_recipient",
        [{"number": "P1", "provider": "SHOP"}, {"person": "P1", "provider": "POST"}, {"number": "P2", "provider": "X"}],
    )
    assert codes(outcomes) == [None, None, "not_found"]
    assert [r["provider"] for r in app.do("payments.recipients")] == ["POST"]
