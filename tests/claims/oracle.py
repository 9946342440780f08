"""The rules of claims once more, claim by claim and line by line, to judge the set-based implementation by.

Written from the domain text alone and sharing nothing with the framework: dictionaries, fractions of a minor unit, and
a history that is searched anew for whatever was used before. It knows what is computed today and nothing else.

A world is plain data: `persons` {number: {sex, born, died}}, `families` [numbers], `items` {code: {kind, category,
care_type, frequency, sexes, ages, catalogue: [(from, price)]}}, `lists` {code: [(from, {item: price | "catalogue"})]},
`facilities` {code: {level, care_type, lists}}, `packages` {code: terms as a user writes them}, `policies` [{package,
members, effective, ends, terminated, renewal, pauses: [(first day, first day covered again | None)]}]. Prices are minor
units, two decimals to the unit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from fractions import Fraction
from typing import Any

ADULT_FROM_YEARS = 18
CODES = {
    "all_lines_rejected": 1, "not_in_price_list": 2, "not_covered": 3, "patient_category": 4, "frequency": 5,
    "person_invalid": 7, "target_date": 9, "care_type": 10, "max_hospitalisations": 11, "max_visits": 12,
    "max_consultations": 13, "max_surgeries": 14, "max_deliveries": 15, "max_provisions": 16, "waiting_period": 17,
    "max_antenatal": 19, "no_coverage": 21, "reviewer": -1,
}  # fmt: skip

COUNTS = {
    "hospitalisation": "max_hospitalisations", "visit": "max_visits", "consultation": "max_consultations",
    "surgery": "max_surgeries", "delivery": "max_deliveries", "antenatal": "max_antenatal",
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


def check(world: World, claim: Claim, history: list[tuple[Claim, Verdict]]) -> Verdict:
    """Section 4: `rejection` of the claim (or None), and per line `rejection`, approved `quantity` and payer `policy`.

    `history`: the claims taken in before, with their verdicts, in any order.
    """
    person = world["persons"][claim["number"]]
    on = target_date(claim)
    whole = None
    if person["died"] is not None and on > person["died"]:
        whole = "person_invalid"
    elif claim["claimed_on"] < claim["from"]:
        whole = "target_date"
    elif not covering(world, claim["number"], on):
        whole = "no_coverage"
    lines: list[dict[str, Any]] = []
    for line in claim["lines"]:
        lines.append(refused(whole) if whole else check_line(world, claim, line, lines, history))
    if whole is None and all(line["rejection"] for line in lines):
        whole = "all_lines_rejected"
    return {"rejection": whole, "lines": lines}


def refused(name: str) -> dict[str, Any]:
    return {"rejection": name, "policy": None, "quantity": Fraction(0)}


def check_line(
    world: World, claim: Claim, line: dict[str, Any], earlier: list[dict[str, Any]],
    history: list[tuple[Claim, Verdict]],
) -> dict[str, Any]:  # fmt: skip
    item = world["items"][line["item"]]
    facility = world["facilities"][claim["facility"]]
    person = world["persons"][claim["number"]]
    listed = list_price(world, claim["facility"], line["item"], target_date(claim))
    if listed is None:
        return refused("not_in_price_list")
    if facility["care_type"] == "outpatient" and (item["care_type"] == "inpatient" or is_stay(claim)):
        return refused("care_type")
    if facility["care_type"] == "inpatient" and item["care_type"] == "outpatient":
        return refused("care_type")
    if person["sex"] != "O" and person["sex"] not in item["sexes"]:
        return refused("patient_category")
    if ("adult" if is_adult(world, claim) else "child") not in item["ages"]:
        return refused("patient_category")
    policies = [
        index
        for index in covering(world, claim["number"], target_date(claim))
        if line["item"] in world["packages"][world["policies"][index]["package"]]["items"]
    ]
    if not policies:
        return refused("not_covered")
    others = [
        (other, verdict)
        for other, verdict in history
        if other["number"] == claim["number"] and verdict["rejection"] is None
    ]
    here = sum(
        (
            said["quantity"]
            for asked, said in zip(claim["lines"], earlier, strict=False)
            if asked["item"] == line["item"]
        ),
        Fraction(0),
    )
    verdicts = [refusal_of(world, claim, line, index, here, others) for index in policies]
    passing = [(index, left) for index, (name, left) in zip(policies, verdicts, strict=True) if name is None]
    if not passing:
        return refused(str(verdicts[0][0]))
    left = passing[0][1]
    quantity = line["quantity"] if left is None else min(line["quantity"], left)
    for other, verdict in others:
        for theirs, said in zip(other["lines"], verdict["lines"], strict=True):
            days = abs((target_date(other) - target_date(claim)).days)
            if theirs["item"] == line["item"] and said["rejection"] is None and days < (item["frequency"] or 0):
                return refused("frequency")
    payer = choose(world, claim, line, listed, [index for index, _ in passing])
    passed = [index for index, _ in passing]
    return {"rejection": None, "policy": payer, "quantity": quantity, "passed": passed, "listed": listed}


def review(world: World, claim: Claim, verdict: Verdict, said: dict[int, dict[str, Any]]) -> None:
    """Section 4 and 5.4: a reviewer's decisions by the line's place: `reject`, or a `quantity` and a `price`."""
    for place, decision in said.items():
        line = verdict["lines"][place]
        if decision.get("reject"):
            line.update(rejection="reviewer", policy=None, quantity=Fraction(0))
            continue
        line["quantity"] = decision.get("quantity", line["quantity"])
        if "price" in decision:
            line["price"] = decision["price"]
            asked = claim["lines"][place]
            line["policy"] = choose(world, claim, asked, line["listed"], line["passed"], decision["price"])
    if all(line["rejection"] for line in verdict["lines"]):
        verdict["rejection"] = "all_lines_rejected"


def refusal_of(
    world: World, claim: Claim, line: dict[str, Any], index: int, here: Fraction, others: list[tuple[Claim, Verdict]]
) -> tuple[str | None, Fraction | None]:
    """17, 16 and the category's count by one policy: the reason, else what is left of the item (None: no limit)."""
    policy = world["policies"][index]
    terms = world["packages"][policy["package"]]
    of_item = terms["items"][line["item"]]
    adult = is_adult(world, claim)
    start, on = policy["effective"], target_date(claim)
    wait = by_age(of_item.get("waiting_months"), adult, 0)
    if wait and not policy["renewal"] and on < months_after(start, wait):
        return "waiting_period", None
    end = min(policy["ends"], policy["terminated"] or policy["ends"])
    within = [(other, verdict) for other, verdict in others if start <= target_date(other) <= end]
    most = by_age(of_item.get("max_provisions"), adult, None)
    left = None
    if most is not None:
        had = sum(
            said["quantity"]
            for other, verdict in within
            for theirs, said in zip(other["lines"], verdict["lines"], strict=True)
            if theirs["item"] == line["item"]
        )
        left = Fraction(most) - had - here
        if left <= 0:
            return "max_provisions", None
    name = COUNTS[category(world, claim)]
    if name in terms and sum(category(world, other) == category(world, claim) for other, _ in within) >= terms[name]:
        return name, None
    return None, left


