"""Writes conditions into the status of objects: reads what is stored and what sidecars hold, never events alone.

An object is open until its status says the last word about its generation. Open objects are looked at again soon;
when none is open, only changes of the store wake this up. Only the leader writes.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# stored JSON comes in as Any

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from controlplane.access import Caller
from controlplane.api.errors import ApiError
from controlplane.api.target import Options, Target
from controlplane.api.writes import Author, Writes
from controlplane.conditions import Observed, Tally, are_said, conditions
from controlplane.mesh.relations import Relations
from controlplane.resources.kinds import KINDS
from controlplane.state import MeshState
from controlplane.store.following import since
from controlplane.store.port import Change, Key, Record, Store, StoreError

AUTHOR: Final = Author(Caller("system:status"), Options(False, "pylis", "Ignore", True), trusted=True)
FIRST_LOOK_SECONDS: Final = 0.05
LAST_LOOK_SECONDS: Final = 2.0
_AT_ONCE: Final = 500  # relations looked at in one go
_COSTS: Final = 20  # how much longer than a pass took until the next
_RELATING: Final = frozenset(kind.resource for kind in KINDS if kind.kind in (
    "ServiceEntry", "WorkloadEntry", "PeerAuthentication", "FederatedTrustDomain",
))  # fmt: skip
_KINDS: Final = {kind.resource: kind for kind in KINDS if kind.has_status}
log = structlog.get_logger()


class StatusWriter:
    """`observe()`: by revision, who of all connected sidecars holds a mesh that new; `state`: the mesh in force."""

    def __init__(
        self,
        store: Store,
        writes: Writes,
        observe: Callable[[], Awaitable[Callable[[int], Tally]]],
        state: MeshState,
    ) -> None:
        self._store = store
        self._writes = writes
        self._observe = observe
        self._state = state
        self._open: dict[Key, int] = {}  # → the revision that made its generation
        self._said: dict[Key, Relations] = {}  # where there was something to say
        self._related = False  # may any object stand differently to others than was said?
        self._relate_at = 0.0
        self._seen = -1

    async def run(self) -> None:
        """Until cancelled."""
        pause = FIRST_LOOK_SECONDS
        while True:
            try:
                fresh = await self.step()
                pause = FIRST_LOOK_SECONDS if fresh else min(pause * 2, LAST_LOOK_SECONDS)
                async with asyncio.timeout(pause if self._open or self._related else None):
                    await self._store.wait(self._seen)
                await asyncio.sleep(FIRST_LOOK_SECONDS)  # a burst is looked at once
            except TimeoutError:
                continue
            except StoreError as error:
                log.warning("status.store", error=str(error))
                await asyncio.sleep(LAST_LOOK_SECONDS)

    async def step(self) -> bool:
        """Looks at what has changed, and says of it what is true now; had anything changed?"""
        fresh = await self._look()
        if self._store.leading:
            await self.once()
        return fresh

    async def once(self) -> None:
        """Every open object is given the word about it that is true now."""
        await self._relate()
        tally = await self._observe() if self._open else _nobody
        for key, revision in list(self._open.items()):
            record = await self._store.get(key)
            if record is not None and record.revision > self._seen:
                continue  # another generation, perhaps: the next look tells
            if record is None or await self._settle(record, revision, tally):
                self._open.pop(key, None)
                if record is None:
                    self._said.pop(key, None)

    async def _look(self) -> bool:
        """Opens what changed since the last look, everything at the first; was there any?"""
        before, now = self._seen, self._store.revision
        changes = since(self._store, before) if before >= 0 else None
        if changes is None:
            for resource in _KINDS:
                for record in (await self._store.list(resource))[0]:
                    self._open.setdefault(record.key, record.revision)
            self._seen, self._related = now, True
            return True
        opened = False
        for event in changes:
            self._related |= event.record.key.resource in _RELATING and not event.minor
            if event.record.key.resource in _KINDS and not event.minor and event.change is not Change.DELETED:
                self._open[event.record.key] = event.record.revision
                opened = True
        self._seen = now
        return opened

    async def _relate(self) -> None:
        """Opens every object that stands differently to others than was said; seldom, where there are many."""
        loop = asyncio.get_running_loop()
        if not self._related or self._state.revision < self._seen or loop.time() < self._relate_at:
            return
        began, self._related = loop.time(), False
        for number, key in enumerate(self._state.keys, 1):
            if isinstance(key, Key) and self._state.relations(key) != self._said.get(key, Relations()):
                self._open.setdefault(key, 0)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        self._relate_at = loop.time() + _COSTS * (loop.time() - began)

    async def _settle(self, record: Record, revision: int, observed: Callable[[int], Tally]) -> bool:
        """Writes what is new; is it the last word?"""
        kind, value = _KINDS[record.key.resource], record.value
        if self._state.revision < revision:
            return False  # nothing of it is known yet
        relations = self._state.relations(record.key)
        self._said[record.key] = relations
        if relations == Relations():
            del self._said[record.key]
        generation = value["metadata"].get("generation", 0)
        status = value.get("status") or {}
        before: list[dict[str, Any]] = [c for c in status.get("conditions", []) if isinstance(c, dict)]
        settled = _is_settled(before, generation, programmed=kind.programmed)
        if settled and are_said(relations, before):
            return True
        problem = self._state.problem(record.key)
        tally = observed(revision) if kind.programmed else None
        wanted = conditions(Observed(generation, problem, tally, relations), before, _now())
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


def _nobody(_: int) -> Tally:
    return Tally()


def _is_settled(found: list[dict[str, Any]], generation: int, *, programmed: bool) -> bool:
    last = "Programmed" if programmed else "Accepted"
    return any(
        c.get("type") == last and c.get("status") == "True" and c.get("observedGeneration") == generation
        for c in found
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
