from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ca.node_protocol import BANNED, MUST_ATTEST
from controlplane.agents import AgentRecord, AgentRegistry
from controlplane.audit import Entry
from controlplane.store.memory import MemoryStore

WHY = Entry("test", "me")


def a_record(name: str = "one", serial: str = "a") -> AgentRecord:
    return AgentRecord(name, "join-token", ("join-token:agent:one",), serial, "2026-01-01T00:00:00+00:00")


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    one = MemoryStore()
    yield one
    await one.close()


class Registry:
    def __init__(self, store: MemoryStore) -> None:
        self.changed: list[str] = []
        self.agents = AgentRegistry(store, self.changed.append)


async def test_the_certificate_in_use_and_the_next_one_are_taken(store: MemoryStore) -> None:
    agents = Registry(store).agents
    assert agents.refusal("one", "a").startswith(MUST_ATTEST)
    await agents.attested(a_record(), WHY)
    assert (agents.refusal("one", "a"), agents.selectors("one")) == ("", {"join-token:agent:one"})
    assert "replaced" in agents.refusal("one", "b")
    await agents.renewed("one", "b")
    assert (agents.refusal("one", "a"), agents.refusal("one", "b")) == ("", "")
    await agents.used("one", "a")  # the old one came once more: nothing changes
    assert agents.refusal("one", "a") == ""
    await agents.used("one", "b")
    assert (agents.refusal("one", "b"), "replaced" in agents.refusal("one", "a")) == ("", True)


async def test_attesting_again_shuts_every_older_certificate_out(store: MemoryStore) -> None:
    agents = Registry(store).agents
    await agents.attested(a_record(), WHY)
    await agents.renewed("one", "b")
    await agents.attested(a_record(serial="c"), WHY)
    assert [bool(agents.refusal("one", serial)) for serial in "abc"] == [True, True, False]


async def test_a_ban_stays_until_the_agent_is_evicted(store: MemoryStore) -> None:
    registry = Registry(store)
    agents = registry.agents
    assert not await agents.ban("one", "why", WHY)
    await agents.attested(a_record(), WHY)
    await agents.renewed("one", "b")
    assert await agents.ban("one", "stolen", WHY)
    assert agents.refusal("one", "a") == agents.refusal("one", "b") == f"{BANNED}: stolen"
    assert (agents.ban_reason("one"), agents.may_return("one"), agents.names()) == ("stolen", False, [])
    assert await agents.evict("one", WHY)
    assert not await agents.evict("one", WHY)
    assert (agents.ban_reason("one"), agents.all()) == ("", [])
    assert registry.changed == ["one"] * 4
    assert [record.entry.verb for record in await store.audit_records()] == ["test"] * 3


async def test_a_registry_that_has_not_heard_yet_looks_before_it_refuses(store: MemoryStore) -> None:
    here, there = Registry(store).agents, Registry(store).agents
    await there.attested(a_record(), WHY)
    assert here.refusal("one", "a").startswith(MUST_ATTEST)
    await here.look_again("one")
    await here.look_again("nobody")
    assert here.refusal("one", "a") == ""


async def test_one_registry_learns_what_another_wrote_and_nothing_is_undone_by_old_news(
    store: MemoryStore,
) -> None:
    writer, reader = Registry(store), Registry(store)
    await writer.agents.attested(a_record("before"), WHY)
    await reader.agents.load()
    assert reader.agents.names() == ["before"]
    following = [asyncio.ensure_future(registry.agents.run()) for registry in (writer, reader)]
    for serial in "abcdef":
        await writer.agents.attested(a_record(serial=serial), WHY)
        assert writer.agents.refusal("one", serial) == ""
    await writer.agents.evict("before", WHY)
    async with asyncio.timeout(10):
        while reader.agents.names() != ["one"] or reader.agents.refusal("one", "f"):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.001)
    assert writer.agents.refusal("one", "f") == ""
    for task in following:
        task.cancel()
    await asyncio.wait(following)
