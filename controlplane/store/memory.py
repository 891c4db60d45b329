"""A store that forgets: for tests, and for meshes that live as long as their server.

History is compacted as the files' stores compact theirs; of the audit log the latest records are kept, and what is
kept is verified from where it begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, cast

from controlplane.audit import AuditRecord, Entry, Fault, Head, verify
from controlplane.store.clock import utc_now
from controlplane.store.event_log import KEPT, EventLog
from controlplane.store.port import Event, Key, Record, StoreError, Value, encode
from controlplane.store.resident import Resident
from controlplane.store.schema import CHANGES_KEPT, INTERNAL
from controlplane.store.transaction import Batch, Create, Delete, Note, Replace, Write

AUDIT_KEPT: Final = 10_000


class MemoryStore:
    def __init__(
        self, clock: Callable[[], str] = utc_now, kept: int = KEPT, audit_kept: int = AUDIT_KEPT
    ) -> None:
        """`kept`: changes that history keeps of everything; `audit_kept`: audit records, up to twice as many."""
        self._kept, self._audit_kept = kept, audit_kept
        self._forgotten = Head()  # of the audit log
        self._compact_at = 2 * kept
        self._resident = Resident()
        self._log = EventLog(0)
        self._events: list[Event] = []
        self._audit: list[AuditRecord] = []
        self._clock = clock

    @property
    def revision(self) -> int:
        return self._log.revision

    @property
    def leading(self) -> bool:
        return True

    @property
    def server(self) -> str:
        return ""

    async def servers(self) -> frozenset[str]:
        return frozenset({""})

    async def get(self, key: Key) -> Record | None:
        return self._resident.records.get(key)

    async def list(self, resource: str, namespace: str | None = None) -> tuple[list[Record], int]:
        return self._resident.list(resource, namespace), self.revision

    async def create(self, key: Key, value: Value, *, audit: Entry | None = None) -> Record:
        return cast("Record", await self._write(Create(key, encode(value), audit)))

    async def replace(
        self,
        key: Key,
        value: Value,
        expected: int | None = None,
        *,
        audit: Entry | None = None,
        minor: bool = False,
    ) -> Record:
        return cast("Record", await self._write(Replace(key, encode(value), expected, audit, minor)))

    async def delete(self, key: Key, expected: int | None = None, *, audit: Entry | None = None) -> Record:
        return cast("Record", await self._write(Delete(key, expected, audit)))

    async def take(self, key: Key) -> Record | None:
        return await self.delete(key) if key in self._resident.records else None

    def watch(self, after: int) -> AsyncIterator[Event]:
        return self._log.watch(after)

    def changes(self, after: int) -> Sequence[Event]:
        return self._log.after(after)

    async def wait(self, after: int) -> None:
        await self._log.wait(after)

    async def count(self, resource: str, namespace: str | None = None) -> int:
        return self._resident.count(resource, namespace)

    async def history(self, key: Key) -> list[Event]:
        return [e for e in self._events if e.record.key == key and not e.minor]

    async def compact(self) -> None:
        """Also done unasked: nobody's disk holds what this store keeps."""
        floor, places = self.revision - self._kept, Counter[Key]()
        left: list[Event] = []
        for event in reversed(self._events):
            key = event.record.key
            places[key] += not event.minor
            worth = not event.minor and not key.resource.endswith(INTERNAL) and key in self._resident.records
            if event.record.revision > floor or (worth and places[key] <= CHANGES_KEPT):
                left.append(event)
        self._events = left[::-1]
        self._compact_at = len(left) + self._kept

    async def check(self) -> None:
        """Memory is always there."""

    async def record(self, *entries: Entry) -> None:
        await self._write(Note(entries))

    async def audit_records(self, after: int = 0, limit: int = 1000) -> list[AuditRecord]:
        start = max(0, after - self._forgotten.sequence)
        return self._audit[start : start + limit]

    async def audit_head(self) -> Head:
        return self._audit[-1].head if self._audit else self._forgotten

    async def verify_audit(self) -> tuple[Head, list[Fault]]:
        return verify((record.line() for record in self._audit), self._forgotten)

    async def close(self) -> None:
        self._resident = Resident()

    async def _write(self, write: Write) -> Record | None:
        head = await self.audit_head()
        batch = Batch(self.revision, head, self._resident.records, self._clock())
        outcome = batch.outcome(write)
        if isinstance(outcome, StoreError):
            raise outcome
        self._resident.take_over(batch.changed)
        self._audit += batch.audit
        self._events += batch.events
        if batch.events:
            self._log.append(*batch.events)
        if len(self._events) > self._compact_at:
            await self.compact()
        if len(self._audit) > 2 * self._audit_kept:
            self._forgotten = self._audit[-self._audit_kept - 1].head
            del self._audit[: -self._audit_kept]
        return outcome
