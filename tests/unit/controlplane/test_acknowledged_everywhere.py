"""Agents of every server count, wherever an authority is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.acknowledged_everywhere import RESOURCE, AcknowledgedEverywhere, Heard
from controlplane.acknowledgements import Acknowledgements, Counted
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Key

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Shared(MemoryStore):
    """As server 1 of several sees it."""

    alive = frozenset({"1", "2"})

    @property
    def server(self) -> str:
        return "1"

    async def servers(self) -> frozenset[str]:
        return self.alive


@dataclass
class Server:
    store: Shared = field(default_factory=Shared)
    sequence: int = 1
    known: set[str] = field(default_factory=lambda: {"web-1", "web-2"})
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.own = Acknowledgements(lambda: self.now, lambda: self.known)
        self.everywhere = AcknowledgedEverywhere(
            self.store, self.own, lambda: self.sequence, lambda: self.known, lambda: self.now
        )

    async def other_says(self, sequence: int, **agents: int) -> None:
        said = Heard(sequence, {name.replace("_", "-"): Counted(n, NOW + HOUR) for name, n in agents.items()})
        key = Key(RESOURCE, "", "2")
        if await self.store.get(key) is None:
            await self.store.create(key, said.to_json())
        else:
            await self.store.replace(key, said.to_json())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.everywhere.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            for _ in iter(what, True):
                await asyncio.sleep(0.01)


async def test_a_server_that_has_said_nothing_is_waited_for() -> None:
    one = Server(known=set())
    async with one.running():
        await one.until(lambda: one.everywhere.behind(1) == ("server 2",))
        await one.other_says(1)
        await one.until(lambda: one.everywhere.behind(1) == ())
        assert one.everywhere.behind(2) == ("server 2",), "it does not know that bundle itself"
        one.store.alive = frozenset({"1"})
        await one.until(lambda: one.everywhere.behind(2) == ())


async def test_an_agent_of_another_server_is_waited_for_and_one_that_has_moved_is_not() -> None:
    one = Server()
    one.own.holds("web-1", NOW + HOUR)
    one.own.acknowledged("web-1", 2)
    async with one.running():
        await one.other_says(2, web_1=1, web_2=1)
        await one.until(lambda: one.everywhere.behind(2) == ("web-2",))
        await one.other_says(2, web_1=1, web_2=2)
        await one.until(lambda: one.everywhere.behind(2) == ())


async def test_agents_of_a_killed_server_count_until_their_certificates_have_expired() -> None:
    one = Server(now=NOW - 2 * HOUR)  # it has been there for long: nobody of before its start can still talk
    one.now = NOW
    async with one.running():
        await one.other_says(1, web_2=1)
        await one.until(lambda: "web-2" in one.everywhere.behind(2))
        one.store.alive = frozenset({"1"})
        await one.until(lambda: "server 2" not in one.everywhere.behind(2))
        assert "web-2" in one.everywhere.behind(2)
        one.known.discard("web-2")  # evicted
        assert "web-2" not in one.everywhere.behind(2)
        one.known.add("web-2")
        one.now = NOW + HOUR
        await one.until(lambda: one.everywhere.behind(2) == ())


async def test_a_server_tells_what_its_agents_have_acknowledged() -> None:
    one = Server(sequence=3)

    async def hears(counted: Counted) -> Heard:
        """Its report once it says so of web-1."""
        while True:
            revision = one.store.revision
            record = await one.store.get(Key(RESOURCE, "", "1"))
            said = Heard() if record is None else Heard.read(record.value)
            if said.agents.get("web-1") == counted:
                return said
            await one.store.wait(revision)

    async with one.running(), asyncio.timeout(20):
        one.own.holds("web-1", NOW + timedelta(minutes=10))
        assert (await hears(Counted(0, NOW + HOUR))).sequence == 3
        one.own.acknowledged("web-1", 3)
        assert (await hears(Counted(3, NOW + HOUR))).sequence == 3


@pytest.mark.parametrize("heard", [Heard(), Heard(7, {"a": Counted(6, NOW)})])
def test_what_is_written_is_read(heard: Heard) -> None:
    assert Heard.read(heard.to_json()) == heard
