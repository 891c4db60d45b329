"""A workload that is no longer registered serves on until its callers know (an edge: it waits on the event loop).

Its callers are told at once. It is told, and so closes its ports, once all of them that are connected hold a mesh
without it, not before requests under way have had their time, and at the latest after `most` seconds: a caller that
never answers keeps nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Final

from xds.ledger import Ledger

LEAST_SECONDS: Final = 2.0
MOST_SECONDS: Final = 15.0
STEP_SECONDS: Final = 0.05


class Leaving:
    """`publish(nodes)`: they are told what the mesh has for them now."""

    def __init__(
        self,
        ledger: Ledger,
        publish: Callable[[AbstractSet[str]], None],
        least: float = LEAST_SECONDS,
        most: float = MOST_SECONDS,
    ) -> None:
        self._ledger = ledger
        self._publish = publish
        self._least = least
        self._most = most

    def begin(self, gone: AbstractSet[str], callers: AbstractSet[str], revision: int) -> None:
        """`gone` are no longer in the mesh of `revision`, which `callers` have been offered."""
        loop = asyncio.get_running_loop()
        loop.call_later(self._least, self._look, loop, gone, callers, revision, loop.time() + self._most)

    def _look(
        self,
        loop: asyncio.AbstractEventLoop,
        gone: AbstractSet[str],
        callers: AbstractSet[str],
        revision: int,
        end: float,
    ) -> None:
        late = (name in callers and not refuses for name, refuses in self._ledger.behind(revision))
        if loop.time() < end and any(late):
            loop.call_later(STEP_SECONDS, self._look, loop, gone, callers, revision, end)
        else:
            self._publish(gone)
