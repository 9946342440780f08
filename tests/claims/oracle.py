"""The rules of claims once more, claim by claim and line by line, to judge the set-based implementation by.

Written from the domain text alone and sharing nothing with the framework: dictionaries, fractions of a minor unit, and
a history that is searched anew for whatever was used before. It knows what is computed today and nothing else.

A world is plain data: `persons` {number: {sex, born, died}}, `items` {code: {kind, category, care_type, sexes, ages,
catalogue: [(from, price)]}}, `lists` {code: [(from, {item: price | "catalogue"})]}, `facilities` {code: {level,
care_type, lists}}, `packages` {code: terms as a user writes them}, `policies` [{package, members, effective, ends,
terminated, pauses: [(first day, first day covered again | None)]}]. Prices are minor units, two decimals to the unit.
"""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

ADULT_FROM_YEARS = 18
CODES = {
    "all_lines_rejected": 1, "not_in_price_list": 2, "not_covered": 3, "patient_category": 4, "person_invalid": 7,
    "target_date": 9, "care_type": 10, "no_coverage": 21,
}  # fmt: skip

World = dict[str, Any]
Claim = dict[str, Any]
Verdict = dict[str, Any]


def half_up(amount: Fraction) -> int:
    """To the whole minor unit, a half going up."""
    return (amount + Fraction(1, 2)).__floor__()


def money(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02d}"


def target_date(claim: Claim) -> date:
    day: date = claim["to"] or claim["from"]
    return day


def is_stay(claim: Claim) -> bool:
    return claim["to"] is not None and claim["to"] != claim["from"]


def age(born: date, on: date) -> int:
    birthday_was = f"{on:%m-%d}" >= f"{born:%m-%d}"
    return on.year - born.year - (0 if birthday_was else 1)


def is_adult(world: World, claim: Claim) -> bool:
    return age(world["persons"][claim["number"]]["born"], target_date(claim)) >= ADULT_FROM_YEARS


def in_force(dated: list[tuple[date, Any]], on: date) -> Any:
    """The latest of dated values that began by a day; None if none has."""
    begun = [(start, value) for start, value in dated if start <= on]
    return max(begun, key=lambda pair: pair[0])[1] if begun else None


def list_price(world: World, facility: str, item: str, on: date) -> int | None:
    for code in world["facilities"][facility]["lists"]:
        prices = in_force(world["lists"][code], on) or {}
        if item in prices:
            price = prices[item]
            return in_force(world["items"][item]["catalogue"], on) if price == "catalogue" else price
    return None


def first_day(policy: dict[str, Any]) -> date | None:
    day: date | None = policy["effective"]
    return day


def covering(world: World, number: str, on: date) -> list[int]:
    """The policies that cover a person on a day, by the person's effective date."""
    found = []
    for index, policy in enumerate(world["policies"]):
        start = first_day(policy)
        if number not in policy["members"] or start is None or not start <= on <= policy["ends"]:
            continue
        if policy["terminated"] is not None and on > policy["terminated"]:
            continue
        if any(begin <= on and (end is None or on < end) for begin, end in policy["pauses"]):
            continue
        found.append((start, index))
    return [index for _, index in sorted(found)]


def by_age(value: Any, adult: bool, default: Any) -> Any:
    if isinstance(value, dict):
        return value.get("adult" if adult else "child", default)
    return default if value is None else value


def limit_of(terms: dict[str, Any], item: str, visit: str, adult: bool) -> tuple[str, Fraction]:
    """("coinsurance", percent) or ("fixed", minor units per unit; 0 = unlimited) for an item of a package."""
    of_item = terms["items"][item]
    own = of_item.get("visit_types", {}).get(visit) or of_item
    if own.get("limit", "coinsurance") == "fixed":
        return "fixed", Fraction(by_age(own.get("amount"), adult, 0)) * 100
    return "coinsurance", Fraction(by_age(own.get("percent"), adult, 100))


def unit_price(terms: dict[str, Any], item: str, listed: int, asked: int) -> int:
    return asked if terms["items"][item].get("price_origin") == "provider" else min(listed, asked)


def category(world: World, claim: Claim) -> str:
    there = {
        world["items"][line["item"]]["category"]
        for line in claim["lines"]
        if world["items"][line["item"]]["kind"] == "service"
    }
    for name in ("surgery", "delivery", "antenatal"):
        if name in there:
            return name
    if is_stay(claim) or "hospitalisation" in there:
        return "hospitalisation"
    return "consultation" if "consultation" in there else "visit"


