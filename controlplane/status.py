"""Writes conditions into the status of objects: reads what is stored and what sidecars hold, never events alone.

An object is open until its status says the last word about its generation. Open objects are looked at again soon;
when none is open, only changes of the store wake this up. Only the leader writes.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# stored JSON comes in as Any

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from controlplane.access import Caller
from controlplane.api.errors import ApiError
from controlplane.api.target import Options, Target
from controlplane.api.writes import Author, Writes
from controlplane.conditions import Observed, Tally, conditions
from controlplane.resources.kinds import KINDS
from controlplane.store.port import Change, GoneError, Key, Record, Store, StoreError
from policies.document import Document

AUTHOR: Final = Author(Caller("system:status"), Options(False, "pylis", "Ignore", True), trusted=True)
FIRST_LOOK_SECONDS: Final = 0.05
LAST_LOOK_SECONDS: Final = 2.0
_KINDS: Final = {kind.resource: kind for kind in KINDS if kind.has_status}
log = structlog.get_logger()


class StatusWriter:
    """`tally(revision)`: who holds a mesh at least that new, of the sidecars connected here."""

    def __init__(self, store: Store, writes: Writes, tally: Callable[[int], Tally]) -> None:
        self._store = store
        self._writes = writes
        self._tally = tally
        self._open: dict[Key, int] = {}  # → the revision that made its generation
        self._seen = -1

    async def run(self) -> None:
        """Until cancelled."""
        pause = FIRST_LOOK_SECONDS
        while True:
            try:
                fresh = await self._look()
                pause = FIRST_LOOK_SECONDS if fresh else min(pause * 2, LAST_LOOK_SECONDS)
                if self._store.leading:
                    await self.once()
                async with asyncio.timeout(pause if self._open else None):
                    await self._store.wait(self._seen)
                await asyncio.sleep(FIRST_LOOK_SECONDS)  # a burst is looked at once
            except TimeoutError:
                continue
            except StoreError as error:
                log.warning("status.store", error=str(error))
                await asyncio.sleep(LAST_LOOK_SECONDS)

    async def once(self) -> None:
        """Every open object is given the word about it that is true now."""
        for key, revision in list(self._open.items()):
            record = await self._store.get(key)
            if record is None or await self._settle(record, revision):
                self._open.pop(key, None)

    async def _look(self) -> bool:
        """Opens what changed since the last look, everything at the first; was there any?"""
        before, now = self._seen, self._store.revision
        try:
            changes = self._store.changes(before) if before >= 0 else None
        except GoneError:
            changes = None
        if changes is None:
            for resource in _KINDS:
                for record in (await self._store.list(resource))[0]:
                    self._open.setdefault(record.key, record.revision)
            self._seen = now
            return True
        opened = False
        for event in changes:
            now = event.record.revision
            if event.record.key.resource in _KINDS and not event.minor and event.change is not Change.DELETED:
                self._open[event.record.key] = event.record.revision
                opened = True
        self._seen = now
        return opened

    async def _settle(self, record: Record, revision: int) -> bool:
        """Writes what is new; is it the last word?"""
        kind, value = _KINDS[record.key.resource], record.value
        generation = value["metadata"].get("generation", 0)
        status = value.get("status") or {}
        before: list[dict[str, Any]] = [c for c in status.get("conditions", []) if isinstance(c, dict)]
        if _is_settled(before, generation, programmed=kind.programmed):
            return True
        parsed, problems = kind.parse(
            Document({"apiVersion": kind.api_version, "kind": kind.kind, **_plain(value)})
        )
        tally = self._tally(revision) if kind.programmed else None
        problem = "; ".join(map(str, problems)) if parsed is None else ""
        wanted = conditions(Observed(generation, problem, tally), before, _now())
        if wanted != before:
            target = Target(kind, record.key.namespace, record.key.name, "status")
            patch = {"metadata": {"resourceVersion": str(record.revision)}, "status": {"conditions": wanted}}
            try:
                await self._writes.patch(target, "application/merge-patch+json", patch, AUTHOR)
            except ApiError as error:
                if error.code not in (404, 409):
                    log.warning("status.refused", object=str(record.key), error=str(error))
                return error.code == 404
        return tally is None or tally.is_final or bool(problem)


def _is_settled(found: list[dict[str, Any]], generation: int, *, programmed: bool) -> bool:
    last = "Programmed" if programmed else "Accepted"
    return any(
        c.get("type") == last and c.get("status") == "True" and c.get("observedGeneration") == generation
        for c in found
    )


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        f: value["metadata"][f]
        for f in ("name", "namespace", "labels", "annotations")
        if f in value["metadata"]
    }
    return {"metadata": metadata, **({"spec": value["spec"]} if "spec" in value else {})}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
