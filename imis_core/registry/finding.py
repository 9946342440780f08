"""Finding pairs that may be one person: equal identifiers exactly, likeness only among neighbours in small blocks.

Nobody is compared with everybody: persons who share a block key are sorted by name, and each is compared with the few
who follow, so that the work grows about as the number of persons. What was found once is never found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects.postgresql import ARRAY, insert

from imis_core.beneficiaries.lookup import resolve_persons
from imis_core.beneficiaries.tables import identifiers, persons
from imis_core.commands import command
from imis_core.context import Context
from imis_core.database.arrays import any_of
from imis_core.database.bulk import insert_returning
from imis_core.errors import Refusal, not_found
from imis_core.registry.tables import duplicates

NEIGHBOURS: Final = 8  # of a person in a block sorted by name, with whom he or she is compared
SHARERS: Final = 50  # of one identifier: the first ones are paired with all, the later ones with these only
IDENTIFIER: Final = "identifier"


@frozen(kw_only=True)
class FindDuplicates:
    """`persons`: only pairs with one of these, by number or id; absent: all whom the caller sees."""

    persons: tuple[str, ...] | None = None


@frozen
class DuplicatesFound:
    """`found`: new pairs."""

    found: int


@command("registry.find_duplicates", input=FindDuplicates, result=DuplicatesFound)
def find_duplicates(context: Context, items: tuple[FindDuplicates, ...]) -> list[DuplicatesFound | Refusal]:
    """Find pairs of persons who may be one: by equal identifiers, and by likeness of name, birth, sex and place."""
    known = resolve_persons(context, {name for item in items for name in item.persons or ()})
    outcomes: list[DuplicatesFound | Refusal] = []
    for item in items:
        unknown = next((i for i, name in enumerate(item.persons or ()) if name not in known), None)
        if unknown is not None:
            assert item.persons is not None
            outcomes.append(not_found(f"persons.{unknown}", "person", item.persons[unknown]))
            continue
        only = None if item.persons is None else sorted({known[name].id for name in item.persons})
        outcomes.append(DuplicatesFound(_by_identifier(context, only) + _by_likeness(context, only)))
    return outcomes


def _among(only: Sequence[int] | None, *columns: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    if only is None:
        return sa.true()
    wanted = any_of(only)
    return sa.or_(*(column == wanted for column in columns))


def _by_identifier(context: Context, only: Sequence[int] | None) -> int:
    """Pairs with an equal identifier, score 100; one statement. Returns how many are new."""
    i, p = identifiers.c, persons.c
    place = sa.func.row_number().over(partition_by=(i.system, i.value), order_by=(i.person, i.id)).label("place")
    ranked = (
        sa.select(i.person, i.system, i.value, place)
        .join(persons, p.id == i.person)
        .where(context.scoped(identifiers), context.scoped(persons), p.merged_into.is_(None))
        .cte("ranked")
    )
    a, b = ranked.alias("a"), ranked.alias("b")
    pairs = (
        sa.select(
            a.c.person, b.c.person, sa.literal(100), sa.literal([IDENTIFIER], ARRAY(sa.Text)), sa.literal("open"),
            sa.literal(context.today),
        )
        .join(
            b,
            sa.and_(
                a.c.system == b.c.system, a.c.value == b.c.value, a.c.person < b.c.person, a.c.place <= SHARERS
            ),
        )
        .where(_among(only, a.c.person, b.c.person))
        .distinct()
    )  # fmt: skip
    statement = insert(duplicates).from_select(["first", "second", "score", "reasons", "state", "found_on"], pairs)
    return len(context.execute(statement.on_conflict_do_nothing().returning(duplicates.c.id)).all())


def _by_likeness(context: Context, only: Sequence[int] | None) -> int:
    """Pairs of persons who are much alike, score below 100; two statements. Returns how many are new."""
    # Imported here: only a search for duplicates needs the library of likeness.
    from imis_core.registry.matching import Features, likeness, normalised

    normal = lru_cache(maxsize=100_000)(normalised)

    def features(row: sa.Row[Any], of: str) -> Features:
        given, family, born, sex, place = (getattr(row, f"{of}_{name}") for name in _COMPARED)
        return Features(normal(given), normal(family), born, sex, place)

    rows = context.execute(_candidates(context, only).execution_options(yield_per=10_000))
    judged = ((row.first, row.second, likeness(features(row, "a"), features(row, "b"))) for row in rows)
    found = [(first, second, alike) for first, second, alike in judged if alike.suspicious]
    if not found:
        return 0
    written = insert_returning(
        context.connection,
        duplicates,
        {
            "first": [first for first, _, _ in found],
            "second": [second for _, second, _ in found],
            "score": [alike.score for _, _, alike in found],
            "reasons": [list(alike.reasons) for _, _, alike in found],
            "state": ["open"] * len(found),
            "found_on": [context.today] * len(found),
        },
        conflict='("first", "second") DO NOTHING',
        returning="id",
    )
    return len(written)


_COMPARED: Final = ("given_name", "family_name", "birth_date", "sex", "place")


def _candidates(context: Context, only: Sequence[int] | None) -> sa.Select[Any]:
    """Pairs that share a block and stand near each other in it, with what is compared, without the known pairs."""
    p = persons.c

    def letters(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
        plain: sa.ColumnElement[str] = sa.func.lower(
            sa.func.regexp_replace(sa.func.coalesce(column, ""), "[^[:alnum:]]", "", "g")
        )
        return plain

    # Given and family name are often exchanged, so the two count in the order of the alphabet.
    names = (letters(p.given_name), letters(p.family_name))
    people = (
        sa.select(
            p.id, p.birth_date, p.sex, p.place, names[0].label("given"), names[1].label("family"),
            sa.func.least(*names).label("lesser"), sa.func.greatest(*names).label("greater"),
        )
        .where(context.scoped(persons), p.merged_into.is_(None), sa.func.greatest(*names) != "")
        .cte("people")
    )  # fmt: skip
    c = people.c
    keys = sa.union_all(
        _block(people, "born", c.birth_date, sa.func.left(c.lesser, 1)),
        # One of the names begins alike, whichever of the two it is: the other may begin with another letter.
        _block(people, "named", c.birth_date, sa.func.left(c.given, 3)).where(c.given != ""),
        _block(people, "named", c.birth_date, sa.func.left(c.family, 3)).where(
            c.family != "", sa.func.left(c.family, 3) != sa.func.left(c.given, 3)
        ),
        # The same names: the year of birth may be mistyped.
        _block(people, "names", c.lesser, c.greater),
        _block(people, "year", sa.extract("year", c.birth_date), c.sex, sa.func.left(c.lesser, 3)),
        _block(people, "place", c.place, sa.func.left(c.lesser, 1), sa.func.left(c.greater, 1)).where(
            c.place.is_not(None)
        ),
    ).cte("keys")
    position = sa.func.row_number().over(partition_by=keys.c.key, order_by=(keys.c.lesser, keys.c.greater, keys.c.id))
    ranked = sa.select(keys.c.id, keys.c.key, position.label("position")).cte("ranked")
    a, b = ranked.alias("x"), ranked.alias("y")
    near = sa.and_(a.c.key == b.c.key, a.c.position < b.c.position)
    if only is None:
        near = sa.and_(near, b.c.position <= a.c.position + NEIGHBOURS)
    first, second = sa.func.least(a.c.id, b.c.id), sa.func.greatest(a.c.id, b.c.id)
    pairs = (
        sa.select(first.label("first"), second.label("second"))
        .join(b, near)
        .where(_among(only, a.c.id, b.c.id))
        .distinct()
        .cte("pairs")
    )
    one, other, known = persons.alias("one"), persons.alias("other"), duplicates.c
    compared = [t.c[n].label(f"{of}_{n}") for of, t in (("a", one), ("b", other)) for n in _COMPARED]
    return (
        sa.select(pairs.c.first, pairs.c.second, *compared)
        .join(one, one.c.id == pairs.c.first)
        .join(other, other.c.id == pairs.c.second)
        .where(~sa.exists().where(known.first == pairs.c.first, known.second == pairs.c.second))
        .order_by(pairs.c.first, pairs.c.second)
    )


def _block(people: sa.CTE, kind: str, *parts: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Each person with the key of a block: persons with the same `parts`."""
    key = sa.func.concat_ws("|", kind, *parts)
    return sa.select(people.c.id, people.c.lesser, people.c.greater, key.label("key"))


COMMANDS = (find_duplicates,)
