"""The plugin keeps to what the kernel relies on."""

from __future__ import annotations

from imis_core.testing.conformance import Conformance


def test_the_plugin_conforms(conformance: Conformance) -> None:
    """Hooks, names, sentences, tables and plans."""
    conformance("fhir")
