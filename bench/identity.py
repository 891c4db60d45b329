"""Identity goals: I3 registration to SVID, I5 start of an agent, I6 size; I1 and I2 are in `issuance` (in process, with I7) and
`identity_transport`, I4 in `cut_off`.

Everything runs as processes of its own, asked as users and workloads ask. Figures are of this machine, in this run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc
from spiffe._proto import workload_pb2

from bench import as_users
from bench.figures import line
from bench.server_process import server
from controlplane.cli.client import Client

REGISTRATIONS: Final = "/apis/pylis.io/v1alpha1/namespaces/default/workloadregistrations"
HEADER: Final = (("workload.spiffe.io", "true"),)
FETCH: Final = "/SpiffeWorkloadAPI/FetchX509SVID"
OWN_UID: Final = f"unix:uid:{os.getuid()}"
_SPIRE_I3: Final = "SPIRE as shipped 4,573 ms (max 8,277); tightest sane setting 105 ms at 0.06 cores"


def registration(name: str, agent: str, *selectors: str) -> dict[str, Any]:
    return {
        "apiVersion": "pylis.io/v1alpha1",
        "kind": "WorkloadRegistration",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"serviceAccount": name, "selectors": list(selectors), "agents": [agent]},
    }


class Stream(threading.Thread):
    """An open FetchX509SVID stream: when which identities were there."""

    def __init__(self, socket: Path) -> None:
        super().__init__(daemon=True)
        self._channel = grpc.insecure_channel(
            f"unix://{socket}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self._call: Any = self._channel.unary_stream(FETCH)(b"", metadata=HEADER)
        self._news = threading.Condition()
        self._seen: list[tuple[float, frozenset[str]]] = []

    def run(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for body in self._call:
                at, answer = time.perf_counter(), workload_pb2.X509SVIDResponse.FromString(body)
                with self._news:
                    self._seen.append((at, frozenset(s.spiffe_id.rpartition("/")[2] for s in answer.svids)))
                    self._news.notify_all()

    def when(self, account: str, *, there: bool = True) -> float:
        """The moment since which the identity has been there (or not)."""
        with self._news:
            if not self._news.wait_for(lambda: self._seen and (account in self._seen[-1][1]) is there, 60):
                raise RuntimeError(f"{account} never came")
            return self._seen[-1][0]

    def end(self) -> None:
        self._call.cancel()
        self._channel.close()
        self.join()


@contextlib.asynccontextmanager
async def agent(client: Client, directory: Path, name: str) -> AsyncIterator[tuple[Path, int]]:
    """Its socket and its process ID."""
    token = client.request("POST", "/pylis/v1/tokens", {"agent": name})["token"]
    child = await _start_agent(directory / name, token)
    socket = directory / name / "agent.sock"
    try:
        while not socket.exists():  # noqa: ASYNC110 - another process's progress
            await asyncio.sleep(0.01)
        yield socket, child.pid
    finally:
        child.terminate()
        await child.wait()


async def _start_agent(directory: Path, token: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "controlplane.cli", "agent", "run", "--no-envoy", "--data-dir", str(directory),
        env={**as_users.environment(directory.parent), "PYLIS_AGENT_TOKEN": token}, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def cpu_seconds(*pids: int) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def propagation(rounds: int = 50, idle_seconds: float = 10.0) -> None:
    """I3: the API has accepted a registration → its SVID is on an open stream of the Workload API."""
    with tempfile.TemporaryDirectory(prefix="pylis-bench-") as temporary:
        async with server() as (client, server_pid):
            client.request("POST", REGISTRATIONS, registration("first", "one", OWN_UID))
            async with agent(client, Path(temporary), "one") as (socket, agent_pid):
                await _until_held(socket)
                stream = Stream(socket)
                stream.start()
                stream.when("first")
                after, whole = list[float](), list[float]()
                for number in range(rounds):
                    name = f"r{number}"
                    began = time.perf_counter()
                    client.request("POST", REGISTRATIONS, registration(name, "one", OWN_UID))
                    accepted = time.perf_counter()
                    there = stream.when(name)
                    after.append(max(0.0, there - accepted) * 1000)
                    whole.append((there - began) * 1000)
                    client.request("DELETE", f"{REGISTRATIONS}/{name}")
                    stream.when(name, there=False)
                before = cpu_seconds(server_pid, agent_pid)
                await asyncio.sleep(idle_seconds)
                idle = (cpu_seconds(server_pid, agent_pid) - before) / idle_seconds
                stream.end()
    line("I3", after, "ms", 30, _SPIRE_I3, p50FromRequestSent=round(sorted(whole)[len(whole) // 2], 3))
    slowest = sorted(after)[int(len(after) * 0.99)]
    line("I3", [slowest], "ms", 100, _SPIRE_I3, part="p99", rounds=rounds)
    line("I3", [idle], "cores", 0.005, _SPIRE_I3, part="idle CPU of server and agent")


async def _until_held(socket: Path) -> float:
    """The moment of the first SVID."""
    while True:
        async with grpc.aio.insecure_channel(
            f"unix://{socket}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            with contextlib.suppress(grpc.aio.AioRpcError):
                call: Any = channel.unary_stream(FETCH)(b"", metadata=HEADER)
                async for _ in call:
                    return time.perf_counter()
        await asyncio.sleep(0.002)


async def first_svid(rounds: int = 10) -> None:
    """I5: exec of `pylis agent run` with a join token → the first SVID on its socket."""
    taken: list[float] = []
    with tempfile.TemporaryDirectory(prefix="pylis-bench-") as temporary:
        async with server() as (client, _):
            for number in range(rounds):
                name = f"a{number}"
                token = client.request("POST", "/pylis/v1/tokens", {"agent": name})["token"]
                client.request("POST", REGISTRATIONS, registration(name, name, OWN_UID))
                began = time.perf_counter()
                child = await _start_agent(Path(temporary) / name, token)
                socket = Path(temporary) / name / "agent.sock"
                while not socket.exists():  # noqa: ASYNC110 - another process's progress
                    await asyncio.sleep(0.001)
                taken.append(await _until_held(socket) - began)
                child.terminate()
                await child.wait()
    line("I5", taken, "s", 0.6, "SPIRE 5.09 s as shipped, 0.10 s at its tightest")


async def size(count: int = 10_000, held: int = 1_000, streams: int = 100) -> None:
    """I6: many registrations, one a request over 16 connections; an agent with many SVIDs and streams.

    SPIRE's were created one after another: `oneAfterAnother` is what 10,000 would take so here, from 500.
    """
    baseline = "SPIRE 57.8 s, 36 MB; agent 78 MB"
    with tempfile.TemporaryDirectory(prefix="pylis-bench-") as temporary:
        async with server() as (client, server_pid):
            before, cpu = resident(server_pid), cpu_seconds(server_pid)
            began = time.perf_counter()
            await _create(
                client, [registration(f"r{n}", f"agent-{n % 100}", "unix:uid:4711") for n in range(count)]
            )
            created, cpu = time.perf_counter() - began, cpu_seconds(server_pid) - cpu
            await asyncio.sleep(1)
            added = resident(server_pid) - before
            began = time.perf_counter()
            single = [registration(f"s{n}", f"agent-{n % 100}", "unix:uid:4711") for n in range(500)]
            await _create(client, single, connections=1)
            alone = (time.perf_counter() - began) * count / len(single)
            line("I6", [created], "s", 10, baseline, part="create", registrations=count, connections=16,
                 serverCpuSeconds=round(cpu, 2), oneAfterAnother=round(alone, 1))  # fmt: skip
            line("I6", [added], "MB", 40, baseline, part="server memory added")
            async with agent(client, Path(temporary), "one") as (socket, agent_pid):
                empty = resident(agent_pid)
                wanted = [registration(f"h{n}", "one", "unix:uid:4711") for n in range(held - 1)]
                await _create(client, [registration("mine", "one", OWN_UID), *wanted])
                await _until_status(Path(temporary) / "one", held)
                opened = [Stream(socket) for _ in range(streams)]
                for one in opened:
                    one.start()
                for one in opened:
                    one.when("mine")
                full = resident(agent_pid)
                for one in opened:
                    one.end()
    line("I6", [full], "MB", 80, baseline, part="agent", svids=held, streams=streams, empty=round(empty, 1))


async def _create(client: Client, bodies: list[dict[str, Any]], connections: int = 16) -> None:
    queue = list(reversed(bodies))
    headers = {"Authorization": f"Bearer {client.token}"}
    connector = aiohttp.TCPConnector(limit=connections, ssl=client.context)
    async with aiohttp.ClientSession(client.server, connector=connector, headers=headers) as session:

        async def work() -> None:
            while queue:
                body = queue.pop()
                async with session.post(
                    REGISTRATIONS, json=body, server_hostname="server.pylis.internal"
                ) as answer:
                    if answer.status != 201:
                        raise RuntimeError(await answer.text())

        await asyncio.gather(*(work() for _ in range(connections)))


async def _until_status(directory: Path, count: int) -> None:
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(OSError, ValueError):
                if len(json.loads((directory / "status.json").read_text())["identities"]) >= count:
                    return
            await asyncio.sleep(0.1)


def main() -> None:
    asyncio.run(propagation())
    asyncio.run(first_svid())
    asyncio.run(size())


if __name__ == "__main__":
    main()
