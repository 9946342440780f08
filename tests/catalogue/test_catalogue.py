"""Rules of items, diagnoses and price lists."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.claims.tables import claims
from imis_core.errors import ImisError, Refusal
from imis_core.security.caller import Caller
from imis_core.testing.app import TestApp


def item(code: str = "A", price: str = "10.00", **fields: Any) -> dict[str, Any]:
    return {"code": code, "name": f"Item {code}", "kind": "service", "price": price, **fields}


def price_of(app: TestApp, code: str, on: str) -> str | None:
    found = {row["code"]: row["price"] for row in app.do("catalogue.items", {"on": on})}
    price: str | None = found[code]
    return price


def refusal_of(app: TestApp, name: str, data: dict[str, Any]) -> Refusal:
    with pytest.raises(ImisError) as error:
        app.do(name, data)
    return error.value.refusal


def test_an_item_is_for_everybody_unless_it_says_otherwise(app: TestApp) -> None:
    """Defaults: both sexes, adults and children, both kinds of care, the deployment's currency, from the beginning."""
    result = app.do("catalogue.define_item", item(category="surgery", max_quantity="2.5"))
    assert app.do("catalogue.items") == [
        {
            "id": result["id"], "code": "A", "name": "Item A", "kind": "service", "category": "surgery",
            "care_type": "both", "max_quantity": "2.5", "sexes": ["F", "M"], "ages": ["adult", "child"],
            "price": "10.00", "currency": "USD", "frequency_days": None, "bundle": None,
        }
    ]  # fmt: skip
    assert price_of(app, "A", "1950-01-01") == "10.00"


def test_a_later_day_makes_a_dated_price(app: TestApp) -> None:
    """Defined again with `valid_from`, an item has the new price from that day and the old one before."""
    app.do("catalogue.define_item", item())
    app.do("catalogue.define_item", item(price="12", valid_from="2021-03-01"))
    assert price_of(app, "A", "2021-02-28") == "10.00"
    assert price_of(app, "A", "2021-03-01") == "12.00"
    app.do("catalogue.define_item", item(price="11"))
    assert price_of(app, "A", "2021-02-28") == "11.00"
    assert price_of(app, "A", "2021-03-01") == "12.00"


def test_an_item_has_no_price_before_its_first(app: TestApp) -> None:
    """An item that is defined from a day on has no price before it."""
    app.do("catalogue.define_item", item(valid_from="2021-03-01"))
    assert price_of(app, "A", "2021-02-28") is None


def test_defined_again_the_item_changes(app: TestApp) -> None:
    """The same code again changes the item, with a row in its history; the same content writes nothing."""
    app.do_all("catalogue.define_item", [item(), item()])
    app.do("catalogue.define_item", item())
    app.do("catalogue.define_item", item(name="New", sexes=["F"]))
    rows = app.rows("SELECT name, sexes, version FROM core.items_history ORDER BY version")
    assert [tuple(r.values()) for r in rows] == [("Item A", ["F", "M"], 1), ("New", ["F"], 2)]


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        ({"frequency_days": -1}, "frequency_days", "range"),
        ({"frequency_days": 36_501}, "frequency_days", "range"),
        ({"price": "1.005"}, "price", "not_exact"),
        ({"price": "-1"}, "price", "negative"),
        ({"price": 1.5}, "price", "float"),
        ({"price": "92233720368547758.08"}, "price", "not_exact"),
        ({"currency": "USX"}, "currency", "unknown"),
        ({"max_quantity": "0"}, "max_quantity", "range"),
        ({"max_quantity": "0.0001"}, "max_quantity", "not_exact"),
        ({"sexes": []}, "sexes", "required"),
        ({"ages": ["adult", "adult"]}, "ages", "duplicate"),
        ({"kind": "drug"}, "kind", "choice"),
        ({"category": "x" * 61}, "category", "too_long"),
        ({"code": ""}, "code", "required"),
    ],
)
def test_a_wrong_item_is_refused_with_its_path(app: TestApp, fields: dict[str, Any], path: str, reason: str) -> None:
    """What cannot be computed or kept exactly is refused, and nothing is written."""
    refusal = refusal_of(app, "catalogue.define_item", {**item(), **fields})
    assert refusal.code == "input.invalid"
    assert [(p.path, p.reason) for p in refusal.problems] == [(path, reason)]
    assert app.do("catalogue.items") == []


