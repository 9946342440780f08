"""Many at once: a batch is judged item by item in order, and costs as many statements as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imis_core.testing.app import TestApp

PACKAGE = {"scheme": "safe", "package": "P"}


def outcomes(app: TestApp, moves: list[tuple[str, str]]) -> list[str]:
    items = [{**PACKAGE, "beneficiary": code, "state": state, "reason": "r"} for code, state in moves]
    return [o["state"] if isinstance(o, dict) else o.code for o in app.do_all("targeting.change_state", items)]


def test_moves_of_one_batch_follow_each_other(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None]
) -> None:
    """Each item sees what those before it did, and the history has every step."""
    define(cash, max_beneficiaries=1)
    register(cash, "H1", "H2")
    moves = [
        ("H1", "waiting"),
        ("H1", "active"),
        ("H2", "active"),
        ("H1", "graduated"),
        ("H2", "active"),
        ("H1", "exited"),
    ]
    assert outcomes(cash, moves) == [
        "waiting", "active", "targeting.no_place", "graduated", "active", "targeting.wrong_state",
    ]  # fmt: skip
    assert outcomes(cash, [("H2", "suspended"), ("H2", "active")]) == ["suspended", "active"]
    history = cash.rows("""
        SELECT g.code, s.state FROM cash_transfer.beneficiary_states s
        JOIN cash_transfer.beneficiaries b ON b.id = s.beneficiary JOIN core.groups g ON g.id = b."group"
        ORDER BY g.code, s.version
    """)
    assert [(row["code"], row["state"]) for row in history] == [
        ("H1", "waiting"), ("H1", "active"), ("H1", "graduated"),
        ("H2", "active"), ("H2", "suspended"), ("H2", "active"),
    ]  # fmt: skip


def test_a_place_that_is_freed_in_a_batch_is_free_in_its_quota(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None]
) -> None:
    """Places below the named one count in it; places that no quota names have their own."""
    for code, parent in (("D", None), ("V1", "D"), ("V2", "D"), ("X", None)):
        cash.do("locations.add", {"code": code, "name": code, "level": "l", "parent": parent})
    define(cash, quota={"places": {"D": 1}, "others": 1})
    register(cash, "H1", location="V1")
    register(cash, "H2", location="V2")
    register(cash, "H3", "H4", location="X")
    register(cash, "H5", "H6")
    moves = [("H1", "active"), ("H2", "active"), ("H3", "active"), ("H4", "active"), ("H5", "active"), ("H6", "active")]
    full = "targeting.no_place"
    assert outcomes(cash, moves) == ["active", full, "active", full, "active", full]
    assert outcomes(cash, [("H1", "exited"), ("H2", "active"), ("H3", "suspended"), ("H4", "active")]) == [
        "exited", "active", "suspended", full,
    ]  # fmt: skip


def test_statements_do_not_grow_with_the_number(
    cash: TestApp, define: Callable[..., None], register: Callable[..., None], approved: Callable[..., Any]
) -> None:
    """One household or fifty: scoring, enrolling, approving, moving, reviewing and paying cost the same."""
    terms = {
        "score": {"base": "1", "variables": [{"name": "s", "kind": "continuous", "of": "size", "weight": "1"}]},
        "quota": {"places": {"L": 100}}, "amount": {"base": "1"}, "max_beneficiaries": 1000,
        "exits": [{"name": "all", "when": "size > 0", "state": "exited"}],
    }  # fmt: skip
    cash.do("locations.add", {"code": "L", "name": "L", "level": "region"})
    cash.do("cycles.open", {"scheme": "safe", "code": "C", "starts": "2023-01-01", "ends": "2023-01-31"})

    def count(package: str, codes: list[str]) -> list[int]:
        asked = {"scheme": "safe", "package": package}
        cash.do("benefit_packages.define", {
            "scheme": "safe", "code": package, "name": "P", "valid_from": "2022-01-01", "terms": terms,
        })  # fmt: skip
        cash.do("targeting.preview", asked)  # parses and keeps the terms
        counts = []
        enrolment = ""
        move = {**asked, "reason": "r"}
        steps: list[tuple[str, list[dict[str, Any]], str]] = [
            ("targeting.score", [{**asked, "groups": codes}], "administrator"),
            ("targeting.enrol", [{**asked, "groups": codes}], "administrator"),
            ("targeting.approve", [{}], "ben"),
            ("payroll.generate", [{**asked, "cycle": "C"}], "administrator"),
            *(
                ("targeting.change_state", [{**move, "beneficiary": c, "state": s} for c in codes], "administrator")
                for s in ("suspended", "active")
            ),
            ("targeting.review", [asked], "administrator"),
        ]  # fmt: skip
        for name, items, user in steps:
            caller = cash.as_user(user)
            before = cash.database.statements
            asked_items = [{"enrolment": enrolment}] if name == "targeting.approve" else items
            results = cash.do_all(name, asked_items, as_=caller)
            counts.append(cash.database.statements - before)
            assert all(isinstance(result, dict) for result in results), results
            enrolment = results[0].get("id", enrolment) if name == "targeting.enrol" else enrolment
        assert results == [{"graduated": 0, "exited": len(codes)}]
        return counts

    register(cash, *[f"H{i}" for i in range(50)], location="L")
    assert count("ONE", ["H0"]) == count("MANY", [f"H{i}" for i in range(50)])
