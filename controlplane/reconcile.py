"""Desired state → the mesh in force, level-triggered: every pass reads all of it, an event only says "look again".

A lost or doubled event changes nothing; what cannot be parsed (written by an older version) is left out and logged.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from controlplane.mesh.mesh import Mesh
from controlplane.resources.kinds import KINDS, Kind
from controlplane.state import MeshState
from controlplane.store.port import GoneError, Key, Record, Store
from policies.document import Document
from policies.workload import MeshSettings

log = structlog.get_logger()


class Reconciler:
    """`changed` is called after each new mesh is installed."""

    def __init__(
        self, store: Store, state: MeshState, settings: MeshSettings, changed: Callable[[], None]
    ) -> None:
        self._store = store
        self._state = state
        self._settings = settings
        self._changed = changed
        self._parsed: dict[Key, tuple[int, object | None]] = {}

    async def run(self) -> None:
        """Reconciles at once, then whenever the store changes, until cancelled."""
        while True:
            seen = self._store.revision
            await self.once()
            try:
                async for event in self._store.watch(seen):
                    if event.record.revision > self._state.revision and not _is_internal(event.record.key):
                        await self.once()
            except GoneError:
                log.warning("reconcile.restarted", after=seen)

    async def once(self) -> None:
        """Reads everything, builds the mesh, installs it."""
        revision = self._store.revision
        records: list[tuple[Kind, Record]] = []
        for kind in KINDS:
            found, _ = await self._store.list(kind.resource)
            records += [(kind, record) for record in found]
        records.sort(key=lambda item: item[1].created)
        self._parsed = {record.key: (record.revision, self._parse(kind, record)) for kind, record in records}
        objects = [parsed for _, parsed in self._parsed.values() if parsed is not None]
        self._state.install(Mesh.of(self._settings, objects), revision)
        self._changed()

    def _parse(self, kind: Kind, record: Record) -> object | None:
        known = self._parsed.get(record.key)
        if known is not None and known[0] == record.revision:
            return known[1]
        parsed, problems = kind.parse(
            Document({"apiVersion": kind.api_version, "kind": kind.kind, **record.value})
        )
        if parsed is None:
            log.warning("reconcile.left_out", object=str(record.key), problems=[str(p) for p in problems])
        return parsed


def _is_internal(key: Key) -> bool:
    """Tokens and the like: nothing of the mesh."""
    return key.resource.endswith(".internal")