def test_a_currency_has_its_own_decimals(app: TestApp) -> None:
    """Prices have at most the decimals of their currency: none in yen, three in dinars."""
    outcomes = app.do_all(
        "catalogue.define_item",
        [item("Y", "10", currency="JPY"), item("Z", "10.5", currency="JPY"), item("K", "1.125", currency="KWD")],
    )
    assert isinstance(outcomes[1], Refusal)
    assert [(r["code"], r["price"]) for r in app.do("catalogue.items")] == [("Y", "10"), ("K", "1.125")]


def test_a_diagnosis_again_changes_its_name(app: TestApp) -> None:
    """The same diagnosis again changes the name; in a batch the last one stays."""
    app.do_all("catalogue.add_diagnosis", [{"code": "B54", "name": n} for n in ("Malaria", "Unspecified malaria")])
    app.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    assert [(d["code"], d["name"]) for d in app.do("catalogue.diagnoses")] == [
        ("B54", "Unspecified malaria"), ("A09", "Gastroenteritis"),
    ]  # fmt: skip
    assert [d["code"] for d in app.do("catalogue.diagnoses", {"name": "unspec"})] == ["B54"]


def prices(**by_code: str) -> dict[str, Any]:
    return {"code": "L", "valid_from": "2021-01-01", "prices": by_code}


def shown(app: TestApp, on: str) -> dict[str, tuple[str | None, str]]:
    rows = app.do("catalogue.prices", {"price_list": "L", "on": on})
    return {r["item"]: (r["price"], r["origin"]) for r in rows}


@pytest.fixture
def three_items(app: TestApp) -> TestApp:
    app.do_all("catalogue.define_item", [item("A"), item("B", "5"), item("C")])
    return app


def test_a_later_version_is_complete(three_items: TestApp) -> None:
    """A later version lists what it names and nothing else; before its day the earlier one holds."""
    app = three_items
    app.do("catalogue.define_price_list", prices(A="8.00", B="catalogue"))
    app.do("catalogue.define_price_list", {**prices(C="1"), "valid_from": "2021-06-01"})
    assert shown(app, "2020-12-31") == {}
    assert shown(app, "2021-05-31") == {"A": ("8.00", "list"), "B": ("5.00", "catalogue")}
    assert shown(app, "2021-06-01") == {"C": ("1.00", "list")}


def test_the_word_catalogue_takes_the_price_of_the_day(three_items: TestApp) -> None:
    """An item at the catalogue's price follows the catalogue's dated prices."""
    app = three_items
    app.do("catalogue.define_price_list", prices(B="catalogue"))
    app.do("catalogue.define_item", item("B", "6", valid_from="2021-02-01"))
    assert shown(app, "2021-01-31")["B"] == ("5.00", "catalogue")
    assert shown(app, "2021-02-01")["B"] == ("6.00", "catalogue")


def test_the_same_content_changes_nothing(three_items: TestApp) -> None:
    """The same prices of the same day again: no new version, whatever their order or way of writing."""
    app = three_items
    app.do("catalogue.define_price_list", prices(A="8.00", B="5"))
    app.do("catalogue.define_price_list", prices(B="5.00", A="8"))
    assert [r["version"] for r in app.rows("SELECT version FROM core.price_list_versions_history")] == [1]


def test_an_unused_version_is_replaced(three_items: TestApp) -> None:
    """Other prices for the same day replace a version that no claim was checked with."""
    app = three_items
    outcomes = app.do_all("catalogue.define_price_list", [prices(A="8"), prices(A="9"), prices(B="1")])
    assert [o["items"] for o in outcomes] == [1, 1, 1]
    assert shown(app, "2021-01-01") == {"B": ("1.00", "list")}
    app.do("catalogue.define_price_list", prices(A="7"))
    assert shown(app, "2021-01-01") == {"A": ("7.00", "list")}
    versions = app.rows("SELECT version FROM core.price_list_versions_history ORDER BY version")
    assert [v["version"] for v in versions] == [1, 2]


def claim_at_facility(app: TestApp, target: str) -> None:
    """A claim of a facility that uses the list, written as the claims room would."""
    app.do("providers.register", {"code": "HC", "name": "HC", "price_lists": ["L"]})
    person = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1990-01-01"}
    app.do("beneficiaries.register_person", person)
    app.do("catalogue.add_diagnosis", {"code": "D", "name": "D"})
    day = date.fromisoformat(target)
    with app.database.command(app.system) as (connection, audit):
        known: dict[str, Any] = {
            column: connection.execute(sa.text(f"SELECT id FROM core.{table}")).scalar_one()
            for column, table in (("provider", "providers"), ("person", "persons"), ("diagnosis", "diagnoses"))
        }
        known |= {"audit": audit, "code": "C1"}
        blank = {str: "x", int: 0, bool: False, date: day}
        needed = [c for c in claims.columns if not c.nullable and not c.primary_key and c.server_default is None]
        values = {c.name: known.get(c.name, blank[c.type.python_type]) for c in needed}
        connection.execute(sa.insert(claims).values(values))


