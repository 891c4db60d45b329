"""A store that forgets: for tests, and for meshes that live as long as their server."""

from __future__ import annotations

from collections.abc import AsyncIterator

from controlplane.store.event_log import EventLog
from controlplane.store.port import (
    AlreadyExistsError,
    Change,
    ConflictError,
    Event,
    Key,
    NotFoundError,
    Record,
    Value,
)


class MemoryStore:
    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self._log = EventLog(0)

    @property
    def revision(self) -> int:
        return self._log.revision

    async def get(self, key: Key) -> Record | None:
        return self._records.get(key)

    async def list(self, resource: str, namespace: str | None = None) -> tuple[list[Record], int]:
        found = [
            r for k, r in sorted(self._records.items())
            if k.resource == resource and namespace in (None, k.namespace)
        ]  # fmt: skip
        return found, self.revision

    async def create(self, key: Key, value: Value) -> Record:
        if key in self._records:
            raise AlreadyExistsError(f"{key} already exists")
        revision = self.revision + 1
        return self._put(Change.ADDED, Record(key, value, revision, revision))

    async def replace(self, key: Key, value: Value, expected: int | None = None) -> Record:
        old = self._expect(key, expected)
        if old.value == value:
            return old
        return self._put(Change.MODIFIED, Record(key, value, old.created, self.revision + 1))

    async def delete(self, key: Key, expected: int | None = None) -> Record:
        old = self._expect(key, expected)
        del self._records[key]
        gone = Record(key, old.value, old.created, self.revision + 1)
        self._log.append(Event(Change.DELETED, gone))
        return gone

    async def take(self, key: Key) -> Record | None:
        return await self.delete(key) if key in self._records else None

    def watch(self, after: int) -> AsyncIterator[Event]:
        return self._log.watch(after)

    async def close(self) -> None:
        self._records.clear()

    def _put(self, change: Change, record: Record) -> Record:
        self._records[record.key] = record
        self._log.append(Event(change, record))
        return record

    def _expect(self, key: Key, expected: int | None) -> Record:
        old = self._records.get(key)
        if old is None:
            raise NotFoundError(f"{key} does not exist")
        if expected is not None and expected != old.revision:
            raise ConflictError(f"{key} changed: it is at {old.revision}, not {expected}")
        return old
