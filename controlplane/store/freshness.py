"""Is what was read from the store still true? Asked before each use, answered from the store's log in memory."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from controlplane.store.following import since
from controlplane.store.port import Store


class Freshness:
    """Of what was read from some resources. Not fresh before the first `reading`."""

    def __init__(self, store: Store, resources: frozenset[str]) -> None:
        self._store = store
        self._resources = resources
        self._seen = -1

    def is_fresh(self) -> bool:
        """Looks only at changes since it was asked last."""
        revision = self._store.revision
        if revision == self._seen:
            return True
        if self._seen < 0:
            return False
        changes = since(self._store, self._seen)
        if changes is None or any(event.record.key.resource in self._resources for event in changes):
            self._seen = -1
            return False
        self._seen = revision
        return True

    @contextmanager
    def reading(self) -> Generator[None]:
        """Around the reads: what changes meanwhile makes them stale."""
        revision = self._store.revision
        yield
        self._seen = revision
