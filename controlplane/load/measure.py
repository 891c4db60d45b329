"""What `pylis bench xds` measures: cold start, edits of one workload, an edit of the whole mesh, a reconnect."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.load.fleet import Fleet
from controlplane.load.installation import Api, Usage
from controlplane.load.mesh import LoadMesh

QUIET_SECONDS: Final = 0.3  # nothing more came for so long: whoever was to be told has been told
PATIENCE_SECONDS: Final = 60.0
IDLE_CPU: Final = 0.03  # cores a server uses that has nothing left to do for what it was given before
IDLE_PATIENCE_SECONDS: Final = 180.0


@dataclass(frozen=True, slots=True)
class Round:
    """One push. `ms`: from the API's acceptance to the last sidecar that acknowledged it; `sent_ms`: from the call."""

    ms: float
    sent_ms: float
    sidecars: int
    bytes_each: int
    cpu_ms: float


@dataclass(slots=True)
class Measurements:
    figures: dict[str, Any] = field(default_factory=dict[str, Any])

    def add(self, name: str, value: Any) -> None:
        self.figures[name] = value

    def rounds(self, name: str, found: list[Round]) -> None:
        self.figures[name] = {
            "n": len(found),
            "ms": spread([r.ms for r in found]),
            "sentMs": spread([r.sent_ms for r in found]),
            "sidecars": sorted({r.sidecars for r in found}),
            "bytesEach": max((r.bytes_each for r in found), default=0),
            "serverCpuMs": spread([r.cpu_ms for r in found]),
        }


def spread(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "p50": round(statistics.median(ordered), 3),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 3),
        "max": round(ordered[-1], 3),
    }


class Measure:
    """`pid` 0: the server's process is elsewhere, its CPU and memory are not known."""

    def __init__(self, fleet: Fleet, pid: int) -> None:
        self.fleet = fleet
        self._pid = pid

    def usage(self) -> Usage:
        return Usage.of(self._pid) if self._pid else Usage(0.0, 0)

    async def idle(self) -> bool:
        """Until the server has done what it owes for earlier edits (status of objects, say); False: it never stopped."""
        end = time.perf_counter() + IDLE_PATIENCE_SECONDS
        while time.perf_counter() < end:
            before = self.usage().cpu_seconds
            await asyncio.sleep(QUIET_SECONDS)
            if self.usage().cpu_seconds - before < IDLE_CPU * QUIET_SECONDS:
                return True
        return False

    async def cold_start(self) -> dict[str, Any]:
        """All connect at once; until each holds its full configuration."""
        return await self._connect_all(lambda: self.fleet.complete(PATIENCE_SECONDS))

    async def reconnect(self) -> dict[str, Any]:
        """All go and come back, saying what they hold; until nothing more comes."""
        before = {node: sidecar.versions() for node, sidecar in self.fleet.sidecars.items()}
        self.fleet.disconnect()
        await asyncio.sleep(QUIET_SECONDS)
        found = await self._connect_all(self._quiet)
        changed = sum(s.versions() != before[node] for node, s in self.fleet.sidecars.items())
        return {**found, "changed": changed}

    async def push(self, edit: Callable[[], Awaitable[object]], expected: int) -> Round:
        """One edit; until `expected` sidecars have acknowledged something, and nobody else is told anything."""
        self.fleet.reset()
        before, began = self.usage(), time.perf_counter()
        await edit()
        accepted = time.perf_counter()
        told = lambda: sum(s.responses > 0 for s in self.fleet.sidecars.values())  # noqa: E731
        await self.fleet.until(lambda: told() >= expected, PATIENCE_SECONDS)
        await self._quiet()
        last, after = self.fleet.last, self.usage()
        counted = [s for s in self.fleet.sidecars.values() if s.responses]
        return Round(
            ms=max(0.0, (last - accepted) * 1000),
            sent_ms=(last - began) * 1000,
            sidecars=len(counted),
            bytes_each=max((s.bytes for s in counted), default=0),
            cpu_ms=(after.cpu_seconds - before.cpu_seconds) * 1000,
        )

    async def _connect_all(self, settled: Callable[[], Awaitable[object]]) -> dict[str, Any]:
        self.fleet.reset()
        refused, before, began = self.fleet.refused, self.usage(), time.perf_counter()
        await self.fleet.connect()
        connected = time.perf_counter() - began
        complete = await settled()
        after = self.usage()
        counted = list(self.fleet.sidecars.values())
        return {
            "sidecars": len(self.fleet.connections),
            "complete": bool(complete),
            "seconds": round(max(self.fleet.last - began, connected), 3),
            "connectedSeconds": round(connected, 3),
            "refused": self.fleet.refused - refused,
            "bytesEach": max((s.bytes for s in counted), default=0),
            "resources": sum(s.resources for s in counted),
            "serverCpuSeconds": round(after.cpu_seconds - before.cpu_seconds, 3),
            "serverResidentMB": round(after.resident_bytes / 1e6, 1),
        }

    async def _quiet(self) -> bool:
        """Until no response came for a while."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (left := self.fleet.last + QUIET_SECONDS - time.perf_counter()) > 0:  # noqa: ASYNC110 - that nothing comes has no event
                await asyncio.sleep(left)
        return True


async def edits(
    measure: Measure, api: Api, mesh: LoadMesh, numbers: Iterable[int], among: int = 0
) -> list[Round]:
    """Each of another workload, each alone; a number that was used before changes nothing.

    `among`: of the first services only so many; 0: of all.
    """
    found: list[Round] = []
    for number in numbers:
        service = number * 7 % (among or mesh.services)
        policy = mesh.policy(service, f"/edit-{number}/*")
        found.append(await measure.push(lambda p=policy: api.replace(p), mesh.replicas))
    return found


async def mesh_wide(measure: Measure, api: Api, mesh: LoadMesh, root: str, count: int) -> list[Round]:
    """One policy that holds for everybody, edited."""
    everybody = len(measure.fleet.connections)
    policy = mesh.mesh_wide(root)
    found: list[Round] = []
    for number in range(count):
        policy = mesh.mesh_wide(root, f"/admin-{number}*")
        found.append(await measure.push(lambda p=policy: api.replace(p), everybody))
    return found
