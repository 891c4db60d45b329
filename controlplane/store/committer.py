"""Group commit: writes that wait together are persisted together, in the order they came. One task a store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, cast

import structlog

from controlplane.store.port import Record, StoreError, UnavailableError
from controlplane.store.transaction import Note, Write

MOST: Final = 256  # writes in one transaction
log = structlog.get_logger()
Outcome = Record | StoreError | None
Persist = Callable[[Sequence[Write]], Awaitable[Sequence[Outcome]]]


class Committer:
    """`persist` returns one outcome a write, once all are durable; what it raises fails the whole group."""

    def __init__(self, persist: Persist) -> None:
        self._persist = persist
        self._waiting: list[tuple[Write, asyncio.Future[Outcome]]] = []
        self._news = asyncio.Event()
        self._closed = False
        self._writing = asyncio.Lock()
        self._task = asyncio.create_task(self._run())

    async def write(self, write: Write) -> Record:
        """Raises: StoreError. A caller that gives up does not undo its write."""
        return cast("Record", await self._submit(write))

    async def note(self, note: Note) -> None:
        await self._submit(note)

    async def _submit(self, write: Write) -> Record | None:
        if self._closed:
            raise UnavailableError("the store is closed")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, future))
        self._news.set()
        outcome = await future
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    @asynccontextmanager
    async def still(self) -> AsyncGenerator[None]:
        """Nothing is being written in such a block: what comes waits."""
        async with self._writing:
            yield

    async def close(self) -> None:
        """What waits is written first."""
        self._closed = True
        self._news.set()
        await self._task

    async def _run(self) -> None:
        while not self._closed or self._waiting:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                try:
                    async with self._writing:
                        outcomes = await self._persist([write for write, _ in group])
                except StoreError as error:
                    outcomes = [error] * len(group)
                except Exception:
                    log.exception("store.failed")
                    outcomes = [UnavailableError("the store failed; see the server's log")] * len(group)
                _answer(group, outcomes)


def _answer(group: Sequence[tuple[Write, asyncio.Future[Outcome]]], outcomes: Sequence[Outcome]) -> None:
    for (_, future), outcome in zip(group, outcomes, strict=True):
        if not future.done():
            future.set_result(outcome)
