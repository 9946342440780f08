"""`imis upgrade`: the embedded database from one PostgreSQL major to the next, by dump and restore.

The old cluster is kept until the operator deletes it. Only the deployment's own database is carried over.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import make_url

from imis_core.database.embedded_server import program_version, programs_folder
from imis_core.database.embedded_upgrade import Upgraded
from imis_core.database.embedded_upgrade import upgrade as change
from imis_core.database.engine import Roles
from imis_core.database.server import EMBEDDED, database_name, embedded_logins, prepare
from imis_core.deployment import load_settings
from imis_core.errors import refused
from imis_core.operations.archive import HEADER, Told, Writer, read_archive
from imis_core.operations.backup import about, add_database, header
from imis_core.operations.restore import load_database


def upgrade(folder: Path, old_programs: Path | None, told: Told) -> Upgraded | None:
    """Bring the embedded database to the installed major; None if there is nothing to do.

    Raises `upgrade.server`, `upgrade.old_programs`, and what the embedded server raises.
    """
    settings = load_settings(folder)
    if settings.database.url != EMBEDDED:
        message = (
            "the database is a server by address: its administrator upgrades it (pg_upgrade, or a backup restored)"
        )
        raise refused("upgrade.server", message)
    name = database_name(settings.name)

    def transfer(old: str, new: str, password: str) -> None:
        logins = embedded_logins(password)
        owner = next(iter(logins))

        def owned(url: str) -> str:
            chosen = make_url(url).set(username=owner, database=name)
            return chosen.render_as_string(hide_password=False)

        now = datetime.now(UTC)
        with tempfile.NamedTemporaryFile(dir=folder / "var", prefix=".upgrade-") as file:
            with Writer(file, told) as writer:
                writer.text(HEADER, header(settings.name, now))
                writer.finish(
                    {"keys": {}, "anonymised": False, **add_database(writer, owned(old)), **about(settings, now)}
                )
            file.flush()
            prepare(new, name, logins)
            load_database(read_archive(Path(file.name)), owned(new), Roles.of(name), told)

    return change(folder / "var" / "postgres", lambda major: _old_programs(major, old_programs), transfer)


def _old_programs(major: int, given: Path | None) -> Path:
    """Where the programs of the old major are: given, beside the new ones in the wheel, or where Debian has them."""
    beside = [
        folder
        for folder in sorted(programs_folder().parent.parent.glob("pginstall*/bin"))
        if (folder / "postgres").exists() and program_version(folder).partition(".")[0] == str(major)
    ]
    for place in (given, *beside, Path(f"/usr/lib/postgresql/{major}/bin")):
        if place is not None and (place / "postgres").exists():
            return place
    message = (
        f"the data are of PostgreSQL {major}, whose programs are not here: install that version (any build of it), "
        "and name the folder of its `postgres` with --old-programs"
    )
    raise refused("upgrade.old_programs", message)
