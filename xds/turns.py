"""Turns of the event loop, given to those who have much to do in one, so that nobody else waits for all of them (an edge).

A few enter in a turn of the loop; between two turns everybody else has had theirs. Who enters next says `fair_queue`: who
has not been in for the longest time. What is not crowded is not delayed.

    who                            key           why
    newcomers to the xDS port      identity      after a restart every proxy is back within a second, and each costs
                                                 compiling, encoding and sending all of it
    proxies with news              node          a flood of edits has news for the same proxies all the time
    changes by the API             caller        and comes from somebody
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from xds.fair_queue import FairQueue


class Turns:
    """`await enter(who)` returns when it is their turn; `at_once` of them have the same one."""

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = self._room = at_once
        self._queue = FairQueue[asyncio.Future[None]]()
        self._turning = False

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def enter(self, who: Hashable) -> None:
        loop = asyncio.get_running_loop()
        if not self._turning:
            self._turning = True
            loop.call_soon(self._next, loop)
        if self._room and not self._queue:
            self._room -= 1
            self._queue.served(who)
            return
        turn = loop.create_future()
        self._queue.put(who, turn)
        await turn

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._room = self._at_once
        while self._room and (turn := self._queue.pop()) is not None:
            if not turn.done():  # it may have gone meanwhile
                turn.set_result(None)
                self._room -= 1
        self._turning = self._room < self._at_once
        if self._turning:
            loop.call_soon(self._next, loop)
