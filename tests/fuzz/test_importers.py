"""A small share of what `nox -s fuzz` tries: files that hypothesis made, through every importer."""

from __future__ import annotations

from pathlib import Path

import pytest

from imis_core.imports.kinds import KINDS
from imis_core.testing.app import TestApp
from tests.fuzz.importers import check_kind, check_load, check_reconciling, check_registry, prepare

EXAMPLES = 15


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_row_of_a_file_is_loaded_or_listed(app: TestApp, tmp_path: Path, kind: str) -> None:
    """Whatever the bytes: counts add up, or the file is refused as a whole with a code."""
    check_kind(prepare(app), tmp_path, kind, EXAMPLES)


def test_files_of_a_deployment_never_break_the_loader(app: TestApp, tmp_path: Path) -> None:
    """What is wrong in a folder of packages and reference data is a problem with its path."""
    check_load(prepare(app), tmp_path, EXAMPLES)


def test_each_row_of_a_staged_import_is_valid_or_listed(app: TestApp) -> None:
    """`registry.import` takes texts of every kind."""
    check_registry(prepare(app), EXAMPLES)


def test_a_report_of_payments_never_breaks_reconciliation(app: TestApp) -> None:
    """A file of a payment provider may be anything."""
    check_reconciling(prepare(app), EXAMPLES)
