"""Token buckets by key, bounded in number. No I/O: the clock is an argument.

A bucket that is full again is forgotten; when there are too many, the fullest go first, so a flood of new keys
never frees a key that has used its share.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

MAX_KEYS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_second`."""

    per_second: float
    burst: float


class RateLimiter:
    """`take` at each use. `now` is any clock in seconds that does not go back."""

    def __init__(self, rate: Rate, max_keys: int = MAX_KEYS) -> None:
        self._rate = rate
        self._max = max_keys
        self._buckets: dict[Hashable, tuple[float, float]] = {}  # left, as of when

    def take(self, key: Hashable, now: float) -> float:
        """0.0: go on. Else the seconds until it is worth another try; nothing was taken."""
        left = self._left(key, now)
        if left < 1.0:
            return (1.0 - left) / self._rate.per_second
        if key not in self._buckets and len(self._buckets) >= self._max:
            self._forget(now)
        self._buckets[key] = (left - 1.0, now)
        return 0.0

    def _left(self, key: Hashable, now: float) -> float:
        left, then = self._buckets.get(key, (self._rate.burst, now))
        return min(self._rate.burst, left + (now - then) * self._rate.per_second)

    def _forget(self, now: float) -> None:
        by_use = sorted(self._buckets, key=lambda key: self._left(key, now), reverse=True)
        full = [key for key in by_use if self._left(key, now) >= self._rate.burst]
        for key in full or by_use[: len(by_use) // 10 + 1]:
            del self._buckets[key]
