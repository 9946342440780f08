"""Rules of the terms: what is wrong is told with its path, what is not computed is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from imis_eii.checks import check_terms
from imis_eii.terms import EiiTerms

from imis_core.api import InvalidInput, TermsCheck, parse

CHECK = TermsCheck("INR", {}, frozenset())
ESI: dict[str, Any] = {
    "contribution": {"employee": "0.75", "employer": "3.25", "ceiling": "21000"},
    "wage": {"method": "mean", "divisor": 26},
    "temporary": {"rate": 90, "waiting_days": 3, "minimum_days": 3, "accident_day": False},
    "permanent": {"method": "degree_x_rate", "rate": 90, "per": "day"},
    "survivors": {"spouse": {"share": 60}, "child": {"share": 40, "until_age": 25}, "parent": {"share": 40}},
    "funeral": {"amount": "15000"},
    "medical": {"work": {}, "non_work": {"ceiling": "700000"}},
    "indexation": {"table": {"2024": "4.5"}},
}
TANZANIA: dict[str, Any] = {
    "permanent": {"method": "degree_x_rate", "rate": 70, "pension_from_degree": 30, "months": 84},
    "survivors": {
        "spouse": {"share": 40, "once": 140, "minimum": "110281.13", "maximum": "1474341.08"},
        "child": {"share": 40}, "parent": {"share": 40, "only_if_none": ["spouse", "child"]},
        "student_until": 21, "remarriage": {"lump_months": 24},
    },
    "funeral": {"cost": True, "at_most": "500000"},
}  # fmt: skip


def paths(terms: dict[str, Any]) -> set[str]:
    """Paths and reasons of all that is wrong."""
    try:
        return {f"{p.path} {p.reason}" for p in check_terms(parse(terms, EiiTerms), CHECK)}
    except InvalidInput as error:
        return {f"{p.path} {p.reason}" for p in error.problems}


FACTORS_OF_SURVIVORS: dict[str, Any] = {
    "permanent": {"method": "months_x_degree", "months": 96, "factors": {"30": "207.98"}},
    "survivors": {"method": "age_factor", "rate": 50, "spouse": {"share": 100}},
}


@pytest.mark.parametrize("terms", [ESI, TANZANIA, FACTORS_OF_SURVIVORS, {}])
def test_known_schemes_are_right(terms: dict[str, Any]) -> None:
    """India and Tanzania as the rules tell them, and a package of defaults."""
    assert paths(terms) == set()


def wrong() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"offset": [{"name": " ", "amount": "1"}]}, "offset.0.name required"
    yield {"offset": [{"name": "x", "amount": "1"}, {"name": "x", "amount": "2"}]}, "offset.1.name duplicate"
    yield {"offset": [{"name": "x", "amount": "1.001"}]}, "offset.0.amount not_exact"
    yield {"permanent": {"method": "degree_x_rate", "factors": {"30": 1}}}, "permanent.factors excluded"
    yield {"late_interest": 2}, "late_interest not_yet"
    yield {"sick_pay": {}}, "sick_pay unknown"
    yield {"wage": {"method": "best_of"}}, "wage.best required"
    yield {"wage": {"best": 6}}, "wage.best excluded"
    yield {"wage": {"method": "best_of", "best": 13}}, "wage.best range"
    yield {"wage": {"method": "minimum_wage"}}, "wage.minimum_wage required"
    yield {"wage": {"divisor": 0}}, "wage.divisor range"
    yield {"wage": {"divisor": "weeks"}}, "wage.divisor choice"
    yield {"wage": {"minimum": "2", "maximum": "1"}}, "wage.minimum order"
    yield {"wage": {"ceiling": "1.005"}}, "wage.ceiling not_exact"
    yield {"temporary": {}}, "temporary.rate required"
    yield {"temporary": {"rate": -1}}, "temporary.rate range"
    yield {"contribution": {"fixed": [{"employer": "1"}, {"up_to": "5"}]}}, "contribution.fixed.0.up_to required"
    yield {"permanent": {"method": "months_x_degree"}}, "permanent.months required"
    yield {"permanent": {"method": "age_factor"}}, "permanent.factors required"
    yield {"permanent": {"method": "age_factor", "factors": {"x": 1}}}, "permanent.factors.x format"
    yield {"permanent": {"method": "present_value", "until_age": 60}}, "permanent.interest required"
    yield {"permanent": {"method": "degree_x_rate", "mortality": {"30": 1}}}, "permanent.mortality excluded"
    yield {"survivors": {}}, "survivors required"
    yield {"survivors": {"method": "months", "spouse": {"share": 1}}}, "survivors.months required"
    yield {"survivors": {"method": "age_factor", "spouse": {"share": 1}}}, "survivors.method required"
    yield {"survivors": {"spouse": {"share": 1, "only_if_none": ["spouse"]}}}, "survivors.spouse.only_if_none excluded"
    yield (
        {"survivors": {"spouse": {"share": 1, "only_if_none": ["child"]},
                       "child": {"share": 1, "only_if_none": ["spouse"]}}},
        "survivors.spouse.only_if_none excluded",
    )  # fmt: skip
    yield {"survivors": {"spouse": {"share": 1}, "remarriage": "never"}}, "survivors.remarriage choice"
    for months in (-1, 0, 1201):
        lump = {"spouse": {"share": 1}, "remarriage": {"lump_months": months}}
        yield {"survivors": lump}, "survivors.remarriage.lump_months range"
    yield {"funeral": {}}, "funeral required"
    yield {"funeral": {"amount": "1", "months": 2}}, "funeral required"
    yield {"indexation": {"month": 13, "rate": 1}}, "indexation.month range"
    yield {"indexation": {"rate": 1}}, "indexation.month required"
    yield {"indexation": {"table": {"24": 1}}}, "indexation.table.24 format"
    yield {"indexation": {"table": {"2024": -1}}}, "indexation.table.2024 range"
    yield {"maximum": "100000000000.01"}, "maximum range"
    yield {"medical": {"work": {"coinsurance": 101}}}, "medical.work.coinsurance range"


@pytest.mark.parametrize(("terms", "problem"), list(wrong()), ids=lambda x: x if isinstance(x, str) else "")
def test_what_is_wrong_is_told_with_its_path(terms: dict[str, Any], problem: str) -> None:
    """Every mistake has its path and a stable reason."""
    assert problem in paths(terms)


def test_a_package_with_contributions_is_the_one_for_wages() -> None:
    """The kernel asks which terms have rates."""
    from imis_eii.rules.contributions import has_contributions

    terms = parse(ESI, EiiTerms)
    assert has_contributions(terms)
    assert not has_contributions(evolve(terms, contribution=None))
