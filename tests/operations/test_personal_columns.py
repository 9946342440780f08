"""Every column that may hold words is declared personal or harmless: `imis backup --anonymise` rests on it."""

from __future__ import annotations

from importlib import metadata as distributions

import pytest
import sqlalchemy as sa

from imis_core import rooms_tables
from imis_core.database.personal import declare, undeclared
from imis_core.database.tables import identity, plugin_metadata, text
from imis_core.migrations.runner import tables_of
from imis_core.plugins import ENTRY_POINT_GROUP


def test_every_column_that_may_hold_words_is_declared() -> None:
    """A new column is said to be personal or harmless where its table is; nothing is carried into a copy unseen."""
    assert undeclared(rooms_tables.metadata) == [], "declare them in imis_core/personal_columns.py"
    for point in distributions.entry_points(group=ENTRY_POINT_GROUP):
        for table in tables_of(point.load().imis_plugin()):
            left = undeclared(table.metadata)
            assert left == [], f"declare them beside the tables of {point.name}: declare_personal(metadata, ...)"


def test_a_wrong_declaration_is_refused() -> None:
    """A table, column or kind that is not there; an undeclared column is found."""
    tables = plugin_metadata("probe")
    sa.Table("visits", tables, identity(), text("reason"), text("code"))
    for line in ("visit: | reason", "visits: reasons=text |", "visits: reason=txt |"):
        with pytest.raises(ValueError, match="there is no"):
            declare(tables, line)
    declare(tables, "visits: reason=text |")
    assert undeclared(tables) == ["probe.visits.code"]
