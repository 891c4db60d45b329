"""What listeners that were changed or removed may still use: it stays until their connections have ended.

Such a listener serves what is open on for a while, by what it had; with its cluster gone, Envoy answers 503 (measured).
Without a clock: whoever has one says when a drain is over. Each removal waits for the drains there were when it was asked
for first, not for those that follow, so that steady changes keep nothing for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from xds.snapshot import Snapshot


class Drains:
    """Of one client, numbered from 1; `begun` is the number of the newest."""

    __slots__ = ("_over", "_waiting", "begun")

    def __init__(self) -> None:
        self.begun = 0
        self._over = 0
        self._waiting: dict[str, dict[str, int]] = {}  # type → name to be removed → the drain it waits for

    @property
    def is_under_way(self) -> bool:
        return self._over < self.begun

    def begin(self) -> None:
        self.begun += 1

    def end(self, drain: int) -> None:
        """That one and all before it are over."""
        self._over = max(self._over, drain)

    def parted(self, type_url: str, gone: Iterable[str]) -> AbstractSet[str]:
        """Of the names that are to go, those that no listener can use any more; asked when all else is settled."""
        before = self._waiting.get(type_url, {})
        waiting = self._waiting[type_url] = {name: before.get(name, self.begun) for name in gone}
        return {name for name, drain in waiting.items() if drain <= self._over}

    def offered(self, snapshot: Snapshot) -> None:
        """What is back is not on its way out any more."""
        for type_url, waiting in self._waiting.items():
            there = snapshot.resources(type_url)
            self._waiting[type_url] = {name: drain for name, drain in waiting.items() if name not in there}
