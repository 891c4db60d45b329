"""Desired state → the mesh in force. Everything is read once; from then on each change of the store is an edit.

Level-triggered: an event only says what an object is now. When one is missing, doubled or out of order, when the log
is too far ahead, and now and then anyway, everything is read again, and differences alone are edits.
What cannot be parsed (written by an older version) is logged and left out; of a policy the safe part is enforced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic, thread_time
from typing import Final

import structlog

from controlplane.mesh import presence
from controlplane.mesh.live import Affected, Edit
from controlplane.mesh.presence import Presence
from controlplane.pace import Pace
from controlplane.resources.kinds import KINDS, Kind
from controlplane.state import MeshState
from controlplane.store.following import RESYNC_SECONDS, patiently, since
from controlplane.store.port import Change, Event, Record, Store
from policies.document import Document

log = structlog.get_logger()
_LONG: Final = 32_000  # characters; more take longer to read than others should be kept waiting
_PORTION: Final = 200  # objects
_KINDS: Final = {kind.resource: kind for kind in KINDS}


class Reconciler:
    """`changed(affected, revision)` is called after each batch of edits, whether or not it affects anyone; `since` is
    when the oldest of them was heard of (`time.monotonic`)."""

    def __init__(self, store: Store, state: MeshState, changed: Callable[[Affected, int], None]) -> None:
        self._store = store
        self._state = state
        self._changed = changed
        self._pace = Pace()
        self.since = 0.0

    async def run(self) -> None:
        """Reconciles at once, then whenever the store changes, until cancelled."""
        await patiently(self.once)
        while True:
            try:
                async with asyncio.timeout(RESYNC_SECONDS):
                    await self._store.wait(self._state.revision)
            except TimeoutError:
                await patiently(self.once)
            else:
                await patiently(self.step)

    async def once(self) -> None:
        """Reads everything; what is as it was is no edit."""
        self.since = monotonic()
        revision = self._store.revision
        edits: list[Edit] = []
        for kind in KINDS:
            found, _ = await self._store.list(kind.resource)
            for some in _portions(found):
                edits += await _beside(some, lambda kind=kind, some=some: [_edit(kind, one) for one in some])
        records, _ = await self._store.list(presence.RESOURCE)
        edits += [_presence(record) for record in records]
        edits.sort(key=lambda edit: edit.created)
        self._finish(self._state.apply(edits, revision, everything=True))

    async def step(self) -> None:
        """All that has happened since the last one: a lone edit at once, a burst in growing batches."""
        self.since = monotonic()
        if (wait := self._pace.wait(self.since)) > 0:
            await asyncio.sleep(wait)
        cost = 0.0
        events = since(self._store, self._state.revision)
        if events is None:
            log.warning("reconcile.restarted", after=self._state.revision)
            await self.once()
        elif events:
            edits = await _beside([event.record for event in events], lambda: _edits(events))
            for work in self._state.lowering(edits):
                work.keep(await asyncio.to_thread(work.run))
            began = thread_time()
            self._finish(self._state.apply(edits, events[-1].record.revision))
            cost = thread_time() - began
        self._pace.taken(monotonic(), cost)

    def _finish(self, affected: Affected) -> None:
        self._changed(affected, self._state.revision)


async def _beside(records: Sequence[Record], read: Callable[[], list[Edit]]) -> list[Edit]:
    """What `read` makes of them; beside the loop where they are long, so that nobody waits for it."""
    if sum(len(record.text) for record in records) < _LONG:
        return read()
    return await asyncio.to_thread(read)


def _portions(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    return (records[start : start + _PORTION] for start in range(0, len(records), _PORTION))


def _edits(events: Iterable[Event]) -> list[Edit]:
    """The last word about each object: what it was in between concerns nobody, nor does what is said in its status."""
    events = tuple(events)
    last = {event.record.key: event for event in events}
    moved = {event.record.key for event in events if not event.minor}
    found: list[Edit] = []
    for event in last.values():
        gone = event.change is Change.DELETED
        if event.record.key.resource == presence.RESOURCE:
            found.append(_presence(event.record, gone=gone))
            continue
        kind = _KINDS.get(event.record.key.resource)
        if kind is None or event.record.key not in moved:
            continue  # tokens and the like: nothing of the mesh
        if gone:
            found.append(Edit(event.record.key, event.record.created, None))
        else:
            found.append(_edit(kind, event.record))
    return found


def _presence(record: Record, *, gone: bool = False) -> Edit:
    return Edit(record.key, record.created, None if gone else Presence.of(record.value))


def _edit(kind: Kind, record: Record) -> Edit:
    value = {"apiVersion": kind.api_version, "kind": kind.kind, **record.value}
    document = Document(value)
    parsed, problems = kind.parse(document)
    if parsed is None:
        if kind.salvage is not None:
            parsed = kind.salvage(document)
        event = "reconcile.left_out" if parsed is None else "reconcile.salvaged"
        log.warning(event, object=str(record.key), problems=[str(p) for p in problems])
        return Edit(record.key, record.created, parsed, "; ".join(map(str, problems)))
    return Edit(record.key, record.created, parsed)
