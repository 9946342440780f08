"""Random worlds, claims and runs end to end: whatever the batches and their order, the answers are the oracle's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imis_core.opening import Playground
from imis_core.testing.app import TestApp, test_application
from imis_core.testing.auditor import assert_sound
from tests.claims import oracle
from tests.claims.oracle import Claim, Verdict, World, target_date
from tests.claims.worlds import TODAY, Told, claims_of, quantity_text, worlds

MILLI = 1000
examples = count()


@pytest.fixture(scope="module")
def app(playground: Playground) -> Iterator[TestApp]:
    with test_application(playground, TODAY) as opened:
        opened.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
        yield opened
        assert_sound(opened)


Step = tuple[str, Any]


@st.composite
def histories(draw: st.DrawFn) -> tuple[World, dict[str, Claim], list[Step]]:
    """A world, its claims, and the steps: submitted in some order and batches, reviewed, processed, withdrawn."""
    world = draw(worlds())
    numbers = sorted(world["persons"])
    claims = {f"C{i}": draw(claims_of(f"C{i}", numbers)) for i in range(draw(st.integers(2, 8)))}
    waiting = list(draw(st.permutations(sorted(claims))))
    steps: list[Step] = []
    submitted: list[str] = []
    while waiting:
        size = draw(st.integers(1, len(waiting)))
        batch, waiting = waiting[:size], waiting[size:]
        steps.append(("submit", batch))
        submitted += batch
        for code in draw(st.lists(st.sampled_from(submitted), max_size=2, unique=True)):
            steps.append(("review", (code, draw(reviews(claims[code])))))
        match draw(st.sampled_from(["all", "named", "nothing"])):
            case "all":
                steps.append(("process", None))
            case "named":
                steps.append(("process", draw(st.lists(st.sampled_from(submitted), unique=True))))
        if draw(st.booleans()):
            steps.append(("withdraw", draw(st.lists(st.sampled_from(submitted), max_size=2, unique=True))))
    steps.append(("process", None))
    steps.append(("withdraw", draw(st.lists(st.sampled_from(submitted), max_size=2, unique=True))))
    steps.append(("process", draw(st.lists(st.sampled_from(submitted), unique=True))))  # again, with the same result
    return world, claims, steps


@st.composite
def reviews(draw: st.DrawFn, claim: Claim) -> dict[int, dict[str, Any]]:
    """Decisions on lines by place: refused, or a price and a part of the quantity, in thousandths of what there is."""
    said: dict[int, dict[str, Any]] = {}
    for place, line in enumerate(claim["lines"]):
        match draw(st.sampled_from(["nothing", "nothing", "reject", "price", "price", "quantity"])):
            case "reject":
                said[place] = {"reject": True}
            case "price":
                said[place] = {"price": line["price"] * draw(st.integers(0, 100)) // 100}
            case "quantity":
                said[place] = {"part": draw(st.integers(1, 1000))}
    return said


class Expected:
    """What the oracle makes of the steps: one claim at a time, in order of target date, then code."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.verdicts: dict[str, Verdict] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.claims: dict[str, Claim] = {}
        self.withdrawn: set[str] = set()

    def submit(self, claim: Claim) -> None:
        self.claims[claim["code"]] = claim
        before = [(self.claims[o], verdict) for o, verdict in self.verdicts.items() if o not in self.withdrawn]
        self.verdicts[claim["code"]] = oracle.check(self.world, claim, before)

    def review(self, code: str, said: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
        """Decide, as far as there is something to decide; what is decided, by place."""
        if not self.stands(code) or code in self.results:
            return {}
        decided = {}
        for place, decision in said.items():
            line = self.verdicts[code]["lines"][place]
            if line["rejection"] is None:
                decided[place] = decision
                if "part" in decision:
                    decided[place] = {"quantity": Fraction(max(1, int(line["quantity"] * decision["part"])), 1000)}
        oracle.review(self.world, self.claims[code], self.verdicts[code], decided)
        return decided

    def process(self, named: list[str] | None) -> int:
        checked = [code for code in self.verdicts if self.stands(code)]
        chosen = [c for c in checked if (c not in self.results if named is None else c in named)]
        for code in sorted(chosen, key=lambda c: (target_date(self.claims[c]), c)):
            if code in self.results:
                continue  # computed again: the same
            others = [(self.claims[o], self.verdicts[o], r) for o, r in self.results.items()]
            self.results[code] = oracle.value(self.world, self.claims[code], self.verdicts[code], others)
        return len(chosen)

    def stands(self, code: str) -> bool:
        return self.verdicts[code]["rejection"] is None and code not in self.withdrawn

    def withdraw(self, code: str) -> None:
        """As if it had never been there, for all that comes after; what others were valued at stays."""
        self.withdrawn.add(code)
        self.results.pop(code, None)

    def shown(self, code: str) -> dict[str, Any]:
        if code in self.withdrawn:
            told = oracle.shown(self.world, self.claims[code], self.verdicts[code], None)
            return told | {"status": "withdrawn", "approved": "0.00", "payable": "0.00"}
        return oracle.shown(self.world, self.claims[code], self.verdicts[code], self.results.get(code))


ENTERED = (
    "kind",
    "quantity",
    "price",
    "claimed",
    "justification",
)  # of a line as it came in: the oracle computes the rest


def shown(told: Told, code: str) -> dict[str, Any]:
    answer = told.app.do("claims.show", {"claim": told.name(code)})
    kept = ("status", "rejection", "rejection_code", "category", "claimed", "approved", "payable")
    lines = [
        {
            **{name: value for name, value in line.items() if name not in ENTERED},
            "item": line["item"].removeprefix(told.prefix),
            "quantity_approved": Fraction(line["quantity_approved"]),
        }
        for line in answer["lines"]
    ]
    return {**{name: answer[name] for name in kept}, "lines": lines}


def balances(app: TestApp) -> Counter[str]:
    answer = app.do("ledger.balances", {"scheme": "chf"})
    assert answer["balanced"]
    return Counter({name: int(Fraction(amount) * 100) for name, amount in answer["accounts"].items()})


def said_of(place: int, decision: dict[str, Any]) -> dict[str, Any]:
    """A decision on a line as `claims.review` takes it."""
    said: dict[str, Any] = {"line": place + 1, "justification": "as the guideline says"}
    if "price" in decision:
        said["price"] = oracle.money(decision["price"])
    if "quantity" in decision:
        said["quantity"] = quantity_text(decision["quantity"])
    return said | ({"reject": True} if "reject" in decision else {})


UNPAID = """
    SELECT coalesce(sum(v.payable_minor), 0)::bigint AS owed FROM core.claim_current t
    JOIN core.claim_valuations v ON v.claim = t.claim AND v.valuation = t.valuation WHERE t.state = 4
"""
RESULTS = """
    SELECT k.cover_kind, coalesce(v.cover, k.cover) AS cover, c.person, c.from_date <> c.to_date AS stay,
           c.facility_level, c.adult, i.code AS item, r.deducted_milli, r.payable_minor
    FROM core.claim_current t JOIN core.claims c ON c.id = t.claim
    JOIN core.claim_results r ON r.claim = t.claim AND r.valuation = t.valuation
    JOIN core.claim_line_checks k ON k.claim = r.claim AND k.line = r.line
    LEFT JOIN core.claim_line_reviews v ON v.claim = r.claim AND v.line = r.line AND v.review = t.review
    JOIN core.claim_lines l ON l.claim = r.claim AND l.line = r.line JOIN core.items i ON i.id = l.item
    WHERE coalesce(v.cover, k.cover) = ANY(:covers)
"""
USAGE = "SELECT cover_kind, cover, person, counter, used FROM core.cover_usage WHERE cover = ANY(:covers) AND used <> 0"


def rebuilt_usage(told: Told, covers: dict[int, int]) -> dict[tuple[str, int, int, str], int]:
    """The counters of this world's policies, summed anew from the results of all claims."""
    found: Counter[tuple[str, int, int, str]] = Counter()
    for row in told.app.rows(RESULTS, covers=list(covers)):
        terms = told.world["packages"][told.world["policies"][covers[row["cover"]]]["package"]]
        facility_decides = terms.get("ceiling_interpretation") == "facility"
        hospital = row["facility_level"] == "hospital" if facility_decides else row["stay"]
        of_item = terms["items"][row["item"].removeprefix(told.prefix)]
        exclusion = oracle.by_age(of_item.get("ceiling_exclusion"), row["adult"], None)
        excluded = exclusion in ("both", "hospital" if hospital else "non_hospital")
        for name, column in (("deductible", "deducted_milli"), ("ceiling", "payable_minor")):
            limit = terms.get(name)
            scope = next(
                (s for s in ("general", "inpatient" if hospital else "outpatient") if limit and s in limit), None
            )
            if name == "ceiling" and excluded:
                continue
            if limit is not None and scope is not None and limit["level"] != "treatment":
                person = row["person"] if limit["level"] == "person" else 0
                found[row["cover_kind"], row["cover"], person, f"{name}.{scope}"] += row[column]
    return {key: used for key, used in found.items() if used}


@settings(
    max_examples=30, deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(histories())
def test_claims_are_checked_valuated_and_taken_back_as_the_rules_say(
    app: TestApp, history: tuple[World, dict[str, Claim], list[Step]]
) -> None:
    """Whatever batches, order, runs, reviews and withdrawals: verdicts, amounts, counters and ledger are right."""
    world, claims, steps = history
    told = Told(app, f"X{next(examples):04d}", world)
    expected = Expected(world)
    before = balances(app)
    for verb, codes in steps:
        if verb == "submit":
            assert codes is not None
            answers = app.do_all("claims.submit", [told.submission(claims[code]) for code in codes])
            for code, answer in zip(codes, answers, strict=True):
                expected.submit(claims[code])
                wanted = expected.shown(code)
                assert {name: answer[name] for name in ("status", "rejection", "category", "claimed")} == {
                    name: wanted[name] for name in ("status", "rejection", "category", "claimed")
                }
        elif verb == "review":
            code, said = codes
            if decided := expected.review(code, said):
                app.do("claims.review", {"claim": told.name(code), "lines": [said_of(*one) for one in decided.items()]})
        elif verb == "withdraw":
            assert codes is not None
            standing = [code for code in codes if expected.stands(code)]
            app.do_all("claims.withdraw", [{"claim": told.name(code), "reason": "double"} for code in standing])
            for code in standing:
                expected.withdraw(code)
        else:
            known = None if codes is None else [c for c in codes if expected.stands(c)]
            data = {"scheme": "chf"} | ({} if known is None else {"claims": [told.name(c) for c in known]})
            done = expected.process(known)
            assert app.do("claims.process", data) == {"processed": done, "valuated": done, "rejected": 0}
    final = {code: shown(told, code) for code in claims}
    assert final == {code: expected.shown(code) for code in claims}

    owed = sum(result["payable"] for result in expected.results.values())
    after = balances(app)
    assert after["benefits_expense"] - before["benefits_expense"] == owed
    assert after["benefits_payable"] - before["benefits_payable"] == -owed
    assert after["benefits_payable"] == -app.rows(UNPAID)[0]["owed"]

    numbers = [app.ids.decode("coverages", policy) for policy in told.policies]
    covers = {number: index for index, number in enumerate(numbers) if number is not None}
    usage = {
        (row["cover_kind"], row["cover"], row["person"], row["counter"]): row["used"]
        for row in app.rows(USAGE, covers=list(covers))
    }
    assert usage == rebuilt_usage(told, covers)

    valuated = [told.name(code) for code in expected.results]
    entries = app.rows("SELECT count(*) AS n FROM core.ledger_entries")[0]["n"]
    app.do("claims.process", {"scheme": "chf", "claims": valuated})
    assert {code: shown(told, code) for code in claims} == final
    assert app.rows("SELECT count(*) AS n FROM core.ledger_entries")[0]["n"] == entries
