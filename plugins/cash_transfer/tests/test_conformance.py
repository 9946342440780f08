"""The plugin keeps to what the kernel relies on."""

from __future__ import annotations

from imis_core.testing.conformance import Conformance

TERMS = {"amount": {"base": "10"}, "frequency": {"every": "month"}, "arrears": {"late": True, "missed": True}}


def test_the_plugin_conforms(conformance: Conformance) -> None:
    """Hooks, names, sentences, tables and plans."""
    conformance("cash_transfer", terms={"cash_transfer": TERMS}, fill={"beneficiary_current.state": "'active'"})
