"""The audit log: one entry per command, written in the command's transaction; append-only for the application."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from imis_core.context import Context
from imis_core.parsing import plain
from imis_core.runtime_tables import audit_entries

INPUT_MAX: Final = 64 * 1024  # bytes of a request that the entry keeps; of larger ones only the digest


def write_entry(
    context: Context, accepted: int, refused: int, digest: str, shown: Any, *, approver: int | None = None
) -> None:
    """Write the entry of the running command. A set-based command has one entry: counts and the request's digest."""
    kept = plain(shown)
    if kept is not None and len(msgspec.json.encode(kept)) > INPUT_MAX:
        kept = None
    context.execute(
        sa.insert(audit_entries).values(
            id=context.audit,
            at=context.now,
            actor=context.caller.user,
            approver=approver,
            command=context.command,
            accepted=accepted,
            refused=refused,
            digest=digest,
            input=kept,
        )
    )