def test_a_used_version_is_not_replaced(three_items: TestApp) -> None:
    """With a claim of its time a version stays: `catalogue.in_use`; a later version and the same content are fine."""
    app = three_items
    app.do("catalogue.define_price_list", prices(A="8"))
    claim_at_facility(app, "2021-01-01")
    assert refusal_of(app, "catalogue.define_price_list", prices(A="9")).code == "catalogue.in_use"
    app.do("catalogue.define_price_list", prices(A="8"))
    app.do("catalogue.define_price_list", {**prices(A="9"), "valid_from": "2021-01-02"})
    assert shown(app, "2021-01-01") == {"A": ("8.00", "list")}
    app.do("catalogue.define_price_list", {**prices(A="7"), "valid_from": "2021-01-02"})
    assert shown(app, "2021-01-02") == {"A": ("7.00", "list")}


def test_who_does_not_see_all_claims_replaces_no_version(three_items: TestApp) -> None:
    """A caller of some places cannot know that no claim used a version, so that it counts as used."""
    app = three_items
    app.do("catalogue.define_price_list", prices(A="8"))
    user = app.as_user("anna")
    limited = Caller(user.user, "anna", ("clerk",), frozenset({"*"}), everywhere=False)
    with pytest.raises(ImisError) as error:
        app.do("catalogue.define_price_list", prices(A="9"), as_=limited)
    assert error.value.code == "catalogue.in_use"


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        ({"prices": {"A": "1.005"}}, "input.invalid", "prices.A"),
        ({"prices": {"A": "-1"}}, "input.invalid", "prices.A"),
        ({"prices": {"A": 1.5}}, "input.invalid", "prices.A"),
        ({"prices": {"A": "catalog"}}, "input.invalid", "prices.A"),
        ({"prices": {"X": "1"}}, "not_found", "prices.X"),
        ({"currency": "USX"}, "input.invalid", "currency"),
    ],
)
def test_a_wrong_price_is_refused_with_its_path(
    three_items: TestApp, change: dict[str, Any], code: str, path: str
) -> None:
    """A price that is no exact amount, or an unknown item or currency: nothing is written."""
    refusal = refusal_of(three_items, "catalogue.define_price_list", {**prices(A="1"), **change})
    assert (refusal.code, refusal.problems[0].path) == (code, path)
    assert three_items.rows("SELECT FROM core.price_lists") == []


def test_a_list_keeps_its_currency(three_items: TestApp) -> None:
    """A list has one currency for good; a version without one takes the list's."""
    app = three_items
    app.do("catalogue.define_price_list", {**prices(A="8"), "currency": "EUR"})
    app.do("catalogue.define_price_list", {**prices(A="9"), "valid_from": "2021-02-01"})
    assert app.do("catalogue.prices", {"price_list": "L", "on": "2021-02-01"})[0]["currency"] == "EUR"
    other = {**prices(A="9"), "valid_from": "2021-03-01", "currency": "USD"}
    assert refusal_of(app, "catalogue.define_price_list", other).problems[0].reason == "other_currency"


def test_prices_of_an_unknown_list_are_not_found(app: TestApp) -> None:
    """A list that is not there is `not_found` at `price_list`."""
    assert refusal_of(app, "catalogue.prices", {"price_list": "X"}).problems[0].path == "price_list"


