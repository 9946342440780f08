"""`nox -s fuzz`: many generated files for every importer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imis_core.imports.kinds import KINDS
from imis_core.testing.app import TestApp
from tests.fuzz.importers import check_kind, check_load, check_reconciling, check_registry, prepare

EXAMPLES = int(os.environ.get("IMIS_FUZZ_FILES", "300"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_row_of_a_file_is_loaded_or_listed(app: TestApp, tmp_path: Path, kind: str) -> None:
    """Whatever the bytes: counts add up, or the file is refused as a whole with a code."""
    check_kind(prepare(app), tmp_path, kind, EXAMPLES)


def test_the_other_importers(app: TestApp, tmp_path: Path) -> None:
    """Folders of a deployment, staged imports, reports of payments."""
    prepare(app)
    check_load(app, tmp_path, EXAMPLES)
    check_registry(app, EXAMPLES)
    check_reconciling(app, EXAMPLES)
