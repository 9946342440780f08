"""The operating-system account under which the embedded server runs, and what that account can reach.

PostgreSQL refuses to run as root, so root lends the server an unprivileged account; anybody else runs it as themselves.
This module creates files and folders and gives those to the account; it never changes the owner or mode of anything
that it did not create, and it knows nothing of PostgreSQL.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen

LENT_ACCOUNTS = ("postgres", "nobody")
"""Whom root lends the server to where neither the data nor their folder belong to somebody else, best first."""

_COMMAND_SECONDS = 30


@frozen
class Account:
    """One account: its name (or number, where it has none), user id and group id."""

    name: str
    uid: int
    gid: int

    @property
    def is_lent(self) -> bool:
        """True where this process is root and the server is somebody else."""
        return self.uid != os.geteuid()

    def process_options(self) -> dict[str, Any]:
        """The arguments of `subprocess` that run a command as this account, where it can stand, files private."""
        options: dict[str, Any] = {"cwd": "/", "umask": 0o077}
        if self.is_lent:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def make_folder(self, path: Path) -> None:
        """Create a folder that only this account may enter. Raises FileExistsError rather than touch one."""
        path.mkdir(mode=0o700)
        if self.is_lent:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def reaches(self, folder: Path) -> bool:
        """Whether the account may enter the folder through all its parents. Tried, not computed: access lists count."""
        return not self.is_lent or self._succeeds(["/bin/sh", "-c", 'cd -P -- "$0"', str(folder)])

    def can_run(self, program: Path) -> bool:
        """Whether the account can load the program with its libraries (asked for its version)."""
        return not self.is_lent or self._succeeds([str(program), "--version"])

    def _succeeds(self, command: list[str]) -> bool:
        try:
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, timeout=_COMMAND_SECONDS, check=False, **self.process_options()
            )
        except PermissionError:  # the program itself cannot be reached by the account
            return False
        return done.returncode == 0


def choose_account(*owned: Path) -> Account:
    """The account for a server: this process's own, or for root the first other owner of the given paths (data that
    exist, then the folder around them), else the first of `LENT_ACCOUNTS`. Paths that do not exist are passed over."""
    import pwd  # POSIX only

    def of(uid: int, gid: int) -> Account:
        try:
            return Account(pwd.getpwuid(uid).pw_name, uid, gid)
        except KeyError:  # containers often run under a number without a name
            return Account(str(uid), uid, gid)

    if os.geteuid() != 0:
        return of(os.geteuid(), os.getegid())
    for path in owned:
        if path.exists() and path.stat().st_uid != 0:
            return of(path.stat().st_uid, path.stat().st_gid)
    for name in LENT_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    return of(65534, 65534)  # the number that every POSIX system keeps for nobody


def open_private(path: Path, owner: Account | None = None) -> int:
    """A descriptor (read and write, closed in programs that are started) of a file with mode 0600, created if absent.

    A file that is created by root is given to `owner`, or else to the owner of its folder, so that they can use it
    without root later. A symbolic link is never followed: the folder may be writable to others than root.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if os.geteuid() == 0:
        around = path.parent.stat()
        os.fchown(descriptor, owner.uid if owner else around.st_uid, owner.gid if owner else around.st_gid)
    return descriptor


def write_private(path: Path, text: str, owner: Account | None = None) -> None:
    """Write a file with mode 0600 in one step: it is there whole and on disk, or not at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(open_private(unfinished, owner), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
