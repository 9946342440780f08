"""What the auditor finds, and the form in which its checks are written: one SELECT of rows that should not exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from attrs import field, frozen
from sqlalchemy.engine import Connection

MOST: Final = 50  # findings of one check that are shown


@frozen
class Finding:
    """Something that cannot be: a stable `code`, `where` it stands (table and key), and `what` is wrong there."""

    code: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.code} at {self.where}: {self.what}"


@frozen
class Check:
    """A SELECT with the columns `location` and `what`, one row for each thing that is wrong.

    `code` is the finding's; a select that finds several kinds of things has a third column `code` after its own prefix.
    """

    code: str
    sql: str
    parameters: Mapping[str, Any] = field(factory=dict)

    def run(self, connection: Connection) -> list[Finding]:
        rows = connection.execute(
            sa.text(f"SELECT * FROM ({self.sql}) wrong ORDER BY 1, 2 LIMIT {MOST}"), dict(self.parameters)
        ).mappings()
        return [Finding(row.get("code") or self.code, row["location"], row["what"]) for row in rows]
