"""Every importer with files that hypothesis made: each row is loaded or listed, never a traceback."""

from __future__ import annotations

import base64
import secrets
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st

from imis_core.errors import ImisError
from imis_core.imports import import_file, load_paths
from imis_core.imports.kinds import KINDS
from imis_core.testing.app import TestApp
from tests.fuzz.files import as_rows, files, tables

LINES = b"claim,item,quantity,price\nC1,LAB,1,100\n"


def settings(examples: int) -> Any:
    """So many examples of a fixed seed; the same in every run."""
    return hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip


def prepare(app: TestApp) -> TestApp:
    """Something for right rows to name."""
    app.clock.set(date(2021, 6, 1))
    app.do("locations.add", {"code": "D1", "name": "D1", "level": "district"})
    app.do("catalogue.add_diagnosis", {"code": "A09", "name": "A09"})
    app.do("catalogue.define_item", {"code": "LAB", "name": "LAB", "kind": "service", "price": "100"})
    app.do("providers.register", {"code": "HC1", "name": "HC1", "location": "D1"})
    app.do("payments.register_provider", {"code": "BANK", "name": "Bank", "channel": "cash_list"})
    return app


def check_kind(app: TestApp, folder: Path, kind_name: str, examples: int) -> None:
    """`imis import KIND`: loaded + unchanged + refused = rows, or the file is refused as a whole with a code."""
    kind = KINDS[kind_name]
    caller = app.as_user("administrator")
    lines = None
    if kind.lines:
        lines = folder / "lines.csv"
        lines.write_bytes(LINES)

    @settings(examples)
    @hypothesis.given(files(kind.fields))
    def load(made: tuple[str, bytes]) -> None:
        ending, content = made
        path = folder / f"{secrets.token_hex(4)}.{ending}"
        path.write_bytes(content)
        try:
            done = import_file(app, kind_name, path, caller, lines=lines)
        except ImisError:
            return  # refused as a whole, with a code
        assert done.loaded + done.unchanged + done.refused == done.rows
        assert bool(done.refused or done.lines_refused) == any(
            file.read_bytes() for file in done.error_files if file.is_file()
        )

    load()


def check_load(app: TestApp, folder: Path, examples: int) -> None:
    """`imis load PATH`: reference data and packages; what is wrong is a problem with its path."""
    names = st.sampled_from(("locations", "items", "facilities", "diagnoses", "price_lists", "packages", "x"))

    @settings(examples)
    @hypothesis.given(names, files(("code", "name", "level", "kind", "price", "parent")), st.text(max_size=60))
    def load(name: str, made: tuple[str, bytes], toml: str) -> None:
        base = folder / secrets.token_hex(4)
        base.mkdir()
        (base / f"{name}.{made[0]}").write_bytes(made[1])
        (base / f"{name}.toml").write_text(f"scheme = 'chf'\n{toml}", "utf-8", errors="replace")
        with suppress(ImisError):  # refused as a whole, with a code
            load_paths(app, [base])

    load()


def check_registry(app: TestApp, examples: int) -> None:
    """`registry.import`: valid + invalid = total, each invalid row listed."""
    fields = ("number", "given_name", "family_name", "sex", "birth_date", "location", "nothing")

    @settings(examples)
    @hypothesis.given(tables(fields))
    def load(made: tuple[list[str], list[list[str]]]) -> None:
        rows = as_rows(made)
        try:
            done = app.do("registry.import", {"kind": "persons", "file": "f", "rows": rows})
        except ImisError:
            return  # refused as a whole, with a code
        assert done["valid"] + done["invalid"] == done["total"] == len(rows)
        listed = {error["row"] for error in done["errors"]}
        assert len(listed) == done["invalid"] or done.get("repeated")

    load()


def check_reconciling(app: TestApp, examples: int) -> None:
    """`payments.reconcile_file`: every row is counted once, or the file is refused with a code."""

    @settings(examples)
    @hypothesis.given(files(("order", "status", "amount", "reference", "reason", "currency")))
    def load(made: tuple[str, bytes]) -> None:
        ending, content = made
        name = f"{secrets.token_hex(4)}.{ending}"
        sent = {"provider": "BANK", "name": name, "content": base64.b64encode(content).decode()}
        try:
            done = app.do("payments.reconcile_file", sent)
        except ImisError:
            return  # refused as a whole, with a code
        assert all(row["row"] >= 1 and row["code"] for row in done["rows"])

    load()
