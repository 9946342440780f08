"""The table of outcomes of the real data, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from tests.real_data.run import CEILING, DEDUCTIBLE, PACKAGE, SHARE_BY_CATEGORY, TERMS, YEARS, Outcome


def as_markdown(outcome: Outcome, seconds: float) -> str:
    """The outcome as the page `docs/real-data.md`."""
    claims = outcome.imports["claims"]
    return "\n".join(
        [
            "# Real input: the Synthea sample",
            "",
            "A synthetic population (615 persons, 22,810 claims, Synthea, Apache-2.0) goes through the whole system",
            "by `nox -s real-data -- FOLDER`: imported from its own files with the mapping files in",
            f"`tests/real_data/maps`, each household enrolled and paid on 1 January of {YEARS[0]} to {YEARS[-1]},",
            "claims submitted, valuated, asked for, approved by a second person, paid and reconciled. The run",
            "fails unless every row is loaded or listed and every total ties to the ledger. It writes this page.",
            "",
            f"Package `{PACKAGE['code']}`: premium {TERMS['premium_adult']} an adult, {TERMS['premium_child']} child;",
            f"treatment deductible {DEDUCTIBLE}; policy ceiling {CEILING};",
            "the scheme pays " + ", ".join(f"{s} % of {c}" for c, s in SHARE_BY_CATEGORY.items()) + ".",
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
            *table(("after the checks", "claims"), ((name, n) for name, n in sorted(claims.outcomes.items()))),
            "",
            *table(("lines", "count"), sorted(outcome.line_outcomes.items())),
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


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    shown = [tuple(f"{cell:,}" if not isinstance(cell, str) else cell for cell in row) for row in rows]
    return [f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *shown)]
