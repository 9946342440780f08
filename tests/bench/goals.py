"""Figures without a floor, reported against their goals: start-up, memory, a command over REST, throughput."""

from __future__ import annotations


def goals() -> list[str]:
    return []
