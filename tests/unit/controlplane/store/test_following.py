"""A log with a gap, a double or another order is noticed, and then everything is read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from controlplane.store.following import follow, patiently, since
from controlplane.store.memory import MemoryStore
from controlplane.store.port import Event, Key, UnavailableError

A, B = Key("things.example", "", "a"), Key("others.example", "", "b")


class Told(MemoryStore):
    """Says of its log what `told` makes of it."""

    told = staticmethod(lambda events: events)

    def changes(self, after: int) -> Sequence[Event]:
        return self.told(list(super().changes(after)))


async def a_store() -> Told:
    store = Told()
    for n in range(4):
        await store.create(Key("things.example", "", f"n{n}"), {})
    return store


@pytest.mark.parametrize("change", [lambda e: e[1:], lambda e: e[:-1], lambda e: e[::-1], lambda e: e + e, lambda _: [], lambda e: e[:1] + e[:1] + e[2:]])  # fmt: skip
async def test_what_is_not_whole_is_not_believed(change: object) -> None:
    store = await a_store()
    assert [e.record.revision for e in since(store, 1) or ()] == [2, 3, 4]
    store.told = change  # type: ignore[assignment,method-assign]
    assert since(store, 1) is None
    assert since(store, 4) == (), "nothing is missing where nothing happened"


async def test_who_follows_hears_of_what_concerns_them_and_when_to_read_everything() -> None:
    store = await a_store()
    async with asyncio.timeout(20), aclosing(follow(store, 4, {A.resource})) as followed:
        await store.create(B, {})
        await store.create(A, {})
        events = await anext(followed)
        assert events is not None
        assert [e.record.key for e in events] == [A]
        store.told = lambda _: []  # type: ignore[assignment,method-assign]
        await store.replace(A, {"x": 1})
        assert await anext(followed) is None


async def test_now_and_then_everything_is_read_unasked() -> None:
    store = await a_store()
    async with asyncio.timeout(20), aclosing(follow(store, 4, {A.resource}, resync_seconds=0.01)) as followed:
        assert await anext(followed) is None


async def test_a_store_that_is_away_is_asked_again() -> None:
    tries = 0

    async def read() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise UnavailableError("away")

    async with asyncio.timeout(20):
        await patiently(read)
    assert tries == 2
