"""Revisions and tables tell the same: what a migrated database lacks of the tables is nothing."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from imis_core import rooms
from imis_core.migrations.next_revision import difference, new_functions
from imis_core.plugins import ENTRY_POINT_GROUP, Manifest
from imis_core.testing.app import TestApp

INSTALLED = sorted(metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)


def manifests() -> list[Manifest]:
    found = [rooms.imis_plugin(), *(point.load().imis_plugin() for point in INSTALLED)]
    return [manifest for manifest in found if manifest.tables is not None]


@pytest.fixture
def migrated(make_app: Any) -> TestApp:
    """An application with every installed plugin."""
    app: TestApp = make_app(plugins=[point.name for point in INSTALLED])
    return app


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: str(manifest.name))
def test_no_table_waits_for_a_revision(migrated: TestApp, manifest: Manifest) -> None:
    """A database made by the revisions has every table, column, index and function of the definitions."""
    with migrated.database.engine.connect() as connection:
        assert difference(connection, manifest).ops == []
    assert new_functions(manifest) == []
