"""Who may see an attachment: whoever added it; if it is about something, whoever may see that; else scope `all`.

What it is about is seen by its own noun's scope (place, provider, a plugin's rule), and, where the noun has a query
`<noun>.show`, only with that query's permission. A noun without a scope of its own opens nothing to a limited caller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from imis_core.attachments.tables import attachments
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.migrations.runner import tables_of


def seen(context: Context) -> sa.ColumnElement[bool]:
    """The condition on `core.attachments` that every SELECT over it carries."""
    table = attachments.c
    conditions = [context.scoped(attachments)]
    for noun, about in _open_nouns(context).items():
        there = sa.exists().where(about.c.id == table.about, context.scoped(about))
        conditions.append(sa.and_(table.about_noun == noun, there))
    return sa.or_(*conditions)


def visible_subjects(context: Context, wanted: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Which of these (noun, number) the caller may see; one statement per noun."""
    open_nouns = _open_nouns(context)
    numbers: dict[str, list[int]] = {}
    for noun, number in set(wanted):
        if noun in open_nouns:
            numbers.setdefault(noun, []).append(number)
    found: set[tuple[str, int]] = set()
    for noun, of_noun in sorted(numbers.items()):
        about = open_nouns[noun]
        rows = context.execute(sa.select(about.c.id).where(about.c.id == any_of(of_noun), context.scoped(about)))
        found |= {(noun, number) for number in rows.scalars()}
    return found


def _open_nouns(context: Context) -> dict[str, sa.Table]:
    """The tables of nouns that an attachment may be about for this caller."""
    found: dict[str, Any] = {}
    for manifest in context.app.plugins.manifests.values():
        for table in tables_of(manifest):
            noun = table.info.get("noun")
            if (
                noun is None
                or table is attachments
                or (table.info.get("scope") is None and not context.caller.everywhere)
            ):
                continue
            show = context.app.queries.get(f"{noun}.show")
            if show is None or context.caller.may(show.permission):
                found[noun] = table
    return found
