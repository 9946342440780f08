"""The files that a demo runs on: an invented population in the deployment's places, or real files of a folder."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Final

from attrs import frozen

from imis_core.demo.months import Month, cut
from imis_core.demo.population import generate
from imis_core.demo.starter import (
    Death,
    currency_of,
    facilities_mapping,
    item_codes,
    persons_mapping,
    write_package,
    write_price_list,
)
from imis_core.deployment import load_settings
from imis_core.errors import refused

YEAR: Final = 2025
REFERENCE: Final = ("locations", "items", "price_lists", "facilities", "diagnoses")  # in the order of loading
_SUFFIXES: Final = (".csv", ".csv.gz", ".xlsx", ".ndjson")


@frozen
class Given:
    """A file, its kind and its mapping."""

    kind: str
    path: Path
    mapping: Path | None


@frozen
class Sources:
    """What the year is run on. `reference` are the files of `--data`; none: the deployment's own in `data/`."""

    starts: date
    reference: tuple[Given, ...]
    people: tuple[Given, ...]
    months: tuple[Month, ...]
    deaths: tuple[Death, ...] = ()
    claims_mapping: Path | None = None
    lines_mapping: Path | None = None


def prepare_sources(home: Path, data: Path | None, *, households: int, seed: int) -> Sources:
    """Reference files of `data` replace the deployment's; its households and claims replace the invented ones."""
    (home / "var" / "demo").mkdir(parents=True, exist_ok=True)
    if data is None:
        return _invented(home, households, seed, ())
    maps = {path.stem: path for path in sorted((data / "maps").glob("*.toml"))}
    found = _find(data, "households")
    if found is None and maps:
        raise refused("demo.no_households", f"{data} has mapping files but no households file; add households.csv")
    reference = _take_reference(home, data, maps)
    if found is None:
        return _invented(home, households, seed, reference)
    claims, lines = _find(data, "claims"), _find(data, "claim_lines")
    if claims is None or lines is None:
        raise refused("demo.no_claims", f"{data} has households but not both claims.csv and claim_lines.csv; add them")
    months = cut(home / "var" / "demo", claims, lines, maps.get("claims"), maps.get("claim_lines"), YEAR)
    deaths: list[Death] = []
    if (persons := _find(data, "persons")) is not None:
        maps["persons"], deaths = persons_mapping(_maps(home), persons, maps.get("persons"))
    people = tuple(
        Given(kind, path, maps.get(kind))
        for kind in ("persons", "households")
        if (path := _find(data, kind)) is not None
    )
    return Sources(
        date(months[0].end.year, 1, 1), reference, people, months, tuple(deaths), maps.get("claims"),
        maps.get("claim_lines"),
    )  # fmt: skip


def _take_reference(home: Path, data: Path, maps: dict[str, Path]) -> tuple[Given, ...]:
    """The folder's reference data; what needs no mapping is copied into the deployment's `data/`."""
    found = {stem: path for stem in REFERENCE if (path := _find(data, stem)) is not None}
    if "price_lists" in maps and "price_lists" not in found and "items" in found:
        found["price_lists"] = found["items"]  # a file of items with their prices is a price list as well
    if found:
        missing = [stem for stem in ("items", "facilities") if stem not in found]
        if missing:
            raise refused(
                "demo.reference_data",
                f"{data} has {', '.join(found)} but no {' and no '.join(missing)}; add them, or leave all of it out",
            )
        for old in (home / "data").glob("*.csv"):  # one set: the preset's places and prices do not mix with others
            old.unlink()
        _complete(home, data, found, maps)
    if (data / "packages").is_dir():
        shutil.rmtree(home / "packages")
        shutil.copytree(data / "packages", home / "packages")
    given = tuple(Given(stem, found[stem], maps.get(stem)) for stem in REFERENCE if stem in found)
    for one in given:
        copy = home / "data" / (one.kind + one.path.name.removeprefix(one.kind))
        if one.mapping is None and one.path != copy:
            shutil.copy(one.path, copy)
    return given


def _complete(home: Path, data: Path, found: dict[str, Path], maps: dict[str, Path]) -> None:
    """A starter package where there are no packages, and a price list where there is none."""
    needs_package, needs_prices = not (data / "packages").is_dir(), "price_lists" not in found
    codes = item_codes(found["items"], maps.get("items")) if needs_package or needs_prices else []
    if needs_package:
        shutil.rmtree(home / "packages")
        write_package(home / "packages", next(iter(load_settings(home).schemes)), codes)
    if needs_prices:
        found["price_lists"] = home / "data" / "price_lists.csv"
        write_price_list(found["price_lists"], codes)
    maps["facilities"] = facilities_mapping(
        _maps(home), found["facilities"], maps.get("facilities"), without_prices=needs_prices
    )


def _maps(home: Path) -> Path:
    return home / "var" / "demo" / "maps"


def currency_of_folder(data: Path) -> str | None:
    """The stand-in for the currency of a folder's prices, if it has items whose prices need decimals."""
    mapping = data / "maps" / "items.toml"
    items = _find(data, "items")
    return None if items is None else currency_of(items, mapping if mapping.exists() else None)


def _find(folder: Path, stem: str) -> Path | None:
    return next((p for s in _SUFFIXES if (p := folder / f"{stem}{s}").exists()), None)


def _invented(home: Path, households: int, seed: int, reference: tuple[Given, ...]) -> Sources:
    target = home / "var" / "demo"
    paths = {stem: path for stem in REFERENCE if (path := _find(home / "data", stem)) is not None}
    missing = [stem for stem in REFERENCE if stem not in paths]
    if missing:
        message = f"{home / 'data'} lacks {', '.join(missing)}; the demo invents people, not places"
        raise refused("demo.reference_data", message)
    generate(
        target, households=households, seed=seed, year=YEAR,
        places=paths["locations"], facilities=paths["facilities"], items=paths["items"],
        diagnoses=paths["diagnoses"], price_lists=paths["price_lists"], cover_starts=date(YEAR, 1, 15),
    )  # fmt: skip
    months = cut(target, target / "claims.csv", target / "claim_lines.csv", None, None, YEAR)
    people = (Given("households", target / "households.csv", None),)
    return Sources(date(YEAR, 1, 1), reference, people, months)
