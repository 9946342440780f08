"""The checks of claims one by one and in their order, the category, and which price counts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.claims.conftest import TERMS, Clinic, rejections


@pytest.mark.parametrize(
    ("line", "more", "rejection", "code"),
    [
        ("UNLISTED", {}, "not_in_price_list", 2),
        ("BED", {"provider": "OUT"}, "care_type", 10),
        ("WALKIN", {"provider": "IN"}, "care_type", 10),
        ("LAB", {"provider": "OUT", "to": "2021-02-02"}, "care_type", 10),
        ("KIDS", {}, "patient_category", 4),
        ("WOMEN", {}, "patient_category", 4),
        ("EXTRA", {}, "not_covered", 3),
    ],
)
def test_a_line_is_rejected_and_with_its_last_line_the_claim(
    clinic: Clinic, line: str, more: dict[str, Any], rejection: str, code: int
) -> None:
    """The line carries its own rejection and its number; the claim without a line left `all_lines_rejected`, 1."""
    answer = clinic.submit("C1", line, **more)
    assert (answer["status"], answer["rejection"], answer["rejection_code"]) == ("rejected", "all_lines_rejected", 1)
    (judged,) = answer["lines"]
    assert (judged["status"], judged["rejection"], judged["rejection_code"]) == ("rejected", rejection, code)
    assert judged["quantity_approved"] == "0"


def test_what_fits_is_accepted_beside_what_does_not(clinic: Clinic) -> None:
    """One passed line keeps the claim; a child and a woman get what is for them, a stay is fine where beds are."""
    assert rejections(clinic.submit("C1", "LAB", "EXTRA")) == (None, [None, "not_covered"])
    assert rejections(clinic.submit("C2", "KIDS", "WOMEN", number="N3")) == (None, [None, "patient_category"])
    assert rejections(clinic.submit("C3", "WOMEN", "KIDS", number="N2")) == (None, [None, "patient_category"])
    assert rejections(clinic.submit("C4", "BED", "LAB", provider="IN", to="2021-02-03")) == (None, [None, None])


def test_somebody_of_the_other_sex_fits_every_item(clinic: Clinic) -> None:
    """Sex "other" is refused no item."""
    clinic.person("N7", "O")
    clinic.insure("N7", "BASIC")
    assert rejections(clinic.submit("C1", "WOMEN", number="N7")) == (None, [None])


def test_adult_from_the_birthday_on(clinic: Clinic) -> None:
    """Age is that of the target date: a child the day before the eighteenth birthday, an adult on it."""
    clinic.person("N7", "F", "2003-02-02")
    clinic.insure("N7", "BASIC")
    assert rejections(clinic.submit("C1", "KIDS", number="N7", **{"from": "2021-02-01"})) == (None, [None])
    assert rejections(clinic.submit("C2", "KIDS", number="N7", **{"from": "2021-02-02"}))[1] == ["patient_category"]


def test_the_checks_of_a_line_come_in_their_order(clinic: Clinic) -> None:
    """2 before 10 before 4 before 3."""
    item = {"kind": "service", "price": "1", "care_type": "inpatient", "sexes": ["F"]}
    clinic.app.do("catalogue.define_item", {"code": "ALL", "name": "ALL", **item})
    listed = {"code": "PL2", "valid_from": "2021-02-10", "prices": {"ALL": "1", "WOMEN": "1"}}
    clinic.app.do("catalogue.define_price_list", listed)
    for code, care_type in (("O2", "outpatient"), ("B2", "both")):
        provider = {"code": code, "name": code, "level": "hospital", "care_type": care_type, "price_lists": ["PL2"]}
        clinic.app.do("providers.register", provider)
    found = [
        rejections(clinic.submit(f"C{n}", "ALL", number=number, provider=provider, **{"from": day}))[1]
        for n, (provider, number, day) in enumerate(
            [
                ("O2", "N1", "2021-02-01"),
                ("O2", "N1", "2021-02-10"),
                ("B2", "N1", "2021-02-10"),
                ("B2", "N2", "2021-02-10"),
            ]
        )
    ]
    assert found == [["not_in_price_list"], ["care_type"], ["patient_category"], ["not_covered"]]


def test_the_checks_of_a_claim_come_before_those_of_its_lines(clinic: Clinic) -> None:
    """7 before 9 before 21; the claim and all its lines carry that name."""
    clinic.person("N7")
    clinic.app.do("beneficiaries.record_death", {"number": "N7", "on": "2021-01-31"})
    clinic.person("N8")
    dead = clinic.submit("C1", "DRUG", "UNLISTED", number="N7", claimed_on="2021-01-01")
    early = clinic.submit("C2", "DRUG", "UNLISTED", number="N8", claimed_on="2021-01-01")
    bare = clinic.submit("C3", "DRUG", "UNLISTED", number="N8")
    assert rejections(dead) == ("person_invalid", ["person_invalid"] * 2)
    assert rejections(early) == ("target_date", ["target_date"] * 2)
    assert rejections(bare) == ("no_coverage", ["no_coverage"] * 2)
    assert [answer["rejection_code"] for answer in (dead, early, bare)] == [7, 9, 21]


def test_a_dead_patient_is_judged_by_the_target_date(clinic: Clinic) -> None:
    """Treated on the last day and claimed later: accepted; a treatment after death: code 7."""
    clinic.app.do("beneficiaries.record_death", {"number": "N1", "on": "2021-02-10"})
    assert rejections(clinic.submit("C1", "DRUG", **{"from": "2021-02-10"})) == (None, [None])
    assert rejections(clinic.submit("C2", "DRUG", **{"from": "2021-02-11"}))[0] == "person_invalid"


def test_covered_from_the_first_day_to_the_last(clinic: Clinic) -> None:
    """The policy's first and last day are covered, the days around them are not; ended since or not."""
    clinic.person("N7")
    clinic.insure("N7", "BASIC", on="2020-05-15")
    days = ["2020-05-14", "2020-05-15", "2021-05-14", "2021-05-15"]
    found = [rejections(clinic.submit(f"C{d}", "DRUG", number="N7", **{"from": d}))[0] for d in days]
    assert found == ["no_coverage", None, None, "no_coverage"]


