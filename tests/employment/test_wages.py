"""Rules of declared wages and of the contributions that are owed for them."""

from __future__ import annotations

from typing import Any

import pytest

from imis_core.errors import ImisError


@pytest.fixture
def mill(firm: Any) -> Any:
    """P1 and P2 work for E1; the scheme takes 1 % of the employee and 3 % of the employer since 2024."""
    for number in ("P1", "P2"):
        firm.do("employment.register", {"employer": "E1", "number": number, "from": "2023-01-01"})
    define(firm, "PAY", {"employee": 1, "employer": 3})
    return firm


def define(app: Any, code: str, terms: dict[str, Any], valid_from: str = "2024-01-01") -> None:
    app.do(
        "benefit_packages.define",
        {"scheme": "s", "code": code, "name": code, "valid_from": valid_from, "terms": terms},
    )


def declare(app: Any, rows: list[dict[str, Any]], month: str = "2024-05", **more: Any) -> Any:
    return app.do("employment.declare_wages", {"employer": "E1", "month": month, "rows": rows, **more})


def balances(app: Any) -> dict[str, str]:
    return dict(app.do("ledger.balances", {"scheme": "s"})["accounts"])


def test_contributions_follow_from_the_terms_of_the_months_first_day(mill: Any) -> None:
    """Each party's part by the scheme's rates, posted as receivable and income; before the terms nothing is owed."""
    rows = [{"number": "P1", "wage": "1000"}, {"number": "P2", "wage": "500.50", "days": 20}]
    found = declare(mill, rows)
    assert found["people"] == 2
    assert (found["employee"], found["employer"], found["state"], found["total"]) == ("15.01", "45.02", "0.00", "60.03")
    assert balances(mill) == {"contributions_receivable": "60.03", "contributions_income": "-60.03"}
    assert declare(mill, rows, "2023-12")["total"] == "0.00"
    shown = mill.do("employment.wages", {"number": "P2"})
    assert [(w["month"], w["wage"], w["days"]) for w in shown] == [("2023-12", "500.50", 20), ("2024-05", "500.50", 20)]


def test_an_employers_class_reaches_the_rates(mill: Any) -> None:
    """The scheme type gets the employer's class with each wage."""
    mill.do("employment.register_employer", {"scheme": "s", "code": "E2", "name": "Mine", "class": "HIGH"})
    mill.do("employment.register", {"employer": "E2", "number": "P3", "from": "2023-01-01"})
    found = mill.do(
        "employment.declare_wages", {"employer": "E2", "month": "2024-05", "rows": [{"number": "P3", "wage": "1000"}]}
    )
    assert (found["employee"], found["employer"]) == ("10.00", "60.00")


def test_the_same_month_again_replaces_and_posts_the_difference(mill: Any) -> None:
    """The last declaration holds, the earlier one is kept, and the ledger moves by the difference alone."""
    declare(mill, [{"number": "P1", "wage": "1000"}, {"number": "P2", "wage": "1000"}])
    assert declare(mill, [{"number": "P1", "wage": "800"}])["total"] == "32.00"
    assert balances(mill)["contributions_receivable"] == "72.00"
    assert [w["wage"] for w in mill.do("employment.wages", {"number": "P1"})] == ["800.00"]
    kept = mill.rows("SELECT wage_minor, replaces IS NULL AS first FROM core.wage_declarations ORDER BY id")
    assert [(k["wage_minor"], k["first"]) for k in kept] == [(100000, True), (100000, True), (80000, False)]
    assert mill.rows("SELECT count(*) AS n FROM core.ledger_entries")[0]["n"] == 2


def test_two_files_of_one_batch_follow_each_other(mill: Any) -> None:
    """A batch does what its items would do one after the other."""
    files = [
        {"employer": "E1", "month": "2024-05", "rows": [{"number": "P1", "wage": wage}]} for wage in ("1000", "700")
    ]
    assert [o["total"] for o in mill.do_all("employment.declare_wages", files)] == ["40.00", "28.00"]
    assert balances(mill)["contributions_receivable"] == "28.00"
    assert [w["wage"] for w in mill.do("employment.wages")] == ["700.00"]


