"""The test kit for plugin authors: a pytest plugin with applications on fresh databases, a clock, users and scenarios."""

from __future__ import annotations
