"""Imports: files from outside into the rooms, through their commands; every row is loaded or listed with reasons."""

from __future__ import annotations

from imis_core.imports.loading import ImportReport, import_file
from imis_core.imports.reference import FOLDERS, LoadReport, drift, load_paths

__all__ = ["FOLDERS", "ImportReport", "LoadReport", "drift", "import_file", "load_paths"]
