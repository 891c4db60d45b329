"""How many sidecars hold a mesh that new, over all servers of one store: the truth behind Programmed.

Each server writes what its own sidecars hold into the store when an object that configures sidecars has changed, and
again while some of them lag; a server alone writes nothing. The leader adds up the servers that are there now (a
session of the database says so): one that was killed is waited for no longer, its sidecars count where they went.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# stored JSON comes in as Any

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog

from controlplane.conditions import Tally
from controlplane.resources.kinds import KINDS
from controlplane.store.following import since
from controlplane.store.port import AlreadyExistsError, Key, NotFoundError, Store, StoreError
from xds.ledger import Ledger

RESOURCE: Final = "servers.internal"
FIRST_LOOK_SECONDS: Final = 0.02
LAST_LOOK_SECONDS: Final = 1.0
_MOST_NAMED: Final = 10
_PROGRAMMED: Final = frozenset(kind.resource for kind in KINDS if kind.programmed)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Report:
    """Of one server whose mesh is at `seen`: its sidecars; of those not in sync how many hold which revision; some that
    refuse something, with what they hold.
    """

    seen: int
    total: int
    behind: tuple[tuple[int, int], ...] = ()
    refusing: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, ledger: Ledger) -> Self:
        late = ledger.behind(ledger.revision + 1)
        held = {node_id: ledger.synced_revision(node_id) or 0 for node_id, _ in late}
        refusing = [(node_id, held[node_id]) for node_id, refuses in late if refuses]
        behind = tuple(sorted(Counter(held.values()).items()))
        return cls(ledger.revision, ledger.connected_count, behind, tuple(refusing[:_MOST_NAMED]))

    @classmethod
    def read(cls, value: dict[str, Any]) -> Self:
        behind = tuple((int(held), int(count)) for held, count in value["behind"])
        return cls(value["seen"], value["total"], behind, tuple((n, h) for n, h in value["refusing"]))

    def to_json(self) -> dict[str, Any]:
        return {
            "seen": self.seen,
            "total": self.total,
            "behind": [list(one) for one in self.behind],
            "refusing": [list(one) for one in self.refusing],
        }

    def tally(self, revision: int) -> Tally:
        """Nobody holds what the server itself has not got to yet."""
        if self.seen < revision:
            return Tally(self.total, 0, known=False)
        late = sum(count for held, count in self.behind if held < revision)
        return Tally(self.total, self.total - late, [node for node, held in self.refusing if held < revision])


def added(tallies: Iterable[Tally]) -> Tally:
    everything = list(tallies)
    return Tally(
        sum(t.total for t in everything),
        sum(t.holding for t in everything),
        [node for t in everything for node in t.refused],
        all(t.known for t in everything),
    )


class Tallies:
    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._seen = -1
        self._wanted = -1
        self._told = Report(-1, 0)

    async def look(self) -> Callable[[int], Tally]:
        """What holds now, by revision. Raises: StoreError."""
        reports: list[Report | None] = [Report.of(self._ledger)]
        for server in await self._store.servers() - {self._store.server}:
            record = await self._store.get(Key(RESOURCE, "", server))
            reports.append(Report.read(record.value) if record else None)
        return lambda revision: added(r.tally(revision) if r else Tally(known=False) for r in reports)

    async def run(self) -> None:
        """Reports until cancelled; for a store that several servers use."""
        pause = FIRST_LOOK_SECONDS
        while True:
            try:
                fresh = self._look()
                pause = FIRST_LOOK_SECONDS if fresh else min(pause * 2, LAST_LOOK_SECONDS)
                await self._report()
                async with asyncio.timeout(pause if self._is_open else None):
                    await self._store.wait(self._seen)
            except TimeoutError:
                continue
            except StoreError as error:
                log.warning("tallies.store", error=str(error))
                await asyncio.sleep(LAST_LOOK_SECONDS)

    async def forget_gone(self) -> None:
        """For the leader: reports of servers that are there no more."""
        alive = await self._store.servers()
        for record in (await self._store.list(RESOURCE))[0]:
            if record.key.name not in alive:
                await self._store.take(record.key)

    @property
    def _is_open(self) -> bool:
        return self._told.seen < self._wanted or bool(self._told.behind)

    def _look(self) -> bool:
        """Was there a change that sidecars have to be told of?"""
        events = since(self._store, self._seen) if self._seen >= 0 else None
        self._seen = self._store.revision
        if events is None:
            self._wanted = self._seen
            return True
        wanted = [e.record.revision for e in events if e.record.key.resource in _PROGRAMMED and not e.minor]
        self._wanted = max([self._wanted, *wanted])
        return bool(wanted)

    async def _report(self) -> None:
        now = Report.of(self._ledger)
        if not self._is_open or now.seen < self._wanted or now == self._told:
            return
        key, value = Key(RESOURCE, "", self._store.server), now.to_json()
        try:
            await self._store.replace(key, value, minor=True)
        except NotFoundError:
            try:
                await self._store.create(key, value)
            except AlreadyExistsError:
                return
        self._told = now
