"""Following a store without trusting its events: they only say where to look.

Revisions have no gaps, so an event that is missing, doubled or out of place shows. Then everything is read again, and
so it is now and then anyway: whatever was lost on the way changes nothing for longer than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Final

import structlog

from controlplane.store.port import Event, GoneError, Store, StoreError

RESYNC_SECONDS: Final = 600.0
_AGAIN_SECONDS: Final = 1.0
log = structlog.get_logger()


def since(store: Store, after: int) -> Sequence[Event] | None:
    """Every change after a revision up to the store's own; None when any is not there: read everything."""
    revision = store.revision
    if revision <= after:  # what was read from a database may be newer than what has been heard of
        return ()
    try:
        events = store.changes(after)
    except GoneError:
        return None
    if len(events) != revision - after:
        return None
    if any(event.record.revision != after + place for place, event in enumerate(events, 1)):
        return None
    return events


async def follow(
    store: Store, after: int, resources: Collection[str], resync_seconds: float = RESYNC_SECONDS
) -> AsyncIterator[Sequence[Event] | None]:
    """The changes of some resources, as they come, without end; None: read everything of them again."""
    while True:
        try:
            async with asyncio.timeout(resync_seconds):
                await store.wait(after)
            events = since(store, after)
        except TimeoutError:
            events = None
        after = store.revision if events is None else max(after, store.revision)
        if events is None:
            yield None
        elif wanted := [event for event in events if event.record.key.resource in resources]:
            yield wanted


async def patiently(read: Callable[[], Awaitable[None]]) -> None:
    """Once it has worked: a store that is away for a while ends nobody who follows it."""
    while True:
        try:
            await read()
        except StoreError as error:
            log.warning("store.away", error=str(error))
            await asyncio.sleep(_AGAIN_SECONDS)
        else:
            return
