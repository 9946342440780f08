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
from tests.claims.worlds import TODAY, Told, claims_of, worlds

MILLI = 1000
examples = count()


@pytest.fixture(scope="module")
def app(playground: Playground) -> Iterator[TestApp]:
    with test_application(playground, TODAY) as opened:
        opened.do("catalogue.add_diagnosis", {"code": "A09", "name": "Gastroenteritis"})
        yield opened
        assert_sound(opened)


Step = tuple[str, list[str] | None]


@st.composite
def histories(draw: st.DrawFn) -> tuple[World, dict[str, Claim], list[Step]]:
    """A world, its claims, and the steps: claims submitted in some order and batches, processed in some runs."""
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
        match draw(st.sampled_from(["all", "named", "nothing"])):
            case "all":
                steps.append(("process", None))
            case "named":
                steps.append(("process", draw(st.lists(st.sampled_from(submitted), unique=True))))
    steps.append(("process", None))
    return world, claims, steps


class Expected:
    """What the oracle makes of the steps: one claim at a time, in order of target date, then code."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.verdicts: dict[str, Verdict] = {}
        self.results: dict[str, dict[str, Any]] = {}
        self.claims: dict[str, Claim] = {}

    def submit(self, claim: Claim) -> None:
        self.claims[claim["code"]] = claim
        before = [(self.claims[code], verdict) for code, verdict in self.verdicts.items()]
        self.verdicts[claim["code"]] = oracle.check(self.world, claim, before)

    def process(self, named: list[str] | None) -> int:
        checked = [code for code, verdict in self.verdicts.items() if verdict["rejection"] is None]
        chosen = [c for c in checked if (c not in self.results if named is None else c in named)]
        for code in sorted(chosen, key=lambda c: (target_date(self.claims[c]), c)):
            if code in self.results:
                continue  # computed again: the same
            others = [(self.claims[o], self.verdicts[o], r) for o, r in self.results.items() if o != code]
            self.results[code] = oracle.value(self.world, self.claims[code], self.verdicts[code], others)
        return len(chosen)

    def shown(self, code: str) -> dict[str, Any]:
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


UNPAID = """
    SELECT coalesce(sum(v.payable_minor), 0)::bigint AS owed FROM core.claim_current t
    JOIN core.claim_valuations v ON v.claim = t.claim AND v.valuation = t.valuation WHERE t.state = 4
"""
RESULTS = """
    SELECT k.cover_kind, k.cover, c.person, c.from_date <> c.to_date AS stay, c.facility_level, c.adult,
           i.code AS item, r.deducted_milli, r.payable_minor
    FROM core.claim_current t JOIN core.claims c ON c.id = t.claim
    JOIN core.claim_results r ON r.claim = t.claim AND r.valuation = t.valuation
    JOIN core.claim_line_checks k ON k.claim = r.claim AND k.line = r.line
    JOIN core.claim_lines l ON l.claim = r.claim AND l.line = r.line JOIN core.items i ON i.id = l.item
    WHERE k.cover = ANY(:covers)
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
def test_claims_are_checked_and_valuated_as_the_rules_say(
    app: TestApp, history: tuple[World, dict[str, Claim], list[Step]]
) -> None:
    """However claims are batched, ordered and processed: verdicts, amounts, counters and ledger are the rules'."""
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
        else:
            known = None if codes is None else [c for c in codes if expected.verdicts[c]["rejection"] is None]
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