def months_after(day: date, months: int) -> date:
    """The same day so many months later, or that month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, month + 1, min(day.day, last))
        except ValueError:
            continue
    raise AssertionError(day)


def choose(
    world: World, claim: Claim, line: dict[str, Any], listed: int, policies: list[int], reviewed: int | None = None
) -> int:
    """Section 5.1: which of several policies pays for a line."""
    if len(policies) == 1:
        return policies[0]
    adult = is_adult(world, claim)
    shares, limits = [], []
    for place, index in enumerate(policies):
        terms = world["packages"][world["policies"][index]["package"]]
        kind, value = limit_of(terms, line["item"], claim["visit_type"], adult)
        price = unit_price(terms, line["item"], listed, line["price"]) if reviewed is None else reviewed
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


def is_hospital_case(world: World, claim: Claim, terms: dict[str, Any]) -> bool:
    if terms.get("ceiling_interpretation", "stay") == "facility":
        return bool(world["facilities"][claim["facility"]]["level"] == "hospital")
    return is_stay(claim)


def scope_of(world: World, claim: Claim, policy: int, name: str) -> tuple[str, str, int] | None:
    """(level, scope, amount in minor units) of a package's deductible or ceiling in this case; None: there is none."""
    terms = world["packages"][world["policies"][policy]["package"]]
    limit = terms.get(name)
    if limit is None:
        return None
    hospital = is_hospital_case(world, claim, terms)
    for scope in ("general", "inpatient" if hospital else "outpatient"):
        if scope in limit:
            amount = int(Fraction(limit[scope]) * 100)
            if name == "ceiling" and limit["level"] == "policy":
                amount = extended(world, claim, policy, amount)
            return limit["level"], scope, amount
    return None


