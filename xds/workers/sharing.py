"""Snapshots for many streams over one channel: a resource's bytes travel once, then it is a number. Without I/O.

`Shelf` stands at the server, `Copies` at the worker; what one says the other is told, in order. Both forget a resource
when no stream there holds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from xds.errors import FrameError
from xds.snapshot import Resource, Snapshot, Table
from xds.workers.frames import Drop, Offer, Shelve


@dataclass(eq=False, slots=True)
class _Held:
    """A table that streams there hold, and the numbers of what is in it."""

    table: Table
    numbers: tuple[int, ...]
    streams: int = 0


class Shelf:
    """What one worker has of each stream's snapshot."""

    def __init__(self) -> None:
        self._number: dict[Resource, int] = {}
        self._resource: dict[int, Resource] = {}
        self._holders: Counter[int] = Counter()  # of a resource: tables
        self._held: dict[int, _Held] = {}  # by the table's id()
        self._told: dict[int, dict[str, _Held]] = {}
        self._counts: Counter[int] = Counter()
        self._next = 0

    def offer(self, stream: int, snapshot: Snapshot) -> list[Shelve | Offer | Drop]:
        """In this order; what is equal to what the stream was offered before is not said again."""
        told = self._told.setdefault(stream, {})
        frames: list[Shelve | Offer | Drop] = []
        changed: dict[str, tuple[int, ...]] = {}
        left: list[_Held] = []
        for type_url, table in snapshot.by_type.items():
            before = told.get(type_url)
            if before is not None and before.table is table:
                continue
            now = told[type_url] = self._hold(table, frames)
            if before is None or before.numbers != now.numbers:
                changed[type_url] = now.numbers
            if before is not None:
                left.append(before)
        gone = tuple(t for t in told if t not in snapshot.by_type)
        left += [told.pop(type_url) for type_url in gone]
        self._counts[stream] += 1
        frames.append(Offer(stream, self._counts[stream], changed, gone))
        return [*frames, *self._leave(left)]

    def count(self, stream: int) -> int:
        """Of the offers to it so far."""
        return self._counts[stream]

    def close(self, stream: int) -> list[Drop]:
        self._counts.pop(stream, None)
        return self._leave(self._told.pop(stream, {}).values())

    def __len__(self) -> int:
        return len(self._number)

    def _hold(self, table: Table, frames: list[Shelve | Offer | Drop]) -> _Held:
        """Replicas share tables: a table's resources are looked at once."""
        held = self._held.get(id(table))
        if held is None:
            numbers = tuple(self._shelve(resource, frames) for resource in table.values())
            self._holders.update(numbers)
            held = self._held[id(table)] = _Held(table, numbers)
        held.streams += 1
        return held

    def _shelve(self, resource: Resource, frames: list[Shelve | Offer | Drop]) -> int:
        number = self._number.get(resource)
        if number is None:
            self._next += 1
            number = self._number[resource] = self._next
            self._resource[number] = resource
            r = resource
            frames.append(Shelve(number, r.type_url, r.name, r.version, r.body))
        return number

    def _leave(self, left: Iterable[_Held]) -> list[Drop]:
        numbers: list[int] = []
        for held in left:
            held.streams -= 1
            if held.streams == 0:
                del self._held[id(held.table)]
                numbers += held.numbers
        self._holders.subtract(numbers)
        gone = tuple(number for number in dict.fromkeys(numbers) if self._holders[number] <= 0)
        for number in gone:
            del self._holders[number]
            del self._number[self._resource.pop(number)]
        return [Drop(gone)] if gone else []


class Copies:
    """What the worker was told. Raises FrameError at what cannot follow from that."""

    def __init__(self) -> None:
        self._resources: dict[int, Resource] = {}
        self._snapshots: dict[int, Snapshot] = {}
        self._tables: WeakValueDictionary[tuple[int, ...], Table] = WeakValueDictionary()

    def shelve(self, frame: Shelve) -> None:
        self._resources[frame.number] = Resource(frame.type_url, frame.name, frame.body, frame.version)

    def drop(self, frame: Drop) -> None:
        for number in frame.numbers:
            self._resources.pop(number, None)

    def offer(self, frame: Offer) -> None:
        before = self._snapshots.get(frame.stream, Snapshot())
        by_type = {t: names for t, names in before.by_type.items() if t not in frame.gone}
        try:
            for type_url, numbers in frame.changed.items():
                by_type[type_url] = self._table(numbers)
        except KeyError as error:
            raise FrameError(f"a resource that was never shelved: {error}") from error
        self._snapshots[frame.stream] = Snapshot(by_type)

    def _table(self, numbers: tuple[int, ...]) -> Table:
        """Streams of replicas share it."""
        table = self._tables.get(numbers)
        if table is None:
            table = self._tables[numbers] = Table.of(self._resources[number] for number in numbers)
        return table

    def snapshot(self, stream: int) -> Snapshot:
        """What it should hold; empty before the first offer."""
        return self._snapshots.get(stream, Snapshot())

    def close(self, stream: int) -> None:
        self._snapshots.pop(stream, None)

    def __len__(self) -> int:
        return len(self._resources)
