"""What is said about a grievance: by people with a command, or by the plugin as a note. Nothing is ever changed."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from imis_core.api import Context, insert_rows
from imis_grievance.tables import grievance_comments


@frozen
class Comment:
    """`kind`: comment, move, decision, close, reopen, appeal, or note for what the plugin itself tells."""

    grievance: int
    kind: str
    text: str


def write_comments(context: Context, comments: Sequence[Comment]) -> None:
    """Append comments in their order, by the running command's caller."""
    if not comments:
        return
    insert_rows(
        context.connection,
        grievance_comments,
        {
            "grievance": [c.grievance for c in comments],
            "kind": [c.kind for c in comments],
            "text": [c.text for c in comments],
            "by": [context.caller.user] * len(comments),
            "at": [context.now] * len(comments),
            "audit": [context.audit] * len(comments),
        },
    )
