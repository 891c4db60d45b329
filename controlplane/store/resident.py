"""All records of a store in memory, sorted: what the memory store is, and what the SQLite store reads from."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence

from controlplane.store.port import Key, Record


class Resident:
    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: dict[Key, Record] = {}
        self._names: dict[str, list[tuple[str, str]]] = {}
        for record in records:
            self.records[record.key] = record
            self._names.setdefault(record.key.resource, []).append((record.key.namespace, record.key.name))
        for names in self._names.values():
            names.sort()

    def take_over(self, changed: Mapping[Key, Record | None]) -> None:
        for key, record in changed.items():
            names, place = self._names.setdefault(key.resource, []), (key.namespace, key.name)
            if record is not None:
                if key not in self.records:
                    insort(names, place)
                self.records[key] = record
            elif self.records.pop(key, None) is not None:
                names.pop(bisect_left(names, place))

    def list(self, resource: str, namespace: str | None) -> list[Record]:
        names = self._names.get(resource, [])
        low, high = _range(names, namespace)
        return [self.records[Key(resource, *place)] for place in names[low:high]]

    def count(self, resource: str, namespace: str | None) -> int:
        low, high = _range(self._names.get(resource, []), namespace)
        return high - low


def _range(names: Sequence[tuple[str, str]], namespace: str | None) -> tuple[int, int]:
    if namespace is None:
        return 0, len(names)
    return bisect_left(names, (namespace, "")), bisect_left(names, (f"{namespace}\0", ""))