def test_a_stay_is_judged_by_its_last_day(clinic: Clinic) -> None:
    """Target date = to-date: a stay that began before the policy and ended in it is covered."""
    clinic.person("N7")
    clinic.insure("N7", "BASIC", on="2021-03-01")
    stay = {"number": "N7", "from": "2021-02-25"}
    assert rejections(clinic.submit("C1", "DRUG", **stay, to="2021-03-01"))[0] is None
    assert rejections(clinic.submit("C2", "DRUG", **stay, to="2021-02-28"))[0] == "no_coverage"


@pytest.mark.parametrize(
    ("lines", "more", "category"),
    [
        (["DRUG", "ADVICE", "CHECKUP", "BIRTH", "CUT"], {}, "surgery"),
        (["ADVICE", "CHECKUP", "BIRTH"], {}, "delivery"),
        (["ADVICE", "CHECKUP"], {"to": "2021-02-02"}, "antenatal"),
        (["ADVICE"], {"to": "2021-02-02"}, "hospitalisation"),
        (["ADVICE", "BED"], {}, "hospitalisation"),
        (["LAB", "ADVICE"], {}, "consultation"),
        (["LAB"], {"to": "2021-02-01"}, "visit"),
        (["LAB", "CUT"], {"provider": "OUT", "to": "2021-02-02"}, "surgery"),  # rejected lines count too
    ],
)
def test_the_category_of_a_claim(clinic: Clinic, lines: list[str], more: dict[str, Any], category: str) -> None:
    """Surgery, delivery, antenatal if such a service is there; else a stay or a bed; else consultation, visit."""
    assert clinic.submit("C1", *lines, **more)["category"] == category


def test_the_price_of_the_target_date_counts(clinic: Clinic) -> None:
    """A later list is a new, complete version: what it leaves out is not listed; older claims keep the older price."""
    prices = {"LAB": "60", "WALKIN": "catalogue"}
    clinic.app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2021-03-01", "prices": prices})
    clinic.submit("C1", "LAB", "DRUG", **{"from": "2021-02-28"})
    clinic.submit("C2", "LAB", ("WALKIN", 1, "1000"), "DRUG", **{"from": "2021-03-01"})
    clinic.process()
    assert [line["unit_price"] for line in clinic.show("C1")["lines"]] == ["100.00", "100.00"]
    assert [line["unit_price"] for line in clinic.show("C2")["lines"]] == ["60.00", "200.00", None]
    assert clinic.show("C2")["lines"][2]["rejection"] == "not_in_price_list"


def test_the_word_catalogue_takes_the_catalogue_s_dated_price(clinic: Clinic) -> None:
    """The catalogue's price of the target date, where the list says "catalogue"."""
    prices = {"LAB": "catalogue"}
    clinic.app.do("catalogue.define_price_list", {"code": "PL", "valid_from": "2021-02-01", "prices": prices})
    dated = {"code": "LAB", "name": "LAB", "kind": "service", "price": "70", "valid_from": "2021-03-01"}
    clinic.app.do("catalogue.define_item", dated)
    clinic.submit("C1", ("LAB", 1, "500"), **{"from": "2021-02-28"})
    clinic.submit("C2", ("LAB", 1, "500"), **{"from": "2021-03-01"})
    assert (clinic.paid("C1"), clinic.paid("C2")) == (["200.00"], ["70.00"])


def test_of_two_lists_the_first_that_names_the_item_counts(clinic: Clinic) -> None:
    """An item in two lists of a facility has the price of the list named first."""
    prices = {"LAB": "30", "UNLISTED": "40"}
    clinic.app.do("catalogue.define_price_list", {"code": "PL2", "valid_from": "2019-01-01", "prices": prices})
    for code, lists in (("AB", ["PL", "PL2"]), ("BA", ["PL2", "PL"])):
        provider = {"code": code, "name": code, "level": "hospital", "care_type": "both", "price_lists": lists}
        clinic.app.do("providers.register", provider)
    clinic.submit("C1", "LAB", "UNLISTED", provider="AB")
    clinic.submit("C2", "LAB", "UNLISTED", provider="BA")
    assert (clinic.paid("C1"), clinic.paid("C2")) == (["100.00", "40.00"], ["30.00", "40.00"])


def test_a_list_in_another_currency_lists_nothing(make_app: Any) -> None:
    """A price in another currency than the scheme's is no price: `not_in_price_list`."""
    clinic = Clinic(make_app(settings={"schemes": {"euros": {"type": "health_insurance", "currency": "EUR"}}}))
    clinic.package("EUROS", TERMS, scheme="euros")
    clinic.insure("N1", "EUROS", scheme="euros")
    assert rejections(clinic.submit("C1", "LAB", scheme="euros"))[1] == ["not_in_price_list"]
    assert rejections(clinic.submit("C2", "LAB", scheme="chf"))[1] == [None]