def extended(world: World, claim: Claim, policy: int, base: int) -> int:
    """Section 5.3: a policy's ceiling with the members that it covers on the target date."""
    terms = world["packages"][world["policies"][policy]["package"]]
    members = [n for n in world["policies"][policy]["members"] if alive(world, n, target_date(claim))]
    beyond = len(members) - terms.get("threshold_members", len(members))
    if beyond <= 0:
        return base
    amount = base + beyond * int(Fraction(terms.get("extra_member_ceiling", 0)) * 100)
    most = terms.get("max_policy_ceiling")
    return amount if most is None else min(amount, int(Fraction(most) * 100))


def alive(world: World, number: str, on: date) -> bool:
    died = world["persons"][number]["died"]
    return died is None or on <= died


def copayment_of(world: World, claim: Claim, terms: dict[str, Any]) -> dict[str, Any] | None:
    """The first co-payment whose condition holds."""
    for one in terms.get("copayments", ()):
        if "when" not in one or CONDITIONS[one["when"]](world, claim):
            found: dict[str, Any] = one
            return found
    return None


def household(world: World, claim: Claim) -> list[dict[str, Any]]:
    """Those who live in the patient's family: who died has left it."""
    (family,) = [members for members in world["families"] if claim["number"] in members]
    return [world["persons"][n] for n in family if world["persons"][n]["died"] is None]


# Conditions as packages write them, and what they mean.
CONDITIONS: dict[str, Callable[[World, Claim], bool]] = {
    "claim.visit_type = 'emergency'": lambda w, c: c["visit_type"] == "emergency",
    "not claim.referred": lambda w, c: c["visit_type"] != "referral",
    "claim.overnight and sex = 'F'": lambda w, c: is_stay(c) and w["persons"][c["number"]]["sex"] == "F",
    "claim.category in ['visit', 'consultation']": lambda w, c: category(w, c) in ("visit", "consultation"),
    "facility.level = 'hospital'": lambda w, c: w["facilities"][c["facility"]]["level"] == "hospital",
    "facility.care_type != 'both'": lambda w, c: w["facilities"][c["facility"]]["care_type"] != "both",
    "facility.is_first_service_point": lambda w, c: False,
    "age >= 18": is_adult,
    "size >= 2": lambda w, c: len(household(w, c)) >= 2,
    "count(members where age < 18) >= 1 and not claim.overnight": lambda w, c: (
        not is_stay(c) and any(age(p["born"], target_date(c)) < ADULT_FROM_YEARS for p in household(w, c))
    ),
    "poverty = 'high'": lambda w, c: False,
}