def check(world: World, claim: Claim) -> Verdict:
    """Section 4: `rejection` of the claim (or None), and per line `rejection` and the policy that pays."""
    person = world["persons"][claim["number"]]
    on = target_date(claim)
    whole = None
    if person["died"] is not None and on > person["died"]:
        whole = "person_invalid"
    elif claim["claimed_on"] < claim["from"]:
        whole = "target_date"
    elif not covering(world, claim["number"], on):
        whole = "no_coverage"
    lines = [
        {"rejection": whole, "policy": None} if whole else check_line(world, claim, line) for line in claim["lines"]
    ]
    if whole is None and all(line["rejection"] for line in lines):
        whole = "all_lines_rejected"
    return {"rejection": whole, "lines": lines}


def check_line(world: World, claim: Claim, line: dict[str, Any]) -> dict[str, Any]:
    item = world["items"][line["item"]]
    facility = world["facilities"][claim["facility"]]
    person = world["persons"][claim["number"]]
    listed = list_price(world, claim["facility"], line["item"], target_date(claim))
    if listed is None:
        return {"rejection": "not_in_price_list", "policy": None}
    if facility["care_type"] == "outpatient" and (item["care_type"] == "inpatient" or is_stay(claim)):
        return {"rejection": "care_type", "policy": None}
    if facility["care_type"] == "inpatient" and item["care_type"] == "outpatient":
        return {"rejection": "care_type", "policy": None}
    if person["sex"] != "O" and person["sex"] not in item["sexes"]:
        return {"rejection": "patient_category", "policy": None}
    if ("adult" if is_adult(world, claim) else "child") not in item["ages"]:
        return {"rejection": "patient_category", "policy": None}
    policies = [
        index
        for index in covering(world, claim["number"], target_date(claim))
        if line["item"] in world["packages"][world["policies"][index]["package"]]["items"]
    ]
    if not policies:
        return {"rejection": "not_covered", "policy": None}
    return {"rejection": None, "policy": choose(world, claim, line, listed, policies)}


def choose(world: World, claim: Claim, line: dict[str, Any], listed: int, policies: list[int]) -> int:
    """Section 5.1: which of several policies pays for a line."""
    if len(policies) == 1:
        return policies[0]
    adult = is_adult(world, claim)
    shares, limits = [], []
    for place, index in enumerate(policies):
        terms = world["packages"][world["policies"][index]["package"]]
        kind, value = limit_of(terms, line["item"], claim["visit_type"], adult)
        price = unit_price(terms, line["item"], listed, line["price"])
        (shares if kind == "coinsurance" else limits).append((value, -place, index, price))
    if not limits:
        return max(shares)[2]
    unlimited = [limit for limit in limits if limit[0] == 0]
    limit = max(unlimited) if unlimited else max(limits)
    if not shares:
        return limit[2]
    share = max(shares)
    if share[0] == 100:
        return share[2]
    if limit[0] == 0 or limit[0] > limit[3]:
        return limit[2]
    patient_by_share = share[3] * (100 - share[0]) / 100
    patient_by_limit = limit[3] - limit[0]
    return limit[2] if patient_by_limit < patient_by_share else share[2]


def scope_of(world: World, claim: Claim, terms: dict[str, Any], name: str) -> tuple[str, str, int] | None:
    """(level, scope, amount in minor units) of a package's deductible or ceiling in this case; None: there is none."""
    limit = terms.get(name)
    if limit is None:
        return None
    if terms.get("ceiling_interpretation", "stay") == "facility":
        hospital = world["facilities"][claim["facility"]]["level"] == "hospital"
    else:
        hospital = is_stay(claim)
    for scope in ("general", "inpatient" if hospital else "outpatient"):
        if scope in limit:
            return limit["level"], scope, int(Fraction(limit[scope]) * 100)
    return None


def used_before(
    world: World, history: list[tuple[Claim, Verdict, dict[str, Any]]], policy: int, name: str, level: str, scope: str,
    number: str,
) -> Fraction:  # fmt: skip
    """What other claims have used of a policy's deductible ("deducted") or ceiling ("payable")."""
    terms = world["packages"][world["policies"][policy]["package"]]
    total = Fraction(0)
    for claim, verdict, result in history:
        if level == "treatment" or (level == "person" and claim["number"] != number):
            continue
        drawn = scope_of(world, claim, terms, name)
        if drawn is None or drawn[1] != scope:
            continue
        for line, valued in zip(verdict["lines"], result["lines"], strict=True):
            if line["policy"] == policy and valued is not None:
                total += valued["deducted" if name == "deductible" else "payable"]
    return total


