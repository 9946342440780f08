"""Guessing passwords gets slow: failed logins are counted by name and by address, in the database, for all processes.

After so many failures a name or an address is locked for a pause that doubles with each further one; a locked one is
refused whatever the password. Names are counted whether or not somebody is called so, so that nobody learns who is.
A successful login writes nothing here but to forget the name's failures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import TYPE_CHECKING, Final, Literal

import sqlalchemy as sa

from imis_core.database.arrays import any_of
from imis_core.errors import ImisError, refused
from imis_core.protection import SecurityTable
from imis_core.security.tables import login_failures, users

if TYPE_CHECKING:
    from imis_core.application import Application

FORGOTTEN: Final = timedelta(hours=1)  # after the last failure and its pause
_DOUBLINGS_MAX: Final = 20
_NAME, _ADDRESS = "name:", "address:"
# `of_name` of a row of `users`, in the database.
SUBJECT: Final = sa.literal(_NAME, sa.Text) + sa.func.encode(
    sa.func.sha256(sa.func.convert_to(users.c.name, "UTF8")), "hex"
)
_LOCKED: Final = sa.text("SELECT max(locked_until) FROM core.login_failures WHERE subject = ANY(:subjects)")
_COUNT: Final = sa.text(
    "INSERT INTO core.login_failures AS f (subject, failures, failed_at) "
    "SELECT subject, 1, :now FROM unnest(CAST(:subjects AS text[])) AS subject "
    "ON CONFLICT (subject) DO UPDATE SET failed_at = excluded.failed_at, failures = "
    "CASE WHEN greatest(f.failed_at, f.locked_until) < :forgotten THEN 1 ELSE f.failures + 1 END "
    "RETURNING subject, failures, locked_until"
)
_LOCK: Final = sa.text("UPDATE core.login_failures SET locked_until = :until WHERE subject = :subject")


def of_name(name: str) -> str:
    """What failures of a name are counted under."""
    return _NAME + hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()


def of_address(address: str) -> str:
    """What failures from an address are counted under; of IPv6 its network of 64 bits, which one machine has whole."""
    try:
        known = ip_address(address)
    except ValueError:
        return _ADDRESS + address[:100]
    if isinstance(known, IPv6Address):
        if known.ipv4_mapped is not None:
            return f"{_ADDRESS}{known.ipv4_mapped}"
        return f"{_ADDRESS}{ip_network((known, 64), strict=False).network_address}/64"
    return f"{_ADDRESS}{known}"


def subjects_of(name: str, address: str | None) -> list[str]:
    """What a login is counted under, in the order in which rows are locked."""
    return sorted([of_name(name)] + ([] if address is None else [of_address(address)]))


def pause_after(failures: int, threshold: int, settings: SecurityTable) -> timedelta | None:
    """The pause after so many failures; None below the threshold."""
    if failures < threshold:
        return None
    seconds = settings.pause_seconds * 2 ** min(failures - threshold, _DOUBLINGS_MAX)
    return timedelta(seconds=min(seconds, settings.pause_max_minutes * 60))


def check(connection: sa.Connection, subjects: Sequence[str], now: datetime) -> None:
    """Raises `auth.locked` while one of them is locked."""
    until = connection.execute(_LOCKED, {"subjects": list(subjects)}).scalar()
    if until is not None and until > now:
        raise locked(until - now)


def locked(left: timedelta) -> ImisError:
    """`auth.locked`, with the seconds that are left; the same for a name and an address."""
    seconds = max(1, ceil(left.total_seconds()))
    message = f"too many failed logins; try again in {seconds} seconds, or ask an administrator to unlock you"
    return refused("auth.locked", message, retry_after=seconds)


def count_failure(app: Application, subjects: Sequence[str]) -> None:
    """Count one more failure, in a transaction of its own. Raises `auth.locked` if another one locked it meanwhile."""
    now, settings = app.clock.now(), app.settings.security
    with app.database.command(app.system) as (connection, _):
        rows = connection.execute(_COUNT, {"subjects": list(subjects), "now": now, "forgotten": now - FORGOTTEN}).all()
        meanwhile = [row.locked_until for row in rows if row.locked_until is not None and row.locked_until > now]
        for row in rows:
            named = row.subject.startswith(_NAME)
            threshold = settings.failures_per_name if named else settings.failures_per_address
            pause = pause_after(row.failures, threshold, settings)
            if pause is not None and not meanwhile:
                connection.execute(_LOCK, {"until": now + pause, "subject": row.subject})
    if meanwhile:
        raise locked(max(meanwhile) - now)


def forget(connection: sa.Connection, subjects: Sequence[str]) -> int:
    """Forget failures: after a successful login, or because an administrator says so. How many were forgotten."""
    statement = sa.delete(login_failures).where(login_failures.c.subject == any_of(subjects, sa.Text))
    return len(connection.execute(statement.returning(login_failures.c.subject)).all())


Kind = Literal["user", "address", "unknown_name"]


def names_of(connection: sa.Connection, subjects: Sequence[str]) -> list[tuple[Kind, str | None]]:
    """What each subject is about: the user of the name, or the address; one statement."""
    named = [s for s in subjects if s.startswith(_NAME)]
    rows = connection.execute(
        sa.select(users.c.name, SUBJECT.label("subject")).where(
            sa.any_(sa.literal(named, sa.ARRAY(sa.Text))) == SUBJECT
        )
    )
    known = {row.subject: str(row.name) for row in rows}
    return [
        ("address", s.removeprefix(_ADDRESS)) if s.startswith(_ADDRESS)
        else ("user", known[s]) if s in known else ("unknown_name", None)
        for s in subjects
    ]  # fmt: skip
