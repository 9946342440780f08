"""What a folder of plain files lacks to be a scheme: a price list, a package, a currency, mappings of its columns.

A stand-in to look at the data with, never a proposal: every figure in it is ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from attrs import evolve

from imis_core.files import ColumnMap, write_table
from imis_core.imports.columns import CHUNK, mapped_columns, told_as_refusals
from imis_core.imports.kinds import KINDS

PRICE_LIST: Final = "STANDARD"
VALID_FROM: Final = "1900-01-01"  # before every claim that the files may hold
PERCENT: Final = 80
PREMIUM_ADULT: Final = "300"
PREMIUM_CHILD: Final = "150"
CENTS: Final = "USD"  # a stand-in for the currency of prices with decimals, of which plain files do not tell
LEVELS: Final = ("region", "district", "municipality", "village")  # columns that name places from the top down
Death = tuple[str, str]  # a person's number and the day as the file has it
_PACKAGE: Final = """\
# Written by `imis demo`, because the given folder has no packages/: every item at {percent} %. A stand-in, no proposal.
scheme = {scheme}
code = "STARTER"
name = "Starter package"
valid_from = {valid_from}

[terms]
insurance_months = 12
grace_payment_months = 1
premium_adult = "{adult}"
premium_child = "{child}"

[terms.items]
"""


def item_codes(items: Path, mapping: Path | None) -> list[str]:
    """The codes in a file of items, each once."""
    kind = KINDS["items"]
    with told_as_refusals():
        table, columns = mapped_columns(items, mapping, kind.fields, kind.aliases)
        found = (code for chunk in table.chunks(CHUNK) for code in columns.apply(chunk).fields.get("code", ()))
        return list(dict.fromkeys(code for code in found if code is not None))


def write_package(folder: Path, scheme: str, codes: list[str]) -> None:
    """A package over all items, with a yearly premium, as the only one of `folder`."""
    head = _PACKAGE.format(
        percent=PERCENT, scheme=json.dumps(scheme), valid_from=VALID_FROM, adult=PREMIUM_ADULT, child=PREMIUM_CHILD
    )
    lines = [f'{_text(code)} = {{ limit = "coinsurance", percent = {PERCENT} }}\n' for code in codes]
    path = folder / scheme / "starter.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "".join(lines), encoding="utf-8")


def write_price_list(path: Path, codes: list[str]) -> None:
    """A price list that has every item at the catalogue's price."""
    rows = [(PRICE_LIST, VALID_FROM, code, "catalogue") for code in codes]
    write_table(path, ["code", "valid_from", "item", "price"], rows, safe=False)


def currency_of(items: Path, mapping: Path | None) -> str | None:
    """A currency that can hold the items' prices, where the preset's has no decimals; None if whole prices do."""
    kind = KINDS["items"]
    with told_as_refusals():
        table, columns = mapped_columns(items, mapping, kind.fields, kind.aliases)
        prices = (price for chunk in table.chunks(CHUNK) for price in columns.apply(chunk).fields.get("price", ()))
        return CENTS if any(price is not None and "." in price for price in prices) else None


def facilities_mapping(folder: Path, facilities: Path, mapping: Path | None, *, without_prices: bool) -> Path:
    """A mapping that gives facilities their places by name and, where there is no price list, the starter's."""
    columns = _named_columns("facilities", facilities, mapping)
    if without_prices and "price_lists" not in {**(columns.columns or {}), **columns.constants}:
        columns = evolve(columns, constants={**columns.constants, "price_lists": PRICE_LIST})
    return _write_mapping(folder / "facilities.toml", columns)


def claims_mapping(folder: Path, claims: Path, mapping: Path | None, scheme: str) -> Path:
    """A mapping that says which scheme the claims are for, where the file does not."""
    kind = KINDS["claims"]
    with told_as_refusals():
        _, columns = mapped_columns(claims, mapping, kind.fields, kind.aliases)
    named = {name: column for name, column in (columns.columns or {}).items() if name in kind.fields}
    constants = columns.constants if "scheme" in named else {"scheme": scheme, **columns.constants}
    return _write_mapping(folder / "claims.toml", evolve(columns, columns=named, constants=constants))


def persons_mapping(folder: Path, persons: Path, mapping: Path | None) -> tuple[Path, list[Death]]:
    """A mapping that gives persons their places by name and leaves out when they died; and who died when.

    People register first and die later: their deaths are recorded as the year goes by.
    """
    kind = KINDS["persons"]
    columns = _named_columns("persons", persons, mapping)
    with told_as_refusals():
        table, _ = mapped_columns(persons, mapping, kind.fields, kind.aliases)
        deaths = [
            (number, day)
            for chunk in table.chunks(CHUNK)
            if "death_date" in (fields := columns.apply(chunk).fields)
            for number, day in zip(fields["number"], fields["death_date"], strict=True)
            if number is not None and day is not None
        ]
    living = {name: column for name, column in (columns.columns or {}).items() if name != "death_date"}
    return _write_mapping(folder / "persons.toml", evolve(columns, columns=living)), deaths


def _named_columns(kind_name: str, path: Path, mapping: Path | None) -> ColumnMap:
    """The columns that are fields of a kind; without a column of places, those named like levels are their path."""
    kind = KINDS[kind_name]
    with told_as_refusals():
        table, columns = mapped_columns(path, mapping, kind.fields, kind.aliases)
    named = {name: column for name, column in (columns.columns or {}).items() if name in kind.fields}
    levels = {name.strip().casefold(): name for name in table.columns}
    path_columns = columns.path
    if not path_columns and "location" not in {**named, **columns.constants}:
        path_columns = tuple(levels[level] for level in LEVELS if level in levels)
    return evolve(columns, columns=named, path=path_columns)


def _write_mapping(target: Path, columns: ColumnMap) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_mapping_text(columns), encoding="utf-8")
    return target


def _mapping_text(columns: ColumnMap) -> str:
    """A mapping as its file says it."""
    parts = [f"path = [{', '.join(map(_text, columns.path))}]"] if columns.path else []
    tables = {"columns": columns.columns or {}, "constants": columns.constants, "attributes": columns.attributes}
    tables |= {f"values.{_text(name)}": table for name, table in columns.values.items()}
    for name, table in tables.items():
        parts += [f"[{name}]", *(f"{_text(key)} = {_text(value)}" for key, value in table.items())]
    return "\n".join(parts) + "\n"


def _text(value: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
