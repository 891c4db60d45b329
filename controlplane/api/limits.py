"""What one client may take: requests a second, requests at once, turns of the loop, connections that say nothing.

A token bucket a caller (by name; by address for who is not identified); of the requests that may run at once a caller
has as many as it leaves free for others; changes begin one in a turn of the event loop, caller by caller; and a reaper
for connections that open and do not speak, or stop in the middle of a request's head (slow loris).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from controlplane.api.errors import ApiError
from xds.turns import Turns

MOST_CLIENTS: Final = 10_000  # buckets that are remembered
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """`rate` requests a second with a `burst`, `refused` failed authentications a second, `running` at once; how long
    a request's head and body may take, and a connection may say nothing.
    """

    rate: float = 2_000
    burst: float = 4_000
    refused: float = 5
    refused_burst: float = 50
    running: int = 512
    connections: int = 8_192
    head_seconds: float = 15
    idle_seconds: float = 90
    body_seconds: float = 20


class Buckets:
    """The oldest bucket is forgotten first: it had time to fill up again."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> bool:
        """Is there one left for this client?"""
        now = self._clock()
        level, at = self._levels.pop(client, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._rate)
        allowed = level >= 1
        self._levels[client] = (level - 1 if allowed else level, now)
        if len(self._levels) > MOST_CLIENTS:
            self._levels.popitem(last=False)
        return allowed


class Gate:
    """At the door: who is over the limit is told to come again."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = Buckets(limits.rate, limits.burst)
        self._refusals = Buckets(limits.refused, limits.refused_burst)
        self._running = Counter[str]()
        self._all_running = 0
        self._turns = Turns()

    @contextmanager
    def admitted(self, client: str, *, counted: bool = True) -> Generator[None]:
        """Within the block a request runs; `counted`: it is one of those that may at once. Raises: ApiError 429."""
        if not self._requests.take(client):
            raise _too_many(f"more than {self._limits.rate:.0f} requests a second")
        if not counted:
            yield
            return
        if self._running[client] >= self._limits.running - self._all_running:
            raise _too_many("the server is busy")
        self._running[client] += 1
        self._all_running += 1
        try:
            yield
        finally:
            self._all_running -= 1
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]

    async def turn(self, client: str) -> None:
        """Returns when a change that this client wants may begin: some three milliseconds in which nobody else has the loop."""
        await self._turns.enter(client)

    def refused(self, source: str) -> None:
        """Counts a failed authentication. Raises: ApiError 429 when there were too many to note each.

        Only who failed is told so: a good credential is never locked out by what others of its address try.
        """
        if not self._refusals.take(source):
            raise _too_many("too many failed authentications")


class Connections:
    """Deadlines of all connections; `run` drops those that passed."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.connections
        self._head_seconds = limits.head_seconds
        self._idle_seconds = limits.idle_seconds
        self._look_seconds = min(_LOOK_SECONDS, limits.head_seconds)
        self._deadlines: dict[asyncio.BaseTransport, float] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def opened(self, transport: asyncio.BaseTransport) -> None:
        self._deadlines[transport] = time.monotonic() + self._head_seconds
        if len(self._deadlines) > self._most:
            self._drop(transport)

    def busy(self, transport: asyncio.BaseTransport | None) -> None:
        """A request has arrived whole (its head): it has its own limits."""
        if transport in self._deadlines:
            self._deadlines[transport] = float("inf")

    def idle(self, transport: asyncio.BaseTransport | None) -> None:
        if transport in self._deadlines:
            self._deadlines[transport] = time.monotonic() + self._idle_seconds

    def closed(self, transport: asyncio.BaseTransport) -> None:
        self._deadlines.pop(transport, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._look_seconds)
            now = time.monotonic()
            for transport in [t for t, deadline in self._deadlines.items() if deadline < now]:
                self._drop(transport)

    def _drop(self, transport: asyncio.BaseTransport) -> None:
        self.dropped += 1
        self._deadlines.pop(transport, None)
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
        else:
            transport.close()


class Guarded(asyncio.Protocol):
    """Stands before aiohttp's protocol and tells `connections` of its life."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner = inner
        self._connections = connections
        self._transport: asyncio.BaseTransport | None = None
        self.data_received = inner.data_received
        self.eof_received = inner.eof_received
        self.pause_writing = inner.pause_writing
        self.resume_writing = inner.resume_writing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._inner.connection_made(transport)
        self._connections.opened(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._connections.closed(self._transport)
        self._inner.connection_lost(exc)


def _too_many(why: str) -> ApiError:
    return ApiError(429, "TooManyRequests", f"{why}; try again in a second", {"retryAfterSeconds": 1})
