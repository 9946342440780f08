"""Faults, each with real processes against a real database: run by `nox -s faults`, not with the suite.

Files are named `fault_*.py`, so that pytest collects them only where it is told to. See docs/faults.md.
"""
