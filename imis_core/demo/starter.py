"""What a folder of plain files lacks to be a scheme: a price list at the items' own prices and a package of them.

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


def facilities_mapping(target: Path, facilities: Path, mapping: Path | None) -> Path | None:
    """A mapping that gives facilities without price lists the starter's; `mapping` itself where they have some."""
    kind = KINDS["facilities"]
    with told_as_refusals():
        _, columns = mapped_columns(facilities, mapping, kind.fields, kind.aliases)
    named = {name: column for name, column in (columns.columns or {}).items() if name in kind.fields}
    if "price_lists" in named or "price_lists" in columns.constants:
        return mapping
    constants = {**columns.constants, "price_lists": PRICE_LIST}
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_mapping_text(evolve(columns, columns=named, constants=constants)), encoding="utf-8")
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
