"""`python -m tests.bench [--runs N] [--small] [--write FILE]`: every figure beside its floor, as Markdown.

`--simulate LINES` instead: a year of so many lines under proposed packages.
`--payees N` instead: a payroll of N payees, generated, approved, sent to a bank and reconciled.
`--scale N [--older LINES]` instead: N claims and twice as many, once each, with so many older lines in the tables.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import costs, payees, suite
from tests.bench.goals import goals

HEAD = (
    "| case | items | time | rate | floor | floor / case | rows | statements | per item | WAL bytes per item "
    "| peak memory |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


SCALE_HEAD = (
    "| claims | older lines | submitted in | processed in | rate | statements a batch | of process | floor "
    "| floor / case | peak memory |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


SIMULATE_HEAD = (
    "| proposal | lines | time | of it computing here | statements | peak memory |\n"
    "| --- | --- | --- | --- | --- | --- |"
)


def in_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Each case in a process of its own, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="a quick look; the figures mean little")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--scale", type=int, help="claims: this many and twice as many, nothing else")
    parser.add_argument("--older", type=int, default=0, help="with --scale: older lines in the tables")
    parser.add_argument("--simulate", type=int, help="lines of a year that is simulated, nothing else")
    parser.add_argument("--payees", type=int, help="a payroll of so many payees from its generation on, nothing else")
    arguments = parser.parse_args()
    if arguments.payees is not None:
        print("\n".join([payees.HEAD, *in_process(suite.payees, arguments.payees)]))
        return 0
    if arguments.simulate is not None:
        print("\n".join([SIMULATE_HEAD, *in_process(suite.simulation, arguments.simulate)]))
        return 0
    if arguments.scale is not None:
        print("\n".join([SCALE_HEAD, *in_process(suite.scale, arguments.scale, arguments.older)]))
        return 0
    cases = (suite.persons, suite.families, suite.claims, suite.payroll)
    figures = []
    for case in cases:
        figures += in_process(case, arguments.small, arguments.runs)
        print(figures[-1].line(), file=sys.stderr)  # what was measured is not lost if a later case fails
    per_batch = in_process(suite.statements, arguments.small, arguments.runs)
    per_families = in_process(suite.family_statements, arguments.small, arguments.runs)
    per_payroll = in_process(suite.payroll_statements, arguments.small, arguments.runs)
    shares = in_process(suite.shares, arguments.small, arguments.runs)
    delays = in_process(suite.delays, arguments.small, arguments.runs)
    print(*per_batch, *per_families, *per_payroll, *shares, delays, sep="\n", file=sys.stderr)
    text = "\n".join(
        [
            "# Performance",
            "",
            "Written by `./dev bench --write docs/performance.md`. Ratios and statement counts are what counts: the",
            "floor is COPY (INSERT..SELECT for what is made in the database) of the very rows that the case wrote",
            "(histories, digests, audit, ledger, outbox among them) into the same tables with the same indexes and",
            "foreign keys, in one synced commit of the same run, with the framework's own triggers off.",
            "`floor / case` of 1 would be as fast as the floor alone. The floors are all in `tests/bench/floors.py`;",
            "every check, audit, ledger and outbox is on in the cases.",
            "",
            f"Measured on {datetime.now(UTC).date()}, {os.cpu_count()} shared cores ({platform.machine()}), Python",
            f"{platform.python_version()}, the embedded PostgreSQL with its default settings (synced commits);",
            f"medians of {arguments.runs} runs, each on a fresh clone, each beside its floor.",
            "",
            HEAD,
            *(figure.line() for figure in figures),
            "",
            "| batch | older lines | statements of claims.submit | of claims.process |",
            "| --- | --- | --- | --- |",
            *per_batch,
            "",
            "| families | statements of beneficiaries.register_group | of coverage.enrol | of contributions.record |",
            "| --- | --- | --- | --- |",
            *per_families,
            "",
            "| payroll of | statements of payroll.generate | of payroll.approve |",
            "| --- | --- | --- |",
            *per_payroll,
            "",
            "## What audit, outbox and the log of reads cost",
            "",
            "The same work with and without what writes them, in turn. Required: audit and outbox at most 30 % of a",
            "single-row command and 2 % of a set-based one; events delivered within a second at 500 a second.",
            "",
            costs.HEAD,
            *shares,
            "",
            f"Outbox: {delays}.",
            "",
            "## Against the goals",
            "",
            *goals(),
            "",
            "Required: import of persons at least 0.25 x COPY, claims at least 0.25 x COPY, a payroll of 100,000",
            "generated at least 0.3 x INSERT..SELECT in a constant number of statements. Goal: 1,000 families/s with",
            "cover and contribution. `claims.process` works in",
            "chunks of 20,000 claims with the same number of statements each.",
            "",
        ]
    )
    print(text)
    if arguments.write is not None:
        arguments.write.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