def test_ten_thousand_items_and_prices_take_few_statements(app: TestApp) -> None:
    """The number of statements does not grow with the batch, and everything arrives."""

    def statements(prefix: str, count: int) -> int:
        before = app.database.statements
        app.do_all("catalogue.define_item", [item(f"{prefix}{i}") for i in range(count)])
        listed = {f"{prefix}{i}": "2.00" for i in range(count)}
        app.do("catalogue.define_price_list", {"code": prefix, "valid_from": "2021-01-01", "prices": listed})
        return app.database.statements - before

    statements("W", 1)  # the first command of an application also reads the roles
    assert statements("A", 60) == statements("B", 10_000)
    assert app.rows("SELECT count(*) AS n FROM core.price_list_prices")[0]["n"] == 10_061


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    definitions=st.lists(
        st.tuples(st.sampled_from("AB"), st.none() | st.integers(1, 9), st.integers(0, 500)), min_size=1, max_size=12
    ),
    day=st.integers(1, 9),
)
def test_the_price_of_a_day_is_the_latest_before_it(
    app: TestApp, definitions: list[tuple[str, int | None, int]], day: int
) -> None:
    """Against a plain model: the price with the latest start that is not after the day, the last definition winning."""
    run = app.rows("SELECT count(*) AS n FROM core.items")[0]["n"]
    model: dict[str, dict[int, Decimal]] = {}
    batch = []
    for code, start, cents in definitions:
        price = Decimal(cents).scaleb(-2)
        model.setdefault(f"{code}{run}", {})[start or 0] = price
        dated = {} if start is None else {"valid_from": f"2021-01-0{start}"}
        batch.append(item(f"{code}{run}", str(price), **dated))
    app.do_all("catalogue.define_item", batch)
    for code, dated_prices in model.items():
        current = [p for s, p in sorted(dated_prices.items()) if s <= day]
        found = price_of(app, code, f"2021-01-0{day}")
        assert (None if found is None else Decimal(found)) == (current[-1] if current else None)


def part(code: str, **more: Any) -> dict[str, Any]:
    return item(code=code, name=code, **more)


def test_an_item_tells_how_often_it_may_be_given(app: TestApp) -> None:
    """The days between two provisions of an item to one person stand in the catalogue."""
    app.do("catalogue.define_item", item(frequency_days=30))
    assert app.do("catalogue.items")[0]["frequency_days"] == 30


def test_a_service_may_be_a_bundle_of_others(app: TestApp) -> None:
    """A bundle, flat or fee for service, names what it holds and how much of it; parts may come in the same batch."""
    bundle = {"kind": "fee_for_service", "content": {"A": 1, "B": "2.5"}}
    app.do_all("catalogue.define_item", [part("A"), part("B", kind="product", category=None), part("P", bundle=bundle)])
    shown = {row["code"]: row["bundle"] for row in app.do("catalogue.items")}
    assert shown == {"A": None, "B": None, "P": {"kind": "fee_for_service", "content": {"A": "1", "B": "2.5"}}}
    app.do("catalogue.define_item", part("P", bundle={"kind": "flat", "content": {"B": 1}}))
    assert app.do("catalogue.items", {"code": "P"})[0]["bundle"] == {"kind": "flat", "content": {"B": "1"}}
    app.do("catalogue.define_item", part("P"))
    assert app.do("catalogue.items", {"code": "P"})[0]["bundle"] is None
    assert app.rows("SELECT * FROM core.item_bundle_parts") == []


@pytest.mark.parametrize(
    ("code", "more", "path", "reason"),
    [
        ("Q", {"bundle": {"kind": "flat", "content": {}}}, "bundle.content", "required"),
        ("Q", {"bundle": {"kind": "flat", "content": {"NONE": 1}}}, "bundle.content.NONE", "not_found"),
        ("Q", {"bundle": {"kind": "flat", "content": {"Q": 1}}}, "bundle.content.Q", "cycle"),
        ("Q", {"bundle": {"kind": "flat", "content": {"P": 1}}}, "bundle.content.P", "nested"),
        ("A", {"bundle": {"kind": "flat", "content": {"B": 1}}}, "bundle", "nested"),
        ("Q", {"bundle": {"kind": "flat", "content": {"A": 0}}}, "bundle.content.A", "range"),
        ("Q", {"bundle": {"kind": "flat", "content": {"A": "0.0001"}}}, "bundle.content.A", "not_exact"),
        ("Q", {"kind": "product", "bundle": {"kind": "flat", "content": {"A": 1}}}, "bundle", "kind"),
    ],
)
def test_a_wrong_bundle_is_refused(app: TestApp, code: str, more: dict[str, Any], path: str, reason: str) -> None:
    """A bundle holds known items that are no bundles, some of each; only services are bundles."""
    app.do_all("catalogue.define_item", [part("A"), part("B"), part("P", bundle={"kind": "flat", "content": {"A": 1}})])
    refusal = refusal_of(app, "catalogue.define_item", part(code, **more))
    assert [(p.path, p.reason) for p in refusal.problems] == [(path, reason)]
