"""The test kit for plugin authors: a pytest plugin with applications on fresh databases, a clock and users."""

from __future__ import annotations
