"""Cash lists that come back filled in: what was paid of a list, checked against the list as it was written.

A list carries its digest, and the list of that digest is kept: a row that says anything else than it did, an order that
was not on it, a list of another provider or of nobody is listed and not taken. A row without a status was not paid out
yet: a list may come back as often as its payments are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import sqlalchemy as sa

from imis_core.attachments.store import FOLDER, read_content
from imis_core.attachments.tables import attachments
from imis_core.context import Context
from imis_core.errors import ImisError, Problem, invalid
from imis_core.payments.cash_list_files import DIGEST_LINE, SIGNED, TOTAL_LINE
from imis_core.payments.provider_tables import columns_of, opened_table, rows_of
from imis_core.payments.reconciling import UnreadableRow
from imis_core.payments.tables import cash_lists, payment_providers

Row = tuple[int, dict[str, str]]  # its place in the file, its cells by column
MARKS: Final = frozenset({"beneficiary", "signature"})  # columns that only a cash list has
UNKNOWN_LIST: Final = "unknown_list"
OTHER_PROVIDER: Final = "other_provider"
NOT_ON_LIST: Final = "not_on_list"
CHANGED: Final = "changed"
NOT_UNIQUE: Final = "not_unique"


def checked_list(
    context: Context, provider: str, name: str, rows: Sequence[Row]
) -> tuple[list[Row], list[UnreadableRow], int]:
    """Of the rows of a list that came back: those that say what was paid, those not taken, and how many are unpaid.

    Raises `input.invalid` at `content` for a list without its digest.
    """
    digest, orders = _split(name, rows)
    written = context.execute(
        sa.select(payment_providers.c.code, payment_providers.c.id, attachments.c.digest, attachments.c.name)
        .select_from(cash_lists)
        .join(payment_providers, payment_providers.c.id == cash_lists.c.payment_provider)
        .join(attachments, attachments.c.id == cash_lists.c.xlsx)
        .where(cash_lists.c.digest == digest)
    ).first()
    if written is None:
        return [], [UnreadableRow(row=place, field=None, code=UNKNOWN_LIST) for place, _ in orders], 0
    if provider not in (written.code, context.ids.encode("payment_providers", written.id)):
        return [], [UnreadableRow(row=place, field=None, code=OTHER_PROVIDER) for place, _ in orders], 0
    listed = _as_written(context, written)
    taken: list[Row] = []
    wrong: list[UnreadableRow] = []
    seen: set[str] = set()
    unpaid = 0
    for place, cells in orders:
        order = cells.get("order", "")
        problem = _problem(place, cells, listed.get(order), order in seen)
        seen.add(order)
        if problem is not None:
            wrong.append(problem)
        elif "status" not in cells:
            unpaid += 1
        else:
            taken.append((place, cells))
    return taken, wrong, unpaid


def _split(name: str, rows: Sequence[Row]) -> tuple[str, list[Row]]:
    """The digest at the list's end, and its rows of orders."""
    digest = ""
    orders: list[Row] = []
    for place, cells in rows:
        first = cells.get("order", "")
        if first.startswith(DIGEST_LINE):
            digest = first.removeprefix(DIGEST_LINE).strip()
        elif first != TOTAL_LINE:
            orders.append((place, cells))
    if not digest:
        message = f"{name} is a cash list without the line that carries its digest; fill in the list as it was written"
        raise ImisError(invalid(Problem("content", "unsigned", message)))
    return digest, orders


def _as_written(context: Context, written: Any) -> dict[str, dict[str, str]]:
    """The rows of the list as it was written, by order."""
    content = read_content(context.app.var / FOLDER, written.digest)
    with opened_table(written.name, content) as (name, table):
        return {cells["order"]: cells for _, cells in rows_of(table, columns_of(name, table, SIGNED), SIGNED)}


def _problem(place: int, cells: dict[str, str], was: dict[str, str] | None, again: bool) -> UnreadableRow | None:
    if was is None:
        return UnreadableRow(row=place, field="order", code=NOT_ON_LIST)
    if again:
        return UnreadableRow(row=place, field="order", code=NOT_UNIQUE)
    for column in SIGNED:
        if not _same(column, cells.get(column, ""), was.get(column, "")):
            return UnreadableRow(row=place, field=column, code=CHANGED)
    return None


def _same(column: str, said: str, was: str) -> bool:
    """Whether a cell says what it did: spreadsheets write amounts as they like, 10.50 as 10.5."""
    if column != "amount":
        return said == was
    try:
        return Decimal(said) == Decimal(was)
    except InvalidOperation:
        return False
