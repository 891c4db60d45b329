"""How long a batch of edits waits for more: not at all after a quiet moment, longer the more batches cost.

Of the last two the cheaper counts: one that a garbage collection fell into says nothing of the next.
Times are seconds of one monotonic clock and come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# while edits keep coming: at most this many batches a second, and at most this share of the time spent on them
SHORTEST: Final = 0.005
LONGEST: Final = 0.25
_COSTS: Final = 4


@dataclass(slots=True)
class Pace:
    _ended: float = float("-inf")
    _window: float = 0.0
    _cost: float = 0.0

    def wait(self, now: float) -> float:
        """Seconds until the next batch may be taken; 0: now."""
        return max(0.0, self._ended + self._window - now)

    def taken(self, ended: float, cost: float) -> None:
        """`cost`: seconds of the processor, whatever else it did meanwhile."""
        self._ended = ended
        self._window = min(LONGEST, max(SHORTEST, _COSTS * min(cost, self._cost)))
        self._cost = cost
