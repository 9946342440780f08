"""What valuated claims took, given back as they are withdrawn: counters, ledger, and a last valuation of nothing.

Exactly what each line took goes back, whatever other claims took since. Those are not valued anew: what they were cut
by is free for the claims that come next. It judges no move.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imis_core.claims.counters import lock_usage, write_usage
from imis_core.claims.processing import claim_rows, plan_of
from imis_core.claims.stored_lines import read_lines
from imis_core.claims.tables import claim_valuations
from imis_core.context import Context
from imis_core.database.numbers import insert_numbers
from imis_core.ledger.book import EXPENSE, PAYABLE, post


def release(context: Context, scheme: str, numbers: Sequence[int]) -> None:
    """Give back what valuated claims of a scheme took; a constant number of statements. Subscribers are told.

    The last valuation, of nothing, is the next one after that which stood: who keeps sums subtracts the difference.
    """
    rows = claim_rows(context, numbers)
    stored = read_lines(context, [row.id for row in rows], [row.valuation for row in rows])
    plan = plan_of(context, scheme, rows, stored)
    write_usage(context, plan.given_back(lock_usage(context, plan.keys)))
    nothing = np.zeros(len(rows), dtype=np.int64)
    insert_numbers(
        context.connection,
        claim_valuations,
        {
            "claim": np.array([row.id for row in rows], dtype=np.int64),
            "valuation": np.array([row.valuation + 1 for row in rows], dtype=np.int64),
            "approved_minor": nothing,
            "payable_minor": nothing,
            "audit": np.full(len(rows), context.audit, dtype=np.int64),
        },
    )
    payable = int(stored.lines.payable_minor.sum())
    post(context, scheme, "claims.withdraw", {EXPENSE: -payable, PAYABLE: payable})
    told = {"scheme": scheme, "audit": context.audit, "claims": len(rows)}
    context.emit("claims_valuated", scheme, told, scheme=scheme)
