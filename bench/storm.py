"""Under pressure: how long sidecars that have nothing to do with it wait for an edit of theirs, and what memory does.

    make storm SECONDS=60    (python -m bench.storm [--rate 500] [--sidecars 200])

A probe is an edit of a workload that nobody else touches, from the API's acceptance to its last sidecar that has it:
while all is calm; while others are edited `rate` times a second; while all others come back at once after they were
cut off; while one sidecar comes and goes a hundred times a second. Exit status 1 when anything does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import uvloop

from bench.figures import line
from bench.server_process import server
from controlplane.load.fleet import Fleet
from controlplane.load.installation import Api, Usage
from controlplane.load.mesh import LoadMesh

WRITERS = 16
PROBE_EVERY = 0.1  # seconds
RECONNECTS = 100  # a second
PROBED = 4  # services that only probes edit
TARGET_P99_MS = 25.0  # X1


@dataclass
class Found:
    """Milliseconds of each probe; `lost`: probes that did not arrive within ten seconds."""

    calm: list[float] = field(default_factory=list[float])
    edits: list[float] = field(default_factory=list[float])
    herd: list[float] = field(default_factory=list[float])
    reconnects: list[float] = field(default_factory=list[float])
    lost: int = 0
    edited: int = 0
    edit_seconds: float = 0.0
    pushes: int = 0  # answers to those who were edited
    server_cores: float = 0.0  # that the server used meanwhile
    growth_mb: float = 0.0  # from the first third of the edits to their end
    herd_seconds: float = 0.0
    returned: int = 0  # times that the one sidecar came back
    behind: int = 0  # sidecars not in sync at the end


class Storm:
    def __init__(self, api: Api, fleet: Fleet, mesh: LoadMesh, pid: int) -> None:
        self.api, self.fleet, self.mesh, self.pid = api, fleet, mesh, pid
        self.found = Found()
        self._number = itertools.count()
        probed = range(mesh.services - PROBED, mesh.services)
        self._probed = itertools.cycle(probed)
        self.bystanders = set[str]().union(*map(mesh.replicas_of, probed))

    async def probe(self, into: list[float]) -> None:
        service, number = next(self._probed), next(self._number)
        nodes = self.mesh.replicas_of(service)
        before = {node: self.fleet.sidecars[node].responses for node in nodes}

        def arrived() -> bool:
            return all(self.fleet.sidecars[node].responses > count for node, count in before.items())

        await self.api.replace(self.mesh.policy(service, f"/probe-{number}/*"))
        accepted = perf_counter()
        if await self.fleet.until(arrived, 10):
            last = max(self.fleet.connections[node].last for node in nodes)
            into.append(max(0.0, (last - accepted) * 1000))
        else:
            self.found.lost += 1

    @asynccontextmanager
    async def probing(self, into: list[float]) -> AsyncGenerator[None]:
        """Within the block, and once at least."""
        over = False

        async def run() -> None:
            while not over:
                await self.probe(into)
                await asyncio.sleep(PROBE_EVERY)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run())
            yield
            over = True

    async def edits(self, seconds: float, rate: int) -> None:
        began, early = perf_counter(), 0.0
        due = itertools.count()
        before, used = self._responses(), Usage.of(self.pid).cpu_seconds

        async def write() -> None:
            nonlocal early
            while (at := next(due) / rate) < seconds:
                await asyncio.sleep(max(0.0, began + at - perf_counter()))
                service = self.found.edited % (self.mesh.services - PROBED)
                self.found.edited += 1
                await self.api.replace(self.mesh.policy(service, f"/storm-{next(self._number)}/*"))
                if not early and at > seconds / 3:
                    early = self.resident()

        async with self.probing(self.found.edits), asyncio.TaskGroup() as tasks:
            for _ in range(WRITERS):
                tasks.create_task(write())
        self.found.edit_seconds = perf_counter() - began
        self.found.growth_mb = self.resident() - early
        self.found.server_cores = (Usage.of(self.pid).cpu_seconds - used) / self.found.edit_seconds
        self.found.pushes = self._responses() - before

    async def herd(self) -> None:
        others = set(self.fleet.sidecars) - self.bystanders
        self.fleet.disconnect(others)
        for node in others:  # it forgets everything, as a process that is new
            self.fleet.sidecars[node].forget()
        async with self.probing(self.found.herd):
            began = perf_counter()
            await self.fleet.connect(others)
            assert await self.fleet.complete(120)
            self.found.herd_seconds = perf_counter() - began

    async def reconnects(self, seconds: float) -> None:
        node = min(set(self.fleet.sidecars) - self.bystanders)
        async with self.probing(self.found.reconnects):
            began = perf_counter()
            while perf_counter() - began < seconds:
                self.fleet.disconnect([node])
                await self.fleet.connect([node])
                self.found.returned += 1
                await asyncio.sleep(max(0.0, began + self.found.returned / RECONNECTS - perf_counter()))

    async def settled(self) -> int:
        """How many sidecars are not in sync in the end."""
        states: list[str] = []
        for _ in range(100):
            proxies = (await self.api.request("GET", "/pylis/v1/proxies"))["items"]
            states = [p["state"] for p in proxies if p["state"] != "synced"]
            if not states:
                return 0
            await asyncio.sleep(0.1)
        return len(states)

    def resident(self) -> float:
        return Usage.of(self.pid).resident_bytes / 1e6

    def _responses(self) -> int:
        return sum(s.responses for node, s in self.fleet.sidecars.items() if node not in self.bystanders)


async def storm(directory: Path, *, seconds: float, rate: int, sidecars: int, replicas: int = 10) -> Found:
    async with server(directory) as (client, pid):
        mesh = LoadMesh("cluster.local", max(12, sidecars // replicas // 2 * 2), replicas)
        async with Api(client.server, client.token, client.context, at_once=WRITERS + 2) as api:
            await api.create(mesh.resources())
            fleet = Fleet(str((await api.request("GET", "/pylis/v1/addresses"))["xds"]), await api.identities(list(mesh.nodes()), 3600))  # fmt: skip
            await fleet.connect()
            assert await fleet.complete(120)
            one = Storm(api, fleet, mesh, pid)
            async with one.probing(one.found.calm):
                await asyncio.sleep(min(5.0, seconds / 4))
            await one.edits(seconds, rate)
            await one.herd()
            await one.reconnects(min(5.0, seconds / 4))
            one.found.behind = await one.settled()
            fleet.disconnect()
            return one.found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    defaults: list[tuple[str, Callable[[str], float], float]] = [
        ("--seconds", float, 60.0), ("--rate", int, 500), ("--sidecars", int, 200), ("--replicas", int, 10),
    ]  # fmt: skip
    for name, kind, default in defaults:
        parser.add_argument(name, type=kind, default=default)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pylis-storm-") as temporary:
        found = uvloop.run(
            storm(
                Path(temporary),
                seconds=chosen.seconds,
                rate=chosen.rate,
                sidecars=chosen.sidecars,
                replicas=chosen.replicas,
            )
        )
    told = {
        "edits": {"edits": found.edited, "a_second": round(found.edited / found.edit_seconds), "pushes": found.pushes,
            "server_cores": round(found.server_cores, 2),
        },
        "herd": {"herd_seconds": round(found.herd_seconds, 2)},
        "reconnects": {"reconnects": found.returned},
    }  # fmt: skip
    for part in ("calm", "edits", "herd", "reconnects"):
        line(
            "X1",
            getattr(found, part),
            "ms",
            TARGET_P99_MS,
            "calm",
            part=f"probe, {part}",
            **told.get(part, {}),
        )
    line("X9", [found.growth_mb], "MB", 20, "none", part="memory while edits pour in")
    line("X9", [float(found.behind + found.lost)], "sidecars", 0, "none", part="not in sync after the storm")
    sys.exit(1 if found.behind or found.lost or found.growth_mb > 20 else 0)


if __name__ == "__main__":
    main()
