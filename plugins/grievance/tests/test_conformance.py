"""The plugin keeps to what the kernel relies on."""

from __future__ import annotations

from imis_core.testing.conformance import Conformance

UNSCOPED = {"holds": "whoever lets an order go must know of every grievance that keeps it back"}


def test_the_plugin_conforms(conformance: Conformance) -> None:
    """Hooks, names, sentences, tables and plans."""
    conformance("grievance", unscoped=UNSCOPED)
