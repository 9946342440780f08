"""Health insurance for the IMIS framework: package terms, premiums and the tables that claims are valuated by."""

from typing import Final

__version__: Final = "0.1.0"