@pytest.mark.parametrize(
    ("row", "code", "path", "reason"),
    [
        ({"number": "P9", "wage": "1000"}, "not_found", "rows.1.number", "not_found"),
        ({"number": "P3", "wage": "1000"}, "input.invalid", "rows.1.number", "not_employed"),
        ({"number": "P1", "wage": "900"}, "input.invalid", "rows.1.number", "not_unique"),
        ({"number": "P2", "wage": "-1"}, "input.invalid", "rows.1.wage", "negative"),
        ({"number": "P2", "wage": "1.005"}, "input.invalid", "rows.1.wage", "not_exact"),
        ({"number": "P2", "wage": "1000", "days": 32}, "input.invalid", "rows.1.days", "range"),
        ({"number": "P2", "wage": "1000", "days": -1}, "input.invalid", "rows.1.days", "range"),
        ({"wage": "1000"}, "input.invalid", "rows.1.number", "required"),
        ({"number": "P2"}, "input.invalid", "rows.1.wage", "required"),
    ],
)
def test_a_file_with_a_bad_row_is_refused(mill: Any, row: dict[str, Any], code: str, path: str, reason: str) -> None:
    """Unknown, never employed, twice in the file, wrong wage or days: told with its path, and nothing is stored."""
    with pytest.raises(ImisError) as caught:
        declare(mill, [{"number": "P1", "wage": "1000"}, row])
    assert caught.value.code == code
    assert [(p.path, p.reason) for p in caught.value.refusal.problems] == [(path, reason)]
    assert mill.do("employment.wages") == []
    assert balances(mill) == {}


def test_all_that_is_wrong_with_a_file_is_told_at_once(mill: Any) -> None:
    """Each bad row has its problem; the refusal of one file of a batch leaves the others alone."""
    bad = {"employer": "E1", "month": "2024-05", "rows": [{"number": n, "wage": "1.001"} for n in ("P1", "P9", "P2")]}
    good = {**bad, "rows": [{"number": "P1", "wage": "1000"}]}
    first, second = mill.do_all("employment.declare_wages", [bad, good])
    assert [p.path for p in first.problems] == ["rows.0.wage", "rows.1.wage", "rows.2.wage"]
    assert second["people"] == 1


def test_wages_of_a_month_outside_the_spell_are_taken(mill: Any) -> None:
    """Employments are registered late, and arrears are paid after their end: what is declared is owed."""
    assert declare(mill, [{"number": "P1", "wage": "1000"}], "2022-12")["people"] == 1


@pytest.mark.parametrize("month", ["2024-13", "2024", "24-01", "2024-07"])
def test_a_month_is_one_that_has_begun(mill: Any, month: str) -> None:
    """A month is written as 2024-01 and does not lie in the future."""
    with pytest.raises(ImisError) as caught:
        declare(mill, [{"number": "P1", "wage": "1"}], month)
    assert [p.path for p in caught.value.refusal.problems] == ["month"]


def test_two_packages_with_rates_on_one_day_are_refused(mill: Any) -> None:
    """A scheme has one package with contributions; where two have them nobody knows what is owed."""
    define(mill, "OTHER", {"employee": 2})
    with pytest.raises(ImisError) as caught:
        declare(mill, [{"number": "P1", "wage": "1"}])
    assert caught.value.code == "employment.several_rates"


def test_a_file_takes_a_constant_number_of_statements(mill: Any, count_statements: Any) -> None:
    """Ten rows cost as many statements as two."""
    for index in range(10):
        number = f"Q{index}"
        mill.do(
            "beneficiaries.register_person",
            {"number": number, "given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"},
        )
        mill.do("employment.register", {"employer": "E1", "number": number, "from": "2023-01-01"})
    rows = [{"number": f"Q{index}", "wage": "100"} for index in range(10)]
    declare(mill, rows[:1], "2024-02")  # from now on the terms are known
    with count_statements(mill) as few:
        declare(mill, rows[:2], "2024-03")
    with count_statements(mill) as many:
        declare(mill, rows, "2024-04")
    assert len(few) == len(many)
