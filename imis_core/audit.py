"""The audit log: one entry per command, written in the command's transaction; append-only for the application."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from attrs import evolve

from imis_core.context import Context
from imis_core.parsing import plain
from imis_core.runtime_tables import audit_entries

INPUT_MAX: Final = 64 * 1024  # bytes of a request that the entry keeps; of larger ones only the digest
_UNENCODABLE: Final = (RecursionError, ValueError, TypeError, OverflowError, msgspec.MsgspecError)


def request_digest(name: str, items: Sequence[Any]) -> str:
    """SHA-256 of a request in canonical form: the order of an object's members does not matter.

    An item that no JSON can hold (too deep, lone surrogates) counts as nothing: parsing refuses it.
    """
    try:
        canonical = _canonical([name, items])
    except _UNENCODABLE:
        canonical = _canonical([name, [_encodable(item) for item in items]])
    return hashlib.sha256(canonical).hexdigest()


def _canonical(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted", enc_hook=plain)


def _encodable(item: Any) -> Any:
    try:
        _canonical(item)
    except _UNENCODABLE:
        return None
    return item


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


def write_facts(context: Context, facts: Sequence[Any]) -> None:
    """Keep in the audit log, in an entry of its own, what the running command made: digests of files that leave it.

    The entry stands under the command's name, with as many accepted as there are facts; it is sealed like every other
    one, so that nobody changes a file and its digest unseen. More than fit into an entry are written as several.
    """
    shown = plain(list(facts))
    while shown:
        count = len(shown)
        while count > 1 and len(msgspec.json.encode(shown[:count])) > INPUT_MAX:
            count = -(-count // 2)
        digest = request_digest(context.command, shown[:count])
        write_entry(evolve(context, audit=_next_entry(context), events=[]), count, 0, digest, shown[:count])
        shown = shown[count:]


def _next_entry(context: Context) -> int:
    return int(context.execute(sa.text("SELECT nextval('core.audit_ids')")).scalar_one())
