"""What the agents of every server of one store have acknowledged: an authority signs only where all know it.

Each server writes of its agents what bundle they acknowledged and how long they count, and which bundle it knows
itself; whoever changes an authority reads all of it. What a server that was killed has written counts on: what its
agents have started still talks. A report that is late is on the safe side: it names an older bundle.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# stored JSON comes in as Any

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import structlog

from controlplane.acknowledgements import Acknowledgements, Counted
from controlplane.store.following import follow
from controlplane.store.port import AlreadyExistsError, Key, NotFoundError, Store, StoreError

RESOURCE: Final = "acknowledgements.internal"
PAUSE_SECONDS: Final = 0.05  # between two reports: many agents acknowledge at once
LOOK_AGAIN_SECONDS: Final = 1.0
_HOUR: Final = timedelta(hours=1)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Heard:
    """Of one server: the newest bundle it knows, and its agents."""

    sequence: int = 0
    agents: dict[str, Counted] = field(default_factory=dict[str, Counted])

    @classmethod
    def read(cls, value: dict[str, Any]) -> Self:
        agents = {
            name: Counted(sequence, datetime.fromisoformat(until))
            for name, (sequence, until) in value["agents"].items()
        }
        return cls(value["sequence"], agents)

    def to_json(self) -> dict[str, Any]:
        agents = {name: [one.sequence, one.until.isoformat()] for name, one in self.agents.items()}
        return {"sequence": self.sequence, "agents": agents}


class AcknowledgedEverywhere:
    """`behind` is what `CertificateAuthority.unacknowledged` asks; `run` until cancelled.

    `sequence`: of the bundle this server knows. `known`: every agent there is a record of.
    """

    def __init__(
        self,
        store: Store,
        own: Acknowledgements,
        sequence: Callable[[], int],
        known: Callable[[], Collection[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._own = own
        self._sequence = sequence
        self._known = known
        self._now = now
        self._heard: dict[str, Heard] = {}
        self._alive: frozenset[str] = frozenset()
        self._told: Heard | None = None
        self._news = asyncio.Event()
        own.changed = self._news.set

    def behind(self, sequence: int) -> tuple[str, ...]:
        """Agents of any server that may not know that bundle yet, and servers that do not; sorted."""
        now, known = self._now(), set(self._known())
        others = [heard for server, heard in self._heard.items() if server != self._store.server]
        best = {
            name: max(one.agents[name].sequence for one in others if name in one.agents)
            for name in {name for one in others for name in one.agents}
        }
        found = {name for name in self._own.behind(sequence) if best.get(name, 0) < sequence}
        counted = self._own.counted
        for one in others:
            found |= {
                name
                for name, told in one.agents.items()
                if name in known
                and told.until > now
                and max(best[name], counted[name].sequence if name in counted else 0) < sequence
            }
        silent = self._alive - {self._store.server}
        found |= {f"server {name}" for name in silent if self._heard.get(name, Heard()).sequence < sequence}
        return tuple(sorted(found))

    def look(self) -> None:
        """The bundle this server knows has changed."""
        self._news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self._tell())

    async def _listen(self) -> None:
        await self._again()
        async for _ in follow(self._store, self._store.revision, {RESOURCE}, LOOK_AGAIN_SECONDS):
            await self._again()

    async def _again(self) -> None:
        try:
            self._alive = await self._store.servers()
            records, _ = await self._store.list(RESOURCE)
            self._heard = {record.key.name: Heard.read(record.value) for record in records}
            for record in records:
                if record.key.name not in self._alive and self._is_over(self._heard[record.key.name]):
                    await self._store.take(record.key)
        except StoreError as error:
            log.warning("acknowledgements.store", error=str(error))

    async def _tell(self) -> None:
        while True:
            self._news.clear()
            now = Heard(self._sequence(), {n: _rounded(one) for n, one in self._own.counted.items()})
            if now != self._told:
                try:
                    await self._write(now)
                    self._told = now
                except StoreError as error:
                    log.warning("acknowledgements.store", error=str(error))
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
                    continue
            await asyncio.sleep(PAUSE_SECONDS)
            await self._news.wait()

    async def _write(self, now: Heard) -> None:
        key = Key(RESOURCE, "", self._store.server)
        try:
            await self._store.replace(key, now.to_json(), minor=True)
        except NotFoundError:
            try:
                await self._store.create(key, now.to_json())
            except AlreadyExistsError:
                await self._store.replace(key, now.to_json(), minor=True)

    def _is_over(self, heard: Heard) -> bool:
        return all(one.until <= self._now() for one in heard.agents.values())


def _rounded(one: Counted) -> Counted:
    """To the next full hour: a renewed certificate alone is seldom news."""
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return Counted(one.sequence, start + (((one.until - start) // _HOUR) + 1) * _HOUR)
