"""What follows from a payroll reaches all of its orders and recipients, whoever started it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve

from imis_core.context import Context
from imis_core.database.engine import set_scope


@contextmanager
def whole_payrolls(context: Context) -> Iterator[None]:
    """Look beyond the caller's places for a while.

    The caller has been judged already: the payroll, the entitlement or the order is theirs. Its members, recipients
    and orders may stand elsewhere, and half a payroll must not be rejected, nor half a household counted.
    """
    caller = context.caller
    if caller.everywhere:
        yield
        return
    context.caller = evolve(caller, everywhere=True)
    set_scope(context.connection, context.caller)
    yield
    # Not in a `finally`: an exception ends the transaction, and with it the scope.
    context.caller = caller
    set_scope(context.connection, caller)
