"""The recent changes of a store, and those who wait for more. Bounded in number and bytes: who falls behind starts anew."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from controlplane.store.port import Event, GoneError, Key

KEPT: Final = 10_000
KEPT_BYTES: Final = (
    8 * 1024 * 1024
)  # of the records' texts: few large objects must not cost what many small ones do


class EventLog:
    def __init__(
        self, revision: int, events: Sequence[Event] = (), kept: int = KEPT, kept_bytes: int = KEPT_BYTES
    ) -> None:
        """`events` are the latest up to `revision`, oldest first."""
        self._kept, self._kept_bytes = kept, kept_bytes
        self._last: dict[Key, Event] = {}
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._oldest = events[0].record.revision - 1 if events else revision
        self._news = asyncio.Event()
        for event in events:
            self._add(event)
        self.revision = revision

    def append(self, *events: Event) -> None:
        for event in events:
            self._add(event)
            self.revision = event.record.revision
        self._wake()

    def restart(self, revision: int) -> None:
        """Changes were missed: nobody can go on from before `revision`."""
        self._events.clear()
        self._last.clear()
        self._bytes = 0
        self._oldest = self.revision = revision
        self._wake()

    def after(self, revision: int) -> list[Event]:
        """Raises: GoneError."""
        if revision < self._oldest:
            raise GoneError(f"revision {revision} is too old; the oldest kept is {self._oldest}")
        found: list[Event] = []
        for event in reversed(self._events):
            if event.record.revision <= revision:
                break
            found.append(event)
        found.reverse()
        return found

    async def watch(self, after: int) -> AsyncIterator[Event]:
        while True:
            news = self._news
            events = self.after(after)
            for event in events:
                after = event.record.revision
                yield event
            if not events:
                await news.wait()

    async def wait(self, after: int) -> None:
        if self.revision <= after:
            await self._news.wait()

    def _add(self, event: Event) -> None:
        """The newest stays, however large it is."""
        self._events.append(self._linked(event))
        self._bytes += len(event.record.text)
        while len(self._events) > self._kept or (self._bytes > self._kept_bytes and len(self._events) > 1):
            oldest = self._events.popleft()
            self._bytes -= len(oldest.record.text)
            self._oldest = oldest.record.revision
            if self._last.get(oldest.record.key) is oldest:
                del self._last[oldest.record.key]

    def _linked(self, event: Event) -> Event:
        """With the record it replaced, if that is in the log."""
        last = self._last.get(event.record.key)
        if event.before is None and last is not None:
            # the record only: a chain of events would keep all of them
            event = replace(event, before=last.record)
        self._last[event.record.key] = event
        return event

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
