"""How a payment provider names an order in its files: by the order's id, or by the number that was sent to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from imis_core.values import INT64_MAX

if TYPE_CHECKING:
    from imis_core.context import Context

REFERENCE: Final = re.compile(r"[0-9a-f]{32}\Z")  # an order's id without its dashes: EndToEndId has 35 characters
_SENT: Final = sa.text('SELECT "order" FROM core.transmission_orders WHERE "order" = ANY(CAST(:numbers AS bigint[]))')


def order_named(reference: str) -> str:
    """The order's id of a reference that lost its dashes; the text itself where it is no reference of ours."""
    text = reference.strip().lower()
    if not REFERENCE.match(text):
        return reference.strip()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def order_number(text: str) -> int | None:
    """The number of the order that a provider names by what we sent as `requestId`; None: it is none of ours."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        return None
    number = int(text)
    return number if 0 < number <= INT64_MAX else None


def order_numbers(context: Context, named: Sequence[str]) -> list[int | None]:
    """The orders that a provider names, each None where it is none: by their ids, with or without dashes, or by their
    numbers in decimal (the `requestId` of mobile money).

    A number counts only if it was sent: whatever else numbers the rows of a file is no order's name.
    """
    texts = [text.strip() for text in named]
    found = context.ids.decode_all("orders", [order_named(text) for text in texts])
    numbers = [order_number(text) for text in texts]
    wanted = {number for number in numbers if number is not None}
    sent = set(context.execute(_SENT, {"numbers": sorted(wanted)}).scalars()) if wanted else set()
    return [number if number in sent else one for number, one in zip(numbers, found, strict=True)]
