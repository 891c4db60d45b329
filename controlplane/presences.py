"""Which agents are there and which of their workloads are ready: kept in the store, written when it changes (an edge).

    word of an agent                      written at once, at most every WORD_SECONDS for one agent
    its stream ends                       nothing: it may come back, here or at another server
    nobody has had its stream for long    it is lost: what it watches takes no requests until it is back

Several servers: the store knows which of them live, and one that is gone holds no streams. What is there and what is
not is looked at, not timed by an event: a restart of a server begins to count anew, and removes nobody; nothing is
written while nothing changes. The clock is monotonic: no jump of the time loses anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

import structlog

from controlplane.mesh.presence import RESOURCE, Presence
from controlplane.store.port import (
    AlreadyExistsError,
    ConflictError,
    Key,
    NotFoundError,
    Record,
    Store,
    UnavailableError,
)

GRACE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 5.0
WORD_SECONDS: Final = 0.1
log = structlog.get_logger()

Watched = tuple[tuple[str, str], ...]


class Presences:
    """`connected`: the agents that hold a stream here."""

    def __init__(
        self,
        store: Store,
        connected: Callable[[], Collection[str]],
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._store = store
        self._connected = connected
        self._grace = grace_seconds
        self._pause = min(LOOK_SECONDS, grace_seconds / 4)
        self._said: dict[str, Watched] = {}
        self._written: dict[str, float] = {}  # when an agent's word was last written
        self._missing: dict[str, float] = {}  # agents whose stream nobody has, since when
        self._wake = asyncio.Event()

    def said(self, agent: str, watched: Watched) -> None:
        """An agent's word of all it watches."""
        self._said[agent] = watched
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        clock = asyncio.get_running_loop().time
        sweep = clock()
        while True:
            try:
                await self._write_said(clock())
                if clock() >= sweep:
                    await self._sweep(clock())
                    sweep = clock() + self._pause
            except UnavailableError as error:
                log.warning("presence.not_written", error=str(error))
                sweep = clock() + self._pause
                await asyncio.sleep(self._pause)
            due = min((self._due(agent) for agent in self._said), default=sweep)
            try:
                async with asyncio.timeout(max(0.0, min(due, sweep) - clock())):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    def _due(self, agent: str) -> float:
        return self._written.get(agent, float("-inf")) + WORD_SECONDS

    async def _write_said(self, now: float) -> None:
        for agent in [agent for agent in self._said if self._due(agent) <= now]:
            watched = self._said[agent]
            ready = frozenset(name for name, reason in watched if not reason)
            unready = tuple((name, reason) for name, reason in watched if reason)
            await self._put(Presence(agent, self._store.server, ready, unready))
            self._written[agent] = now
            if self._said[agent] == watched:
                del self._said[agent]

    async def _sweep(self, now: float) -> None:
        records, _ = await self._store.list(RESOURCE)
        others = await self._store.servers() - {self._store.server}
        here, known = self._connected(), set[str]()
        for record in records:
            presence = Presence.of(record.value)
            known.add(presence.agent)
            if presence.lost or presence.agent in here or presence.server in others:
                self._missing.pop(presence.agent, None)
            elif now - self._missing.setdefault(presence.agent, now) >= self._grace:
                await self._lose(record, presence)
        self._missing = {agent: since for agent, since in self._missing.items() if agent in known}
        self._written = {agent: at for agent, at in self._written.items() if agent in here}

    async def _lose(self, record: Record, presence: Presence) -> None:
        try:
            await self._store.replace(record.key, replace(presence, lost=True).value, record.revision)
        except (ConflictError, NotFoundError):
            return  # it came back, or another server was first
        log.warning("agent.lost", agent=presence.agent, workloads=sorted(presence.ready))

    async def _put(self, presence: Presence) -> None:
        key = Key(RESOURCE, "", presence.agent)
        before = await self._store.get(key)
        old = None if before is None else Presence.of(before.value)
        if old == presence:
            return
        await self._upsert(key, presence.value)
        was = frozenset[str]() if old is None or old.lost else old.ready
        for name in sorted(presence.ready - was):
            log.info("endpoint.ready", workload=name, agent=presence.agent)
        for name, reason in presence.unready:
            if old is None or (name, reason) not in old.unready:
                log.info("endpoint.not_ready", workload=name, agent=presence.agent, reason=reason)

    async def _upsert(self, key: Key, value: dict[str, Any]) -> None:
        try:
            await self._store.replace(key, value, minor=True)
        except NotFoundError:
            try:
                await self._store.create(key, value)
            except AlreadyExistsError:
                await self._store.replace(key, value, minor=True)
