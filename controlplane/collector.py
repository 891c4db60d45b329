"""What goes when something else has gone: contents of namespaces, dependents of owners, expired leftovers.

Level-triggered: a pass reads everything and acts on what it finds; an event only says "look again". Passes may be
lost, doubled or run by two servers at once: a deletion that finds nothing is done.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# stored JSON comes in as Any

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import structlog

from controlplane.access import Caller
from controlplane.api.errors import ApiError
from controlplane.api.target import Options, Target
from controlplane.api.writes import FOREGROUND, ORPHAN, Author, Writes
from controlplane.resources.kinds import KINDS, Kind
from controlplane.store.following import RESYNC_SECONDS, since
from controlplane.store.port import Record, Store, StoreError

COLLECTOR: Final = Author(
    Caller("system:collector"), Options(False, "pylis-collector", "Strict", False), trusted=True
)
Sweep = Callable[[], Awaitable[None]]

log = structlog.get_logger()


class Collector:
    """`sweeps` drop what has expired."""

    def __init__(self, store: Store, writes: Writes, sweeps: Sequence[Sweep] = ()) -> None:
        self._store = store
        self._sweeps = sweeps
        self._writes = writes
        self._seen = -1
        self._marked = True  # is there anything that a deletion could concern?

    async def run(self) -> None:
        """A pass at the start and after every change that may matter, until cancelled."""
        loop = asyncio.get_running_loop()
        swept = loop.time()
        while True:
            try:
                await self.step()
                if loop.time() >= swept + RESYNC_SECONDS:  # in the middle of a stream of changes, too
                    swept, self._seen = loop.time(), -1
                    await self._sweep()
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(swept + RESYNC_SECONDS):
                        await self._store.wait(self._seen)
            except StoreError as error:
                log.warning("collector.store", error=str(error))
                await asyncio.sleep(1)

    async def step(self) -> None:
        """Whatever has changed since the last one, if it may matter here."""
        concerned, self._seen = self._concerns(self._seen), self._store.revision
        if concerned and self._store.leading:
            while await self.once():
                pass

    async def _sweep(self) -> None:
        if self._store.leading:
            for sweep in self._sweeps:
                await sweep()
            await self._store.compact()

    def _concerns(self, seen: int) -> bool:
        """Deletions, and objects that are going or have owners."""
        changes = since(self._store, seen) if seen >= 0 else None
        if changes is None:
            return True
        marks = ("deletionTimestamp", "ownerReferences")
        return any(
            (self._marked and e.change == "DELETED") or any(m in e.record.text for m in marks)
            for e in changes
        )

    async def once(self) -> bool:
        """Did it find anything to do?"""
        records: list[tuple[Kind, Record]] = []
        for kind in KINDS:
            if not kind.read_only:
                records += [(kind, r) for r in (await self._store.list(kind.resource))[0]]
        marked = [
            (k, r, r.value)
            for k, r in records
            if "deletionTimestamp" in r.text or "ownerReferences" in r.text
        ]
        self._marked = bool(marked)
        done = await self._namespaces(marked, records)
        return await self._owners(marked, records) or done

    async def _namespaces(self, marked: Iterable[_Marked], records: Sequence[tuple[Kind, Record]]) -> bool:
        done = False
        for kind, record, value in marked:
            if kind.kind != "Namespace" or "deletionTimestamp" not in value["metadata"]:
                continue
            inside = [(k, r) for k, r in records if r.key.namespace == record.key.name]
            for content, found in inside:
                if "deletionTimestamp" not in found.text:
                    done = await self._delete(content, found) or done
            if not inside and not value["metadata"].get("finalizers"):
                done = await self._remove(record) or done
        return done

    async def _owners(self, marked: Iterable[_Marked], records: Sequence[tuple[Kind, Record]]) -> bool:
        uids = {_uid(r): (k, r) for k, r in records}
        dependents: dict[str, list[tuple[Kind, Record]]] = {}
        done = False
        for kind, record, value in marked:
            owners = [o["uid"] for o in value["metadata"].get("ownerReferences", [])]
            for uid in owners:
                dependents.setdefault(uid, []).append((kind, record))
            if (
                owners
                and not any(_is_owner(uids.get(uid), record) for uid in owners)
                and "deletionTimestamp" not in value["metadata"]
            ):
                done = await self._delete(kind, record) or done
        for kind, record, value in marked:
            finalizers, uid = value["metadata"].get("finalizers", []), value["metadata"]["uid"]
            if "deletionTimestamp" not in value["metadata"]:
                continue
            waiting = dependents.get(uid, [])
            for dependent_kind, dependent in waiting:
                if ORPHAN in finalizers:
                    done = await self._disown(dependent_kind, dependent, uid) or done
                elif FOREGROUND in finalizers and "deletionTimestamp" not in dependent.text:
                    done = await self._delete(dependent_kind, dependent) or done
            pin = next((f for f in (ORPHAN, FOREGROUND) if f in finalizers), None)
            if pin and not waiting:
                done = await self._unpin(kind, record, pin) or done
        return done

    async def _delete(self, kind: Kind, record: Record) -> bool:
        try:
            await self._writes.delete(Target(kind, record.key.namespace, record.key.name), COLLECTOR)
        except ApiError as error:
            return error.code == 409
        return True

    async def _disown(self, kind: Kind, record: Record, uid: str) -> bool:
        """A dependent that outlives its owner forgets it."""
        owners = [o for o in record.value["metadata"]["ownerReferences"] if o["uid"] != uid]
        return await self._patch(kind, record, {"metadata": {"ownerReferences": owners or None}})

    async def _unpin(self, kind: Kind, record: Record, pin: str) -> bool:
        """Takes the collector's own finalizer away: the object goes with the last one."""
        finalizers = [f for f in record.value["metadata"]["finalizers"] if f != pin]
        return await self._patch(kind, record, {"metadata": {"finalizers": finalizers or None}})

    async def _patch(self, kind: Kind, record: Record, patch: dict[str, Any]) -> bool:
        target = Target(kind, record.key.namespace, record.key.name)
        try:
            await self._writes.patch(target, "application/merge-patch+json", patch, COLLECTOR)
        except ApiError as error:
            return error.code == 409
        return True

    async def _remove(self, record: Record) -> bool:
        try:
            await self._store.delete(record.key, record.revision)
        except StoreError:
            return False
        return True


_Marked = tuple[Kind, Record, dict[str, Any]]


def _uid(record: Record) -> str:
    """Without parsing the whole object."""
    _, _, rest = record.text.partition('"uid":"')
    return rest.partition('"')[0]


def _is_owner(found: tuple[Kind, Record] | None, dependent: Record) -> bool:
    """An owner lives in the dependent's namespace or in none."""
    return found is not None and found[1].key.namespace in ("", dependent.key.namespace)
