"""X9, `make soak MINUTES=n`: simulated sidecars, random edits and faults, two server restarts; then everybody must be in sync.

Faults: sidecars that go without a word and come back, that refuse what they are sent, that do not read for a while.
Memory is compared from a while after the last restart to the end, each by the median of a tenth of the time. Exit status 1 when anything does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import aiohttp
import uvloop

from bench.figures import line
from bench.server_process import server
from controlplane.load.fleet import Fleet
from controlplane.load.installation import Api, Usage
from controlplane.load.mesh import LoadMesh
from controlplane.store.event_log import KEPT

ROOT = "istio-system"
TICK_SECONDS = 0.2
SETTLE_SECONDS = 120.0
# Shares of the time. After a restart malloc's holes take some minutes to reach their steady size.
RESTARTS = (0.1, 0.25)
WARM, WINDOW = 0.6, 0.1
LEAVING_SECONDS = 30.0
ORPHANED = ("Task was destroyed", "was never awaited", "never retrieved")  # asyncio's words in the log


class Soak:
    def __init__(self, directory: Path, sidecars: int, seed: int) -> None:
        self.directory = directory
        self.mesh = LoadMesh("cluster.local", max(12, sidecars // 10))
        self.random = random.Random(seed)
        self.arguments = tuple(f for name in ("--api", "--xds") for f in (name, f"127.0.0.1:{_free_port()}"))
        self.api: Api
        self.fleet: Fleet
        self.pid = 0
        self.done: Counter[str] = Counter()
        self._server = AsyncExitStack()
        self._paused: set[str] = set()
        self._idle = Counter[str]()

    async def start(self) -> None:
        client, self.pid = await self._server.enter_async_context(server(self.directory, *self.arguments))
        self.api = await self._server.enter_async_context(Api(client.server, client.token, client.context))

    async def prepare(self) -> None:
        await self.start()
        await self.api.create(self.mesh.resources())
        await self.api.create([self.mesh.mesh_wide(ROOT)])
        # the store keeps so many changes for watchers, and the server holds them: full before memory is compared
        await self.api.create(self.mesh.unrelated(number) for number in range(KEPT))
        self._idle = await self.tasks()
        identities = await self.api.identities(list(self.mesh.nodes()), 12 * 3600)
        where = await self.api.request("GET", "/pylis/v1/addresses")
        self.fleet = Fleet(str(where["xds"]), identities)
        await self.fleet.connect()

    async def restart(self) -> None:
        await self._server.aclose()
        self.done["restart"] += 1
        await self.start()

    async def tasks(self) -> Counter[str]:
        """What the server's event loop has to do, by what it is; connections of the API come and go as clients like."""
        found = (await self.api.request("GET", "/debug/tasks"))["at"]
        named = ((one["where"].partition(" at ")[0], one["count"]) for one in found)
        return Counter({name: count for name, count in named if not name.startswith("RequestHandler.")})

    async def left_behind(self) -> Counter[str]:
        """Tasks that were not there before the first sidecar came, when the last has gone."""
        self.fleet.disconnect()
        until = perf_counter() + LEAVING_SECONDS
        while (left := await self.tasks() - self._idle) and perf_counter() < until:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.5)
        return left

    async def stop(self) -> None:
        self.fleet.disconnect()
        await self._server.aclose()

    async def tick(self) -> None:
        """One thing goes wrong, or somebody edits something; whoever is away comes back."""
        what = self.random.choices(
            ["policy", "policies", "wide", "entry", "vanish", "refuse", "pause"], [30, 10, 3, 10, 10, 5, 3]
        )[0]
        self.done[what] += 1
        try:
            await self._do(what)
        except aiohttp.ClientError:
            self.done["API away"] += 1
        await self.return_all()

    async def return_all(self) -> None:
        away = [node for node in self.fleet.sidecars if node not in self.fleet.connections]
        self.done["reconnect"] += len(away)
        await self.fleet.connect(away)

    async def _do(self, what: str) -> None:
        number = self.random.randrange(10**6)
        match what:
            case "policy":
                await self.api.replace(self.mesh.policy(self._service(), f"/soak-{number}"))
            case "policies":
                some = [self.mesh.policy(self._service(), f"/soak-{number}-{n}") for n in range(10)]
                await asyncio.gather(*map(self.api.replace, some))
            case "wide":
                await self.api.replace(self.mesh.mesh_wide(ROOT, f"/admin-{number}*"))
            case "entry":
                entry = self.mesh.entry(self._service(), 0)
                entry["spec"]["address"] = f"10.255.{number % 250}.{number % 240 + 1}"
                await self.api.replace(entry)
            case "vanish":
                self.fleet.disconnect(self._some(20))
            case "refuse":
                for node in self._some(5):
                    self.fleet.sidecars[node].refuse = True
            case _:
                for node in self._some(2):
                    if (connection := self.fleet.connections.get(node)) is not None:
                        connection.pause()
                        self._paused.add(node)

    async def settle(self) -> list[dict[str, Any]]:
        """Nobody refuses or sleeps any more, everybody is told something new; those still not in sync at the end."""
        self.fleet.disconnect(self._paused)
        for sidecar in self.fleet.sidecars.values():
            sidecar.refuse = False
        for service in range(self.mesh.services):
            await self.api.replace(self.mesh.policy(service, "/settled"))
        await self.api.replace(self.mesh.mesh_wide(ROOT, "/settled*"))
        until = perf_counter() + SETTLE_SECONDS
        while True:
            await self.return_all()
            proxies = (await self.api.request("GET", "/pylis/v1/proxies"))["items"]
            behind = [p for p in proxies if p["state"] != "synced"]
            if len(proxies) == len(self.fleet.sidecars) and not behind:
                return []
            # what was refused is sent again when it changes, or to whoever comes back without it
            self.fleet.disconnect(p["name"] for p in behind if p["state"] == "nacked")
            if perf_counter() > until:
                return behind or [{"missing": len(self.fleet.sidecars) - len(proxies)}]
            await asyncio.sleep(0.5)

    def resident(self) -> float:
        return Usage.of(self.pid).resident_bytes / 1e6

    def _service(self) -> int:
        return self.random.randrange(self.mesh.services)

    def _some(self, count: int) -> list[str]:
        return self.random.sample(sorted(self.fleet.sidecars), min(count, len(self.fleet.sidecars)))


