"""Which columns say something of a person: stated in each column's `info`, and used by `imis backup --anonymise`.

Every column that may hold words is declared, personal or harmless; a test fails for one that is not. What becomes of a
kind of column is `operations.anonymise`'s business.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

PERSONAL: Final = "personal"
HARMLESS: Final = "harmless"
# number, code: another one, the same in every table; name: an invented one; shape: other letters and digits in the same
# places; text, blank, drop: a stand-in, nothing, NULL (or {} and []); birth_date, attributes: by their own rules;
# login: of a user; rows: the table is emptied.
KINDS: Final = frozenset(
    {"number", "code", "name", "shape", "text", "blank", "drop", "birth_date", "attributes", "login", "file"}
)
EMPTIED: Final = "emptied"  # key of a table's info: its rows are traces of operation, and a copy needs none


def declare(metadata: sa.MetaData, declarations: str) -> None:
    """Declare columns, a table a line: `persons: number=number given_name=name ... | sex status`.

    Before the bar the personal ones with their kinds, behind it the harmless ones; `tokens: *` empties a table. History
    tables follow their nouns. Raises ValueError for a table, column or kind that is not there.
    """
    for line in declarations.strip().splitlines():
        name, _, columns = line.partition(":")
        table = metadata.tables.get(f"{metadata.schema}.{name.strip()}")
        if table is None:
            raise ValueError(f"there is no table {name.strip()!r} in {metadata.schema}")
        personal, _, harmless = columns.partition("|")
        if personal.strip() == "*":
            table.info[EMPTIED] = True
            continue
        for word in personal.split():
            column, _, kind = word.partition("=")
            if kind not in KINDS:
                raise ValueError(f"{table.fullname}.{column}: there is no kind {kind!r}")
            _set(table, column, PERSONAL, kind)
        for column in harmless.split():
            _set(table, column, HARMLESS, True)


def _set(table: sa.Table, name: str, key: str, value: Any) -> None:
    if name not in table.c:
        raise ValueError(f"there is no column {table.fullname}.{name}")
    table.c[name].info[key] = value
    history = table.info.get("history")
    if history is not None and name in history.c:
        history.c[name].info[key] = value


def holds_words(column: sa.Column[Any]) -> bool:
    """Whether a column may hold words: text, lists of text, documents, bytes."""
    kind = column.type
    if isinstance(kind, sa.ARRAY):
        kind = kind.item_type
    return isinstance(kind, (sa.Text, sa.String, sa.JSON, sa.LargeBinary))


def is_emptied(table: sa.Table) -> bool:
    """Whether a copy holds no rows of a table, or of the noun whose history it is."""
    noun: sa.Table = table.info.get("history_of", table)
    return EMPTIED in noun.info


def undeclared(metadata: sa.MetaData) -> list[str]:
    """Columns that may hold words and are declared neither personal nor harmless."""
    return [
        f"{table.fullname}.{column.name}"
        for table in metadata.sorted_tables
        if not is_emptied(table)
        for column in table.columns
        if holds_words(column) and PERSONAL not in column.info and HARMLESS not in column.info
    ]
