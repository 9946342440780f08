"""What a failure of the database means to whoever asked: a stable code and a sentence, by PostgreSQL's own error codes.

Only of failures that pass by themselves or by the operator's hand; what is wrong with a statement is a defect of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg
import sqlalchemy as sa

from imis_core.errors import Refusal

_LATER: Final = "nothing was changed; send it again later"
_BUSY: Final = Refusal("database.busy", f"the database has too much to do at the moment; {_LATER}")
_FULL: Final = Refusal("database.disk_full", f"the disk of the database is full; {_LATER}, when there is room again")
_TIMEOUT: Final = Refusal("database.timeout", "the request took too long and was broken off; send it in smaller parts")
_READ_ONLY: Final = Refusal("database.read_only", f"the database takes no changes at the moment; {_LATER}")
AWAY: Final = Refusal("database.unreachable", f"the database cannot be used at the moment; {_LATER}")
# By PostgreSQL's code, or its class (the first two characters).
_OF_CODE: Final[Mapping[str, Refusal]] = {
    "40": _BUSY,  # lost against others each time: serialization, deadlock
    "53": _BUSY,  # too many connections, out of memory
    "53100": _FULL,
    "55P03": _BUSY,  # a lock was not to be had in time
    "57014": _TIMEOUT,
    "25006": _READ_ONLY,
    "25P03": _TIMEOUT,  # a transaction in which nothing happened for too long
    "25P04": _TIMEOUT,
    "57": AWAY,  # shut down, crashed, starting
    "58": AWAY,  # the system under the server
    "08": AWAY,
}


def fault_of(error: BaseException) -> Refusal | None:
    """How a failure of the database is told; None for an error that is no such failure."""
    if isinstance(error, sa.exc.TimeoutError):  # every connection of the pool is in use
        return _BUSY
    if isinstance(error, sa.exc.DBAPIError):
        if error.orig is not None and (found := _of_driver(error.orig)) is not None:
            return found
        return AWAY if error.connection_invalidated or isinstance(error, sa.exc.OperationalError) else None
    return _of_driver(error)


def _of_driver(error: BaseException) -> Refusal | None:
    if not isinstance(error, psycopg.Error):
        return None
    code = error.sqlstate
    if code is not None:
        return _OF_CODE.get(code, _OF_CODE.get(code[:2]))
    return AWAY if isinstance(error, psycopg.OperationalError) else None
