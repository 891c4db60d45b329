"""Watches: newline-separated events until the client leaves, the time is over, or the server stops.

Every event is encoded once and shared by all watchers. A watcher that cannot keep up is not buffered for: it falls
out of the store's log and is told to list again (410), or is dropped when it takes nothing for a while.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from controlplane.api import answers, objects, tables
from controlplane.api.errors import ApiError, bad_request, from_store
from controlplane.api.objects import Object
from controlplane.api.target import Target, number, truth
from controlplane.store.port import Change, Event, Record, Store, StoreError

MOST: Final = 5_000  # watches of one server
BOOKMARK_SECONDS: Final = 45.0
STALLED_SECONDS: Final = 30.0
LONGEST_SECONDS: Final = 3_600
_SHARED: Final = 512  # encoded events kept for other watchers

Wanted = Callable[[Object], bool]


class Watches:
    """`stop` ends all of them in order, so that clients go on at another server from where they are."""

    def __init__(self, store: Store, bookmark_seconds: float = BOOKMARK_SECONDS) -> None:
        self._store = store
        self._bookmark_seconds = bookmark_seconds
        self._open = 0
        self._stopping = False
        self._pauses: set[asyncio.Timeout] = set()
        self._shared: dict[tuple[int, str], bytes] = {}

    @property
    def open(self) -> int:
        return self._open

    def stop(self) -> None:
        self._stopping = True
        for pause in self._pauses:
            pause.reschedule(0)

    async def serve(
        self, request: web.Request, target: Target, wanted: Wanted, selects: bool
    ) -> web.StreamResponse:
        """`selects`: whether `wanted` may say no."""
        if self._open >= MOST:
            raise ApiError(429, "TooManyRequests", f"this server already serves {MOST} watches; try another")
        self._open += 1
        try:
            return await self._serve(_Watch(request, target, wanted, selects))
        finally:
            self._open -= 1

    async def _serve(self, watch: _Watch) -> web.StreamResponse:
        request, kind = watch.request, watch.target.kind
        records, after = await self._start(watch)
        seconds = number(request.query, "timeoutSeconds", LONGEST_SECONDS) or random.randint(1800, 3600)  # noqa: S311 - spreads reconnects
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        try:
            for record in records:
                await _write(response, watch.line("ADDED", record))
            if watch.bookmarks and truth(request.query, "sendInitialEvents"):
                await _write(response, watch.bookmark(after, initial=True))
            await self._follow(watch, response, after, time.monotonic() + seconds)
        except StoreError as error:
            status = from_store(error, kind, "").status()
            await _write(response, json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _follow(self, watch: _Watch, response: web.StreamResponse, after: int, end: float) -> None:
        bookmark_at = time.monotonic() + self._bookmark_seconds
        told = after
        while not self._stopping and (now := time.monotonic()) < end:
            for event in self._store.changes(after):
                after = event.record.revision
                if event.record.key.resource == watch.target.kind.resource and (
                    line := self._line(watch, event)
                ):
                    await _write(response, line)
                    told = after
            if watch.bookmarks and now >= bookmark_at:
                bookmark_at = now + self._bookmark_seconds
                if after > told:
                    told = after
                    await _write(response, watch.bookmark(after, initial=False))
            await self._pause(min(end - now, bookmark_at - now if watch.bookmarks else 5.0, 5.0), after)

    async def _pause(self, seconds: float, after: int) -> None:
        """Until there is something to tell, the time is over, or the server stops."""
        pause = asyncio.timeout(seconds)
        self._pauses.add(pause)
        try:
            async with pause:
                await self._store.wait(after)
        except TimeoutError:
            pass
        finally:
            self._pauses.discard(pause)

    async def _start(self, watch: _Watch) -> tuple[list[Record], int]:
        version, target = watch.request.query.get("resourceVersion", ""), watch.target
        initial = truth(watch.request.query, "sendInitialEvents")
        if version in ("", "0") or initial:
            records, after = await self._store.list(target.kind.resource, target.namespace or None)
            if watch.selects:
                records = [r for r in records if watch.wanted(objects.shown(target.kind, r))]
            return records, after
        if not version.isascii() or not version.isdigit() or len(version) > 18:
            raise bad_request("resourceVersion is none of this server's")
        return [], int(version)

    def _line(self, watch: _Watch, event: Event) -> bytes | None:
        change = watch.seen_as(event)
        if change is None or watch.as_table:
            return watch.line(change, event.record) if change else None
        key = (event.record.revision, change)
        line = self._shared.get(key)
        if line is None:
            line = self._shared[key] = watch.line(change, event.record)
            if len(self._shared) > _SHARED:
                del self._shared[next(iter(self._shared))]
        return line


class _Watch:
    """One client's question."""

    def __init__(self, request: web.Request, target: Target, wanted: Wanted, selects: bool) -> None:
        self.request = request
        self.target = target
        self.wanted = wanted
        self.selects = selects
        self.as_table = answers.wants_table(request)
        self.bookmarks = truth(request.query, "allowWatchBookmarks")
        self._first = True

    def seen_as(self, event: Event) -> str | None:
        """A selector that stops matching is a deletion; one that starts is an addition."""
        if self.target.namespace not in ("", event.record.key.namespace):
            return None
        if not self.selects:
            return str(event.change)
        kind = self.target.kind
        now = self.wanted(objects.shown(kind, event.record))
        before = now
        if event.change is Change.MODIFIED:
            before = event.before is None or self.wanted(objects.shown(kind, event.before))
        match event.change:
            case Change.MODIFIED if now and not before:
                return "ADDED"
            case Change.MODIFIED if before and not now:
                return "DELETED"
            case _:
                return str(event.change) if now else None

    def line(self, change: str, record: Record) -> bytes:
        if not self.as_table:
            return f'{{"type":"{change}","object":{objects.shown_text(self.target.kind, record)}}}\n'.encode()
        obj = objects.shown(self.target.kind, record)
        metadata = {"resourceVersion": str(record.revision)}
        include = self.request.query.get("includeObject", "")
        body = tables.table(
            self.target.kind, [obj], metadata, datetime.now(UTC), header=self._first, include=include
        )
        self._first = False
        return json.dumps({"type": change, "object": body}).encode() + b"\n"

    def bookmark(self, revision: int, *, initial: bool) -> bytes:
        kind = self.target.kind
        metadata: dict[str, Any] = {"resourceVersion": str(revision)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return json.dumps({"type": "BOOKMARK", "object": body}).encode() + b"\n"


async def _write(response: web.StreamResponse, line: bytes) -> None:
    """Raises: TimeoutError for a client that takes nothing."""
    async with asyncio.timeout(STALLED_SECONDS):
        await response.write(line)
