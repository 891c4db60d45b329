from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from controlplane.mesh.presence import RESOURCE, Presence
from controlplane.presences import Presences
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Key

GRACE = 0.2


class Servers(MemoryStore):
    """One of several servers on a store, as the store's port tells of them."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = {"", "other"}

    async def servers(self) -> frozenset[str]:
        return frozenset(self.alive)


class Cluster:
    def __init__(self) -> None:
        self.store = Servers()
        self.connected: set[str] = set()

    @asynccontextmanager
    async def server(self) -> AsyncIterator[Presences]:
        presences = Presences(self.store, lambda: self.connected, GRACE)
        task = asyncio.ensure_future(presences.run())
        yield presences
        task.cancel()
        await asyncio.wait({task})

    async def known(self, agent: str) -> Presence | None:
        record = await self.store.get(Key(RESOURCE, "", agent))
        return None if record is None else Presence.of(record.value)

    async def until(self, agent: str, true: Callable[[Presence], bool]) -> Presence:
        async with asyncio.timeout(10):
            while True:
                revision = self.store.revision
                if (found := await self.known(agent)) is not None and true(found):
                    return found
                await self.store.wait(revision)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_an_agents_word_is_kept(cluster: Cluster) -> None:
    cluster.connected = {"one"}
    async with cluster.server() as server:
        server.said("one", (("shop/a", ""), ("shop/b", "answers 503")))
        found = await cluster.until("one", lambda p: bool(p.ready))
        assert found == Presence("one", "", frozenset({"shop/a"}), (("shop/b", "answers 503"),))
        server.said("one", ())
        await cluster.until("one", lambda p: not p.ready)


async def test_the_same_word_again_writes_nothing(cluster: Cluster) -> None:
    cluster.connected = {"one", "two"}
    async with cluster.server() as server:
        server.said("one", (("shop/a", ""),))
        await cluster.until("one", lambda p: bool(p.ready))
        before = cluster.store.revision
        server.said("one", (("shop/a", ""),))
        server.said("two", (("shop/b", ""),))
        await cluster.until("two", lambda p: bool(p.ready))
        assert cluster.store.revision == before + 1


async def test_a_flood_of_words_is_written_at_its_pace(cluster: Cluster) -> None:
    cluster.connected = {"one"}
    async with cluster.server() as server:
        for n in range(1000):
            server.said("one", (("shop/a", f"reason {n}"),))
            await asyncio.sleep(0)
        await cluster.until("one", lambda p: p.unready == (("shop/a", "reason 999"),))
        assert cluster.store.revision < 100


async def test_who_is_away_too_long_is_lost_until_it_speaks_again(cluster: Cluster) -> None:
    cluster.connected = {"one"}
    async with cluster.server() as server:
        server.said("one", (("shop/a", ""),))
        assert (await cluster.until("one", lambda p: True)).holds("shop/a")
        cluster.connected = set()
        assert not (await cluster.until("one", lambda p: p.lost)).holds("shop/a")
        cluster.connected = {"one"}
        server.said("one", (("shop/a", ""),))
        assert (await cluster.until("one", lambda p: not p.lost)).holds("shop/a")


async def test_a_server_that_starts_removes_nobody_who_comes_back_in_time(cluster: Cluster) -> None:
    cluster.connected = {"one", "two"}
    async with cluster.server() as server:
        for agent in ("one", "two"):
            server.said(agent, (("shop/a", ""),))
            await cluster.until(agent, lambda p: True)
    cluster.connected = set()
    async with cluster.server():
        cluster.connected = {"one"}
        await cluster.until("two", lambda p: p.lost)
        found = await cluster.known("one")
        assert found is not None and not found.lost


async def test_an_agent_of_a_server_that_lives_is_that_servers_business(cluster: Cluster) -> None:
    theirs = Presence("theirs", "other", frozenset({"shop/a"}))
    mine = Presence("mine", "", frozenset({"shop/b"}))
    for one in (theirs, mine):
        await cluster.store.create(Key(RESOURCE, "", one.agent), one.value)
    async with cluster.server():
        await cluster.until("mine", lambda p: p.lost)
        assert await cluster.known("theirs") == theirs
        cluster.store.alive = {""}
        await cluster.until("theirs", lambda p: p.lost)
