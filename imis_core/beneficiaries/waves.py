"""Batches whose items touch one another, cut so that set-based work gives what one item after the other would give."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence


def in_waves(touched: Sequence[Collection[Hashable]]) -> list[list[int]]:
    """Positions of items in waves, to be worked one wave after the other.

    `touched[i]` is what item i reads or changes. Within a wave no two items touch the same; of two that do, the earlier
    one stands in an earlier wave.
    """
    next_wave: dict[Hashable, int] = {}
    waves: list[list[int]] = []
    for position, keys in enumerate(touched):
        wave = max((next_wave.get(key, 0) for key in keys), default=0)
        if wave == len(waves):
            waves.append([])
        waves[wave].append(position)
        next_wave.update(dict.fromkeys(keys, wave + 1))
    return waves
