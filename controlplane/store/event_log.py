"""The recent changes of a store, and those who wait for more. Bounded: who falls behind starts anew."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Final

from controlplane.store.port import Event, GoneError, Key

KEPT: Final = 10_000


class EventLog:
    def __init__(self, revision: int, events: Iterable[Event] = ()) -> None:
        """`events` are the latest up to `revision`, oldest first."""
        self._last: dict[Key, Event] = {}
        self._events: deque[Event] = deque((self._linked(e) for e in events), KEPT)
        self._oldest = self._events[0].record.revision - 1 if self._events else revision
        self.revision = revision
        self._news = asyncio.Event()

    def append(self, *events: Event) -> None:
        for event in events:
            if len(self._events) == KEPT:
                oldest = self._events[0]
                self._oldest = oldest.record.revision
                if self._last.get(oldest.record.key) is oldest:
                    del self._last[oldest.record.key]
            self._events.append(self._linked(event))
            self.revision = event.record.revision
        self._wake()

    def restart(self, revision: int) -> None:
        """Changes were missed: nobody can go on from before `revision`."""
        self._events.clear()
        self._last.clear()
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
