"""In which order newcomers are told their configuration when all come at once (an edge: it asks for turns of the loop).

After a restart every proxy is back within a second, and what each costs (compiling, encoding, sending all of it) would
keep whoever is in already from hearing of an edit. So one newcomer is let in a turn of the event loop: between two of
them everybody else has had their turn. They are taken identity by identity, so that one which comes and goes a hundred
times a second, or in a hundred streams, waits for itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable


class Admission:
    """`await enter(who)` returns when it is their turn."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}  # in the order of their turns
        self._turning = False

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def enter(self, who: Hashable) -> None:
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        if not self._turning:
            self._turning = True
            loop.call_soon(self._next, loop)
        await turn

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            who = next(iter(self._waiting))
            turns = self._waiting.pop(who)
            turn = turns.popleft()
            if turns:
                self._waiting[who] = turns  # behind the others
            if not turn.done():  # it may have gone meanwhile
                turn.set_result(None)
                loop.call_soon(self._next, loop)
                return
        self._turning = False
