"""The case of `claims.simulate`: a year of claims under a package whose every check is the proposal's."""

from __future__ import annotations

import resource
import time
from itertools import islice
from typing import Final

from tests.bench.cases import BATCH, ITEMS, each_claim, insured_families
from tests.bench.measure import Bench

LINES_OF_A_CLAIM: Final = 5


def simulate(at: Bench, lines: int) -> list[str]:
    """So many lines, simulated twice: a share changed, and the ceiling and all counts as well."""
    count = max(lines // LINES_OF_A_CLAIM, 1)
    families = max(count // 2, 1)
    database = at.clone(at.template())
    with at.app(database) as app:
        insured_families(app, families)
        caller = app.as_user("administrator")
        inputs = each_claim(count, families)
        while batch := list(islice(inputs, BATCH)):
            app.do_all("claims.submit", batch, as_=caller)
        app.do("claims.process", {"scheme": "chf"}, as_=caller)
        terms = {"insurance_months": 12, "premium_adult": "12", "premium_child": "5"}
        items = {f"I{n:02d}": {"percent": 90} for n in range(ITEMS)}
        counted = {code: {**item, "max_provisions": 20, "waiting_months": 1} for code, item in items.items()}
        ceiling = {"ceiling": {"level": "policy", "general": "300"}, "max_visits": 10}
        written = []
        for name, proposal in (
            ("shares only", {**terms, "items": items}),
            ("shares, ceiling, counts, provisions, waiting", {**terms, **ceiling, "items": counted}),
        ):
            asked = {"scheme": "chf", "package": "B", "terms": proposal, "from": "2021-01-01", "to": "2021-12-31"}
            before, started, busy = app.database.statements, time.perf_counter(), time.process_time()
            answer = app.do("claims.simulate", asked | {"contributions": True}, as_=caller)
            took, worked = time.perf_counter() - started, time.process_time() - busy
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            written.append(
                f"| {name} | {answer['lines']:,} | {took:.1f} s | {worked:.1f} s "
                f"| {app.database.statements - before} | {peak} MB |"
            )
    at.drop(database)
    return written
