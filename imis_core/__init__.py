"""The kernel of a framework for social-protection information systems. Plugins import `imis_core.api`, nothing else."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
