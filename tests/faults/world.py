"""A small world to break things in: a facility, people with capped policies, claims that draw on them; its results."""

from __future__ import annotations

from typing import Any

from imis_core.errors import Refusal
from tests.faults.harness import PASSWORD, Hands

PEOPLE = 40
VISITS = 6
SETTINGS = """
[deployment]
name = "faulty"
country = "XX"
currency = "USD"
[database]
url = "{app}"
owner_url = "{owner}"
[plugins]
enabled = ["health_insurance", "cash_transfer"]
[schemes.chf]
type = "health_insurance"
plugins = []
[schemes.nafa]
type = "cash_transfer"
plugins = []
"""
EMBEDDED = SETTINGS.replace('url = "{app}"\n', "").replace('owner_url = "{owner}"\n', "")
CAPPED = {
    "insurance_months": 12, "premium_adult": "50", "items": {"DRUG": {}, "LAB": {}},
    "ceiling": {"level": "person", "general": "900"}, "deductible": {"level": "person", "general": "35"},
}  # fmt: skip


def make_world(hands: Hands) -> None:
    """Catalogue, facility, package, insured people; nobody has claimed yet."""
    do = hands.do
    do("users.change", {"user": "administrator", "password": PASSWORD})
    do("users.add", {"name": "second", "roles": ["administrator"], "password": PASSWORD})
    do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
    do("catalogue.define_item", {"code": "DRUG", "name": "Drug", "kind": "product", "price": "100"})
    do("catalogue.define_item", {"code": "LAB", "name": "Laboratory", "kind": "service", "price": "60"})
    prices = {"code": "PL", "valid_from": "2019-01-01", "prices": {"DRUG": "100", "LAB": "60"}}
    do("catalogue.define_price_list", prices)
    facility = {"code": "HC", "name": "HC", "level": "health_centre", "care_type": "both", "price_lists": ["PL"]}
    do("providers.register", facility)
    package = {"scheme": "chf", "code": "BASIC", "name": "Basic", "valid_from": "2019-01-01", "terms": CAPPED}
    do("benefit_packages.define", package)
    person = {"given_name": "A", "family_name": "B", "sex": "F", "birth_date": "1980-01-01", "relationship": "head"}
    groups = [{"code": f"F{n}", "members": [{**person, "number": f"N{n}"}]} for n in range(PEOPLE)]
    all_done(hands.do_all("beneficiaries.register_group", groups))
    asked = [{"scheme": "chf", "package": "BASIC", "group": f"F{n}", "on": "2021-01-01"} for n in range(PEOPLE)]
    policies = all_done(hands.do_all("coverage.enrol", asked))
    paid = [{"coverage": p["id"], "amount": p["due"], "receipt": f"R{n}"} for n, p in enumerate(policies)]
    all_done(hands.do_all("contributions.record", [{**p, "on": "2021-01-01"} for p in paid]))


def all_done(outcomes: list[Any]) -> list[Any]:
    refused = [o.line() for o in outcomes if isinstance(o, Refusal)]
    assert not refused, refused[:3]
    return outcomes


def claims(people: range = range(PEOPLE), visits: range = range(VISITS), prefix: str = "C") -> list[dict[str, Any]]:
    """Inputs of claims, some beyond the ceiling of who has them."""
    return [
        {
            "code": f"{prefix}{person}-{visit}", "provider": "HC", "number": f"N{person}",
            "from": f"2021-0{1 + (visit + person) % 5}-{10 + person % 15}", "diagnosis": "A09",
            "lines": [
                {"item": "DRUG", "quantity": 1 + visit % 3, "price": "100"},
                {"item": "LAB", "quantity": 1, "price": "60"},
            ],
        }
        for visit in visits
        for person in people
    ]  # fmt: skip


_RESULTS = """
SELECT c.code, t.state, t.version, t.valuation, r.line, r.deducted_milli, r.payable_minor
FROM core.claims c JOIN core.claim_current t ON t.claim = c.id
LEFT JOIN core.claim_results r ON r.claim = c.id AND r.valuation = t.valuation ORDER BY c.code, r.line
"""

_USED = "SELECT counter, used FROM core.cover_usage ORDER BY cover, person, counter"


def outcome_of(hands: Hands) -> dict[str, Any]:
    """What has come out: every claim's lines, how often each was valuated, what covers have used, and the ledger."""
    with hands.app.database.query(hands.app.system) as connection:
        read = connection.exec_driver_sql
        claims_now = [tuple(row) for row in read(_RESULTS)]
        used = [
            tuple(row) for row in read("SELECT counter, used FROM core.cover_usage ORDER BY cover, person, counter")
        ]
        written = [tuple(row) for row in read("SELECT count(*), count(DISTINCT claim) FROM core.claim_valuations")]
    return {
        "claims": claims_now, "used": used, "valuations": written,
        "ledger": hands.do("ledger.balances", {"scheme": "chf"}),
    }  # fmt: skip
