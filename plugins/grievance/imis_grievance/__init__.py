"""Grievances for the IMIS framework, for schemes of every kind."""

from typing import Final

__version__: Final = "0.1.0"
