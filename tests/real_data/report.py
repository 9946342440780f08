"""The table of outcomes of the real data, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from imis_core.eligibility.rejections import Rejection
from tests.real_data.package import FREQUENCY_DAYS, LIMITS, PACKAGE, SHARES
from tests.real_data.run import YEARS, Outcome


def as_markdown(outcome: Outcome, seconds: float) -> str:
    """The outcome as the page `docs/real-data.md`."""
    return "\n".join(
        [
            "# Real input: the Synthea sample",
            "",
            "A synthetic population (615 persons, 22,810 claims, Synthea, Apache-2.0) goes through the whole system",
            "by `nox -s real-data -- FOLDER`: imported from its own files with the mapping files in",
            "`tests/real_data/maps`, each household enrolled (later renewed) and paid on 1 January of",
            f"{YEARS[0]} to {YEARS[-1]}, claims submitted, valuated, asked for, approved by a second person, paid and",
            "reconciled. The run fails unless every row is loaded or listed, every total ties to the ledger and the",
            "auditor finds nothing. It writes this page.",
            "",
            f"Package `{PACKAGE['code']}` (`tests/real_data/package.py`):",
            "",
            *_package(),
            "The scheme pays " + ", ".join(f"{s} % of {c}" for c, s in SHARES.items()) + ".",
            "",
            "## Rows",
            "",
            *table(
                ("file", "rows", "loaded", "listed as refused", "reasons"),
                (
                    (kind, r.rows, r.loaded, r.refused, ", ".join(f"{c}: {n:,}" for c, n in r.reasons.items()))
                    for kind, r in outcome.imports.items()
                ),
            ),
            "",
            "A claim without a diagnosis is refused at entry (`input.invalid.required diagnosis`) and listed in the",
            "file of errors, to be completed and imported again.",
            "",
            "## Policies",
            "",
            f"{outcome.policies:,} policies over {len(YEARS)} years, contributions {outcome.contributions:,}.",
            "Not enrolled:",
            "; ".join(f"{n} x {reason}" for reason, n in sorted(outcome.refusals.items()))
            + " (households of which nobody was alive on that day).",
            "",
            "## Claims",
            "",
            *table(("code", "outcome of the checks", "claims", "lines"), _by_code(outcome)),
            "",
            *table(("finally", "claims"), sorted(outcome.statuses.items())),
            "",
            "`no_coverage`: target dates outside the years of cover, and persons whose cover ended. `person_invalid`:",
            "claims that begin after the person's death.",
            "",
            "## Money",
            "",
            *table(
                ("figure", "amount"),
                (
                    ("claimed, all stored claims", outcome.claimed),
                    ("payable, valuated claims", outcome.payable),
                    (f"paid by {outcome.orders} orders, one per facility", outcome.paid),
                    *((f"ledger: {account}", amount) for account, amount in sorted(outcome.ledger.items())),
                    ("ledger balanced", "yes" if outcome.balanced else "NO"),
                ),
            ),
            "",
            f"The run took {seconds:.0f} seconds on 2 shared cores, a temporary embedded PostgreSQL included.",
            "",
        ]
    )


def _package() -> Iterable[str]:
    """The package's limits in words."""
    one = LIMITS
    yield f"- premium {one['premium_adult']} an adult, {one['premium_child']} a child;"
    yield f"- deductible {one['deductible']['general']} a treatment;"
    yield f"- a hospitalisation at most {one['category_caps']['hospitalisation']};"
    yield f"- ceiling {one['ceiling']['general']} a policy, {one['extra_member_ceiling']} more for each member"
    yield f"  beyond {one['threshold_members']}, up to {one['max_policy_ceiling']};"
    yield f"- {one['max_consultations']} consultations, {one['max_hospitalisations']} hospitalisations a person a year;"
    yield "- a co-payment of 10 % at a hospital without referral or emergency, none below the age of 5;"
    yield "- again after " + ", ".join(f"{days} days ({kind})" for kind, days in FREQUENCY_DAYS.items()) + ";"
    yield "- at most 3 immunizations of a kind, 12 medications (children 6), 8 procedures a person a year;"
    yield "- two months of waiting for procedures of adults in the first year; immunizations use no ceiling."
    yield ""


def _by_code(outcome: Outcome) -> Iterable[tuple[object, ...]]:
    codes = {code for code, _ in outcome.codes}
    for code in sorted(codes, key=lambda c: (c is not None, c or 0)):
        name = "passed" if code is None else Rejection(code).label
        yield "" if code is None else str(code), name, outcome.codes[code, "claims"], outcome.codes[code, "lines"]


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    shown = [tuple(f"{cell:,}" if not isinstance(cell, str) else cell for cell in row) for row in rows]
    return [f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *shown)]