async def soak(minutes: float, sidecars: int, seed: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="pylis-soak-") as temporary:
        one = Soak(Path(temporary), sidecars, seed)
        await one.prepare()
        began, seconds = perf_counter(), minutes * 60
        restarts = [seconds * share for share in RESTARTS]
        warm, last = list[float](), list[float]()
        while (passed := perf_counter() - began) < seconds:
            if restarts and passed > restarts[0]:
                restarts.pop(0)
                await one.restart()
            if WARM <= passed / seconds < WARM + WINDOW:
                warm.append(one.resident())
            elif passed / seconds >= 1 - WINDOW:
                last.append(one.resident())
            await one.tick()
            await asyncio.sleep(TICK_SECONDS)
        behind = await one.settle()
        growth = (median(last) / median(warm) - 1) * 100
        left = await one.left_behind()
        await one.stop()
        log = (Path(temporary) / "log").read_text(errors="replace").splitlines()
        repeated, orphaned = _most_repeated(log), [text for text in log if any(w in text for w in ORPHANED)]
    line(
        "X9",
        [float(len(behind))],
        "sidecars",
        0,
        "none",
        part="not in sync at the end",
        behind=behind[:5],
        **one.done,
    )
    line(
        "X9",
        [growth],
        "%",
        3,
        "none",
        part="memory after warm-up",
        warm_mb=round(median(warm), 1),
        last_mb=round(median(last), 1),
        minutes=minutes,
        sidecars=sidecars,
    )
    line(
        "X9",
        [float(left.total() + len(orphaned))],
        "tasks",
        0,
        "none",
        part="left when the last sidecar has gone",
        left=dict(left),
        orphaned=orphaned[:3],
    )
    line(
        "X9",
        [float(repeated[1])],
        "a second",
        1,
        "none",
        part="warnings of one kind about one proxy",
        event=repeated[0],
    )
    return not behind and growth < 3 and repeated[1] <= 1 and not left and not orphaned


def _most_repeated(log: Sequence[str]) -> tuple[str, int]:
    """The warning that was logged most often within one second about one and the same thing."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for text in log:
        try:
            entry = json.loads(text)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("warning", "error"):
            counts[
                entry.get("event", ""), str(entry.get("node", "")), str(entry.get("timestamp", ""))[:19]
            ] += 1
    most = counts.most_common(1)
    return (most[0][0][0], most[0][1]) if most else ("", 0)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description="X9")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sidecars", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    sys.exit(0 if uvloop.run(soak(chosen.minutes, chosen.sidecars, chosen.seed)) else 1)


if __name__ == "__main__":
    main()