def value(
    world: World, claim: Claim, verdict: Verdict, history: list[tuple[Claim, Verdict, dict[str, Any]]]
) -> dict[str, Any]:
    """Section 5.4 to 5.6 for a checked claim, after the other claims in `history`; None for a rejected line."""
    results: list[dict[str, Any] | None] = [None] * len(claim["lines"])
    left: dict[tuple[str, int, str], Fraction] = {}
    adult = is_adult(world, claim)
    kinds = [world["items"][line["item"]]["kind"] for line in claim["lines"]]
    for wanted in ("product", "service"):
        for place, line in enumerate(claim["lines"]):
            policy = verdict["lines"][place]["policy"]
            if kinds[place] != wanted or policy is None:
                continue
            terms = world["packages"][world["policies"][policy]["package"]]

            def take(name: str, wish: Fraction, policy: int = policy, terms: dict[str, Any] = terms) -> Fraction | None:
                drawn = scope_of(world, claim, terms, name)
                if drawn is None:
                    return None
                level, scope, amount = drawn
                key = (name, policy, scope)
                if key not in left:
                    used = used_before(world, history, policy, name, level, scope, claim["number"])
                    left[key] = max(Fraction(0), amount - used)
                taken = min(left[key], wish)
                left[key] -= taken
                return taken

            listed = list_price(world, claim["facility"], line["item"], target_date(claim))
            assert listed is not None
            price = unit_price(terms, line["item"], listed, line["price"])
            asked = line["quantity"] * price
            kind, amount = limit_of(terms, line["item"], claim["visit_type"], adult)
            limited = min(asked, line["quantity"] * amount) if kind == "fixed" and amount else asked
            deducted = take("deductible", limited) or Fraction(0)
            shared = half_up((limited - deducted) * (amount if kind == "coinsurance" else 100) / 100)
            paid = take("ceiling", Fraction(shared))
            payable = shared if paid is None else int(paid)
            results[place] = {
                "unit_price": price, "asked": half_up(asked), "limited": limited, "deducted": deducted,
                "shared": shared, "above_ceiling": shared - payable, "payable": payable,
            }  # fmt: skip
    valued = [line for line in results if line is not None]
    return {
        "lines": results,
        "approved": sum(line["asked"] for line in valued),
        "payable": sum(line["payable"] for line in valued),
    }


def shown(world: World, claim: Claim, verdict: Verdict, result: dict[str, Any] | None) -> dict[str, Any]:
    """What `claims.show` says of a claim, without ids and names; `result` None: rejected, or not processed yet."""
    name = verdict["rejection"]
    lines = []
    for place, line in enumerate(claim["lines"]):
        refused = verdict["lines"][place]["rejection"]
        valued = None if result is None else result["lines"][place]
        steps = []
        if valued is not None:
            after = half_up(valued["limited"] - valued["deducted"])
            steps = [
                ("price", valued["asked"]), ("limit", half_up(valued["limited"])), ("deductible", after),
                ("coinsurance", valued["shared"]), ("copayment", valued["shared"]),
                ("category_cap", valued["shared"]), ("ceiling", valued["payable"]),
            ]  # fmt: skip
        lines.append(
            {
                "line": place + 1,
                "item": line["item"],
                "status": "rejected" if refused else "passed",
                "rejection": refused,
                "rejection_code": CODES.get(refused) if refused else None,
                "quantity_approved": Fraction(0) if refused else line["quantity"],
                "unit_price": money(valued["unit_price"]) if valued else None,
                "deducted": money(half_up(valued["deducted"])) if valued else None,
                "above_ceiling": money(valued["above_ceiling"]) if valued else None,
                "payable": money(valued["payable"]) if valued else money(0) if refused else None,
                "steps": [{"name": step, "amount": money(amount)} for step, amount in steps],
            }
        )
    return {
        "status": "rejected" if name else "checked" if result is None else "valuated",
        "rejection": name,
        "rejection_code": CODES[name] if name else None,
        "category": category(world, claim),
        "claimed": money(sum(half_up(line["quantity"] * line["price"]) for line in claim["lines"])),
        "approved": money(result["approved"]) if result else money(0) if name else None,
        "payable": money(result["payable"]) if result else money(0) if name else None,
        "lines": lines,
    }
