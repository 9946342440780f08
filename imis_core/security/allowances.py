"""So much per while for each caller, in this process's memory: a brake on programs that run away, and on guessing.

Each web process counts for itself, so that no request writes a row for being counted.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from math import ceil
from typing import Final

_REMEMBERED_MAX: Final = 10_000  # callers; who has not come for longest is forgotten first


class Allowance:
    """`most` at once for each caller, filled up again evenly within `seconds`; 0: no limit."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._per_second = most / seconds
        self._clock = clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # what was left, and when
        self._lock = threading.Lock()

    def take(self, who: Hashable, count: int = 1) -> int | None:
        """Take so much of somebody's allowance; None, or the seconds until there is enough, and nothing is taken."""
        if not self._most:
            return None
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(who, (float(self._most), now))
            left = min(float(self._most), left + (now - at) * self._per_second)
            enough = left >= count
            self._left[who] = (left - count if enough else left, now)
            while len(self._left) > _REMEMBERED_MAX:
                self._left.popitem(last=False)
        return None if enough else max(1, ceil((count - left) / self._per_second))
