"""All records of a store in memory, sorted: what the memory store is, and what the SQLite store reads from."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence

from controlplane.store.port import Key, Record

_Place = tuple[str, str]  # namespace and name


class Resident:
    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: dict[Key, Record] = {}
        self._names: dict[str, list[_Place]] = {}
        self._places: dict[str, dict[_Place, Record]] = {}  # a list makes no key for each record
        for record in records:
            place = (record.key.namespace, record.key.name)
            self.records[record.key] = record
            self._names.setdefault(record.key.resource, []).append(place)
            self._places.setdefault(record.key.resource, {})[place] = record
        for names in self._names.values():
            names.sort()

    def take_over(self, changed: Mapping[Key, Record | None]) -> None:
        for key, record in changed.items():
            names, place = self._names.setdefault(key.resource, []), (key.namespace, key.name)
            places = self._places.setdefault(key.resource, {})
            if record is not None:
                if key not in self.records:
                    insort(names, place)
                self.records[key] = places[place] = record
            elif self.records.pop(key, None) is not None:
                del places[place]
                names.pop(bisect_left(names, place))

    def list(self, resource: str, namespace: str | None) -> list[Record]:
        names, places = self._names.get(resource, []), self._places.get(resource, {})
        low, high = _range(names, namespace)
        return [places[place] for place in names[low:high]]

    def count(self, resource: str, namespace: str | None) -> int:
        low, high = _range(self._names.get(resource, []), namespace)
        return high - low


def _range(names: Sequence[_Place], namespace: str | None) -> tuple[int, int]:
    if namespace is None:
        return 0, len(names)
    return bisect_left(names, (namespace, "")), bisect_left(names, (f"{namespace}\0", ""))
