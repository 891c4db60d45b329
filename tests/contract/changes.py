"""Keys and changes the contract suite is about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from controlplane.audit import Decision, Entry
from controlplane.store.port import (
    Event,
    Key,
    Store,
)

A = Key("things.example", "shop", "a")
B = Key("things.example", "shop", "b")
OTHER = Key("things.example", "other", "a")


async def events(store: Store, after: int, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(5), aclosing(store.watch(after)) as stream:
        async for event in stream:
            found.append(event)
            if len(found) == count:
                break
    return found


def an_entry(name: str = "a", decision: Decision = Decision.ALLOW) -> Entry:
    return Entry("create", "ann", decision, name=name, detail={"diff": [name]})


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - the store tells of it to nobody
            await asyncio.sleep(0.01)
