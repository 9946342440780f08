"""`imis doctor`: what is wrong or will be, each finding with its severity and its remedy. It changes nothing.

This module looks at what needs no database: settings, plugins, account, keys, disk, the embedded server, backups.
`doctor_database` looks into the database. A check that cannot be made is a finding too.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from attrs import frozen

from imis_core.application import Composition
from imis_core.cards.keys import FILE as CARD_KEYS
from imis_core.cards.keys import KeyRing
from imis_core.database import embedded
from imis_core.database.server import EMBEDDED
from imis_core.deployment import Settings, load_settings
from imis_core.errors import ImisError
from imis_core.ids import KEY_BYTES, SEALS_KEY_BYTES
from imis_core.operations.backup import LAST

Severity = Literal["ok", "note", "warning", "error"]
ORDER: Final[tuple[Severity, ...]] = ("ok", "note", "warning", "error")
FREE_WARNING_BYTES: Final = 2_000_000_000
FREE_ERROR_BYTES: Final = 200_000_000
FREE_WARNING_PERCENT: Final = 10


@frozen
class Finding:
    """One thing that was looked at. `code` is stable; `remedy` is empty where there is nothing to do."""

    area: str
    severity: Severity
    code: str
    message: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        return {
            "area": self.area, "severity": self.severity, "code": self.code, "message": self.message,
            "remedy": self.remedy,
        }  # fmt: skip


def worst(findings: list[Finding]) -> Severity:
    """The gravest severity among them."""
    return max((f.severity for f in findings), key=ORDER.index, default="ok")


def examine(folder: Path) -> list[Finding]:
    """Look at everything; a part that cannot be looked at does not keep the others from it."""
    from imis_core.operations.doctor_database import look_into_database

    found = list(_account(folder))
    try:
        settings = load_settings(folder)
    except ImisError as error:
        return [*found, *_refused("settings", error, f"mend {folder / 'imis.toml'}; `imis check` lists the same")]
    found.append(Finding("settings", "ok", "settings.right", f"{folder / 'imis.toml'} is right"))
    composition: Composition | None = None
    try:
        composition = Composition(settings, str(folder / "imis.toml"))
        names = ", ".join(settings.enabled) or "none"
        found.append(Finding("plugins", "ok", "plugins.right", f"switched on: {names}"))
    except ImisError as error:
        found += _refused("plugins", error, "install or mend what is named, or leave it out with IMIS_DISABLE=NAME")
    if settings.disabled:
        message = f"IMIS_DISABLE leaves out {', '.join(settings.disabled)}"
        found.append(Finding("plugins", "warning", "plugins.left_out", message, "mend them and unset IMIS_DISABLE"))
    found += _disk(folder, settings)
    is_embedded = settings.database.url == EMBEDDED
    if is_embedded:
        found += _embedded(folder)
    if is_embedded and not (folder / "var" / "postgres").is_dir():
        found.append(Finding("database", "error", "database.missing", "there is no database yet", "run `imis migrate`"))
        in_use = False
    else:
        looked, in_use = look_into_database(settings, composition)
        found += looked
    found += _keys(folder, in_use=in_use)
    found += _backups(folder, settings, in_use=in_use)
    return found


def _refused(area: str, error: ImisError, remedy: str) -> Iterator[Finding]:
    refusal = error.refusal
    for problem in refusal.problems:
        at = f"{problem.path}: " if problem.path else ""
        yield Finding(area, "error", refusal.code, f"{at}{problem.message}", remedy)
    if not refusal.problems:
        yield Finding(area, "error", refusal.code, refusal.message, remedy)


def _account(folder: Path) -> Iterator[Finding]:
    if sys.platform == "win32":
        return
    if os.geteuid() == 0:
        yield Finding(
            "account", "warning", "account.root", "this runs as root",
            f"give the deployment an account of its own: useradd --system imis && chown -R imis {folder.resolve()}",
        )  # fmt: skip
    else:
        yield Finding("account", "ok", "account.own", f"this runs as user {os.geteuid()}")


def _keys(folder: Path, *, in_use: bool) -> Iterator[Finding]:
    """The keys that the deployment rests on, and whether others can read any."""
    for name, length, lost in (
        ("ids.key", KEY_BYTES, "a new key changes every outside id"),
        ("seals.key", SEALS_KEY_BYTES, "with a new key the seals of the audit prove nothing"),
    ):
        path = folder / "keys" / name
        if path.exists():
            yield _key(path, good=_is_key(path, length))
        elif in_use:
            remedy = f"put it back from the backup before anything starts: {lost}"
            yield Finding("keys", "error", "keys.missing", f"{path} is missing, but the database is in use", remedy)
        else:
            yield Finding("keys", "note", "keys.not_made", f"{path} is made at the first start")
    cards = folder / "keys" / CARD_KEYS
    if cards.exists():  # made with the first card; that cards were issued without it, `cards.issue` says
        yield _key(cards, good=_are_card_keys(cards))


def _is_key(path: Path, length: int) -> bool:
    try:
        return len(bytes.fromhex(path.read_text("ascii").strip())) == length
    except (ValueError, OSError):
        return False


def _are_card_keys(path: Path) -> bool:
    try:
        return KeyRing(path.parent).signing() is not None
    except (ImisError, OSError):
        return False


def _key(path: Path, *, good: bool) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if not good:
        return Finding("keys", "error", "keys.invalid", f"{path} is damaged", "put it back from the backup")
    if mode & 0o077:
        message = f"{path} can be read by others (mode {mode:04o})"
        return Finding("keys", "error", "keys.readable", message, f"chmod 600 {path}")
    return Finding("keys", "ok", "keys.right", f"{path} is there and private")


def _disk(folder: Path, settings: Settings) -> Iterator[Finding]:
    places = {folder.resolve()}
    if settings.database.url == EMBEDDED:
        data = _data_folder(folder)
        places |= {data} if data is not None else set()
    seen: set[int] = set()
    for place in sorted(places):
        device = place.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        usage = shutil.disk_usage(place)
        percent = usage.free * 100 / usage.total if usage.total else 0.0
        message = f"{place}: {usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.1f} GB ({percent:.0f} %)"
        remedy = "make room: old archives, var/load, logs; then enlarge the disk"
        if usage.free < FREE_ERROR_BYTES:
            yield Finding("disk", "error", "disk.full", message, remedy)
        elif usage.free < FREE_WARNING_BYTES or percent < FREE_WARNING_PERCENT:
            yield Finding("disk", "warning", "disk.filling", message, remedy)
        else:
            yield Finding("disk", "ok", "disk.free", message)


def _data_folder(folder: Path) -> Path | None:
    pointer = folder / "var" / "postgres" / "location"
    place = Path(pointer.read_text().rstrip("\n")) if pointer.exists() else folder / "var" / "postgres"
    return place.resolve() if place.is_dir() else None


def _embedded(folder: Path) -> Iterator[Finding]:
    place = folder / "var" / "postgres"
    if not place.is_dir():
        return
    try:
        status = embedded.status(place)
    except ImisError as error:
        yield from _refused("embedded", error, "see docs/operate.md, The embedded database")
        return
    if not status.exists:
        return
    state = f"running (process {status.pid})" if status.running else "not running"
    message = f"PostgreSQL {status.program_version} in {status.data_folder}, {state}, account {status.account}"
    if status.running and not status.in_use:
        yield Finding(
            "embedded", "warning", "embedded.orphan", f"{message}, used by nobody: its users were killed",
            "the next start takes it over; nothing is lost",
        )  # fmt: skip
    elif str(status.program_version).partition(".")[0] != str(status.cluster_major):
        yield Finding(
            "embedded", "error", "database.other_major",
            f"{status.data_folder} is of PostgreSQL {status.cluster_major}, installed is {status.program_version}",
            "run `imis upgrade`",
        )  # fmt: skip
    else:
        yield Finding("embedded", "ok", "embedded.right", message)
    if status.account_is_lent:
        yield Finding(
            "embedded", "note", "embedded.account_lent", f"root lends the server the account {status.account}",
            "give the deployment an account of its own, and give it the data too",
        )  # fmt: skip


def _backups(folder: Path, settings: Settings, *, in_use: bool) -> Iterator[Finding]:
    path = folder / "var" / LAST
    limit = timedelta(hours=settings.backup.max_age_hours)
    remedy = "run `imis backup DIR`, each night by a timer (service/ has one); see docs/operate.md"
    if not path.exists():
        severity: Severity = "warning" if in_use else "note"
        yield Finding("backups", severity, "backups.none", "no backup was made from this folder yet", remedy)
        return
    try:
        last: dict[str, Any] = json.loads(path.read_text("utf-8"))
        age = datetime.now(UTC) - datetime.fromisoformat(last["made_at"])
        where = str(last["path"])
    except (ValueError, KeyError, TypeError) as error:
        yield Finding("backups", "warning", "backups.unknown", f"{path} cannot be read: {error}", remedy)
        return
    hours = age.total_seconds() / 3600
    message = f"the last backup is {hours:,.1f} hours old: {where}"
    if age > limit:
        yield Finding("backups", "error", "backups.old", f"{message} (limit {settings.backup.max_age_hours})", remedy)
    elif not Path(where).exists():
        yield Finding(
            "backups", "note", "backups.elsewhere", f"{message}, which is not there any more",
            "well if it was moved to another machine; if not, make a new one",
        )  # fmt: skip
    else:
        yield Finding("backups", "ok", "backups.fresh", message)
