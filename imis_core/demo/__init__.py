"""A deployment to look at: invented people and claims, or real files, through a whole year of a scheme."""

from __future__ import annotations

from imis_core.demo.run import run

__all__ = ["run"]