def used_before(
    world: World, history: list[tuple[Claim, Verdict, dict[str, Any]]], policy: int, name: str, level: str, scope: str,
    number: str,
) -> Fraction:  # fmt: skip
    """What other claims have used of a policy's deductible ("deducted") or ceiling ("payable")."""
    total = Fraction(0)
    for claim, verdict, result in history:
        if level == "treatment" or (level == "person" and claim["number"] != number):
            continue
        drawn = scope_of(world, claim, policy, name)
        if drawn is None or drawn[1] != scope:
            continue
        for line, valued in zip(verdict["lines"], result["lines"], strict=True):
            if line["policy"] == policy and valued is not None and not (name == "ceiling" and valued["excluded"]):
                total += valued["deducted" if name == "deductible" else "payable"]
    return total


def value(
    world: World, claim: Claim, verdict: Verdict, history: list[tuple[Claim, Verdict, dict[str, Any]]]
) -> dict[str, Any]:
    """Section 5.4 to 5.6 for a checked claim, after the other claims in `history`; None for a rejected line."""
    results: list[dict[str, Any] | None] = [None] * len(claim["lines"])
    left: dict[tuple[str, int, str], Fraction] = {}
    paid_by_patient: dict[int, Fraction] = {}
    capped: dict[int, int] = {}
    adult = is_adult(world, claim)
    kinds = [world["items"][line["item"]]["kind"] for line in claim["lines"]]
    for wanted in ("product", "service"):
        for place, line in enumerate(claim["lines"]):
            policy = verdict["lines"][place]["policy"]
            if kinds[place] != wanted or policy is None:
                continue
            terms = world["packages"][world["policies"][policy]["package"]]

            def take(name: str, wish: Fraction, policy: int = policy) -> Fraction | None:
                drawn = scope_of(world, claim, policy, name)
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
            price = verdict["lines"][place].get("price", unit_price(terms, line["item"], listed, line["price"]))
            quantity = verdict["lines"][place]["quantity"]
            asked = quantity * price
            kind, amount = limit_of(terms, line["item"], claim["visit_type"], adult)
            limited = min(asked, quantity * amount) if kind == "fixed" and amount else asked
            deducted = take("deductible", limited) or Fraction(0)
            exact = (limited - deducted) * (amount if kind == "coinsurance" else 100) / 100
            coinsured = half_up(exact)
            copayment = copayment_of(world, claim, terms)
            if copayment is not None and "percent" in copayment:
                exact = exact * (100 - Fraction(copayment["percent"])) / 100
            elif copayment is not None:
                # Once per claim and package, from its lines in order.
                copaid = min(exact, Fraction(copayment["amount"]) * 100 - paid_by_patient.get(policy, Fraction(0)))
                paid_by_patient[policy] = paid_by_patient.get(policy, Fraction(0)) + copaid
                exact -= copaid
            shared = half_up(exact)
            within = shared
            cap = terms.get("category_caps", {}).get(category(world, claim))
            if cap is not None:
                within = min(shared, int(Fraction(cap) * 100) - capped.get(policy, 0))
                capped[policy] = capped.get(policy, 0) + within
            exclusion = by_age(terms["items"][line["item"]].get("ceiling_exclusion"), adult, None)
            hospital = is_hospital_case(world, claim, terms)
            excluded = exclusion in ("both", "hospital" if hospital else "non_hospital")
            paid = None if excluded else take("ceiling", Fraction(within))
            payable = within if paid is None else int(paid)
            results[place] = {
                "unit_price": price, "asked": half_up(asked), "limited": limited, "deducted": deducted,
                "coinsured": coinsured, "shared": shared, "within": within, "above_ceiling": within - payable,
                "payable": payable, "excluded": excluded,
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
                ("coinsurance", valued["coinsured"]), ("copayment", valued["shared"]),
                ("category_cap", valued["within"]), ("ceiling", valued["payable"]),
            ]  # fmt: skip
        lines.append(
            {
                "line": place + 1,
                "item": line["item"],
                "status": "rejected" if refused else "passed",
                "rejection": refused,
                "rejection_code": CODES.get(refused) if refused else None,
                "quantity_approved": verdict["lines"][place]["quantity"],
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
