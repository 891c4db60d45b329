"""P2 and X1 to X8: the mesh of the goals on a server process of its own, simulated sidecars in this one.

    python -m bench.xds [--sidecars 1000] [--edits 30] [--no-growth]

CPU is the server's, of all its threads, by the kernel's own count. Times hold on this machine in this run: client and
server share its cores, so a loaded machine shows in the milliseconds first and in CPU seconds least.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop

from bench.figures import line
from bench.one_envoy import new_authority
from bench.server_process import server
from ca import keys
from ca.spiffe_id import SpiffeId
from controlplane.load.fleet import Fleet, Identity
from controlplane.load.installation import Api
from controlplane.load.measure import QUIET_SECONDS, Measure, edits, mesh_wide
from controlplane.load.mesh import LoadMesh
from controlplane.mesh.live import Edit
from controlplane.resources import kinds
from controlplane.state import MeshState
from policies.document import Document
from policies.workload import MeshSettings
from xds.plan import AccessLog

ROOT = "istio-system"
DAY_SECONDS = 12 * 3600
SERVICES = 12  # the fewest a mesh may have: X7 edits these, in meshes of any size
SMALL, LARGE, FEW, MANY = 120, 5000, 10, 10_000
PUSHES = 11  # the first pays for imports


class Installation:
    """A server with the mesh of the goals, and a fleet that is not connected yet."""

    def __init__(self, api: Api, mesh: LoadMesh, fleet: Fleet, measure: Measure) -> None:
        self.api, self.mesh, self.fleet, self.measure = api, mesh, fleet, measure


@asynccontextmanager
async def installation(
    sidecars: int, policies: int = 0, connected: int | None = None
) -> AsyncIterator[Installation]:
    """`connected`: so many of the sidecars take part, the first; None: all."""
    async with (
        server() as (client, pid),
        Api(client.server, client.token, client.context) as api,
    ):
        where = await api.request("GET", "/pylis/v1/addresses")
        mesh = LoadMesh(str(where["trustDomain"]), sidecars // 10)
        await api.create(mesh.resources())
        await api.create([mesh.mesh_wide(ROOT)])
        await api.create(mesh.unrelated(n) for n in range(policies))
        identities = await api.identities(list(mesh.nodes())[:connected], DAY_SECONDS)
        fleet = Fleet(str(where["xds"]), identities)
        yield Installation(api, mesh, fleet, Measure(fleet, pid))
        fleet.disconnect()


async def measured(sidecars: int, edits: int, *, growing: bool) -> None:
    incremental(10_000)
    async with installation(sidecars) as one:
        await _scale(one, sidecars, edits)
    await pushes(sidecars)
    if growing:
        await growth(edits)


async def growth(count: int) -> None:
    """X7: as many sidecars are connected, and the same services edited, each time: what grows is what is registered.

    So the load fits beside the server on a small machine, and a connection that has nothing to say costs an edit nothing.
    """
    small = await _one_edit(SMALL, FEW, count)
    for what, sidecars, policies in (("sidecars", LARGE, FEW), ("policies", SMALL, MANY)):
        large = await _one_edit(sidecars, policies, count)
        for part, index in (("latency", 0), ("cpu", 1)):
            line("X7", [large[index] / small[index]], "x", 1.5, "Kuma linear in N; istiod in the namespace",
                 part=f"{part}, more {what}", small=round(small[index], 3), large=round(large[index], 3),
                 registered=sidecars, policies=policies, connected=SMALL)  # fmt: skip


async def _scale(one: Installation, sidecars: int, count: int) -> None:
    idle = one.measure.usage().resident_bytes
    cold = await one.measure.cold_start()
    _cold_start(cold)
    await edits(one.measure, one.api, one.mesh, range(3))  # the first of each pays for imports
    await one.measure.idle()
    found = await edits(one.measure, one.api, one.mesh, range(3, count + 3))
    ours = [r.ms for r in found]
    line("X1", ours, "ms", 10, "istiod 128 (40 to 63 at best), Kuma 32,800", part="p50")
    line("X1", [max(ours)], "ms", 25, "the same", part="max")
    line("X1", [r.sent_ms for r in found], "ms", 25, "none", part="from the call, durable write included")
    told = {r.sidecars for r in found}
    line("X2", [float(max(told))], "sidecars", 10, "istiod 100, Kuma 10", part="told", exactly=told == {10})
    line(
        "X2",
        [float(max(r.bytes_each for r in found))],
        "bytes",
        3000,
        "istiod 11,500, Kuma 3,000",
        part="bytes each",
    )
    line("X2", [r.cpu_ms for r in found], "ms", 10, "istiod 60 to 350, Kuma 1,240", part="server CPU")
    wide = (await mesh_wide(one.measure, one.api, one.mesh, ROOT, 6))[1:]
    line(
        "X3",
        [r.ms for r in wide],
        "ms",
        200,
        "istiod 351 to 430, Kuma 7,569 at 300",
        part="last sidecar",
        sidecars=sidecars,
    )
    line("X3", [r.cpu_ms for r in wide], "ms", 250, "istiod 600 to 800", part="server CPU", sidecars=sidecars)
    line(
        "X3",
        [r.bytes_each * r.sidecars / 1e6 for r in wide],
        "MB",
        2,
        "istiod 11.7",
        part="bytes",
        sidecars=sidecars,
    )
    used = (one.measure.usage().resident_bytes - idle) / 1e6 / len(one.fleet.connections) * 1000
    line("X6", [used], "MB", 150, "istiod 180 to 800, Kuma 3,900", part="per 1,000 sidecars, mTLS")
    back = await one.measure.reconnect()
    line("X8", [float(back["resources"])], "resources", 0, "none", part="sent again")
    line(
        "X8",
        [back["seconds"]],
        "s",
        2.5,
        "none",
        part="all back",
        cpu_seconds=back["serverCpuSeconds"],
        sidecars=sidecars,
    )


def _cold_start(cold: dict[str, Any]) -> None:
    peers = "istiod 6.4 to 9.2 (plaintext), Kuma 245"
    line("X4", [cold["seconds"]], "s", 3, peers, part="all hold their configuration",
         cpu_seconds=cold["serverCpuSeconds"], complete=cold["complete"], sidecars=cold["sidecars"])  # fmt: skip
    line("X4", [float(cold["refused"])], "streams", 0, "istiod as shipped 5,823", part="refused")
    line("X4", [cold["bytesEach"] / 1000], "kB", 40, "istiod 337", part="bytes each")


async def pushes(sidecars: int) -> None:
    """X5: the push itself, to the same fleet: our xDS port, and a server that knows nothing but bytes."""
    with tempfile.TemporaryDirectory(prefix="pylis-bench-") as temporary:
        directory, authority = Path(temporary), new_authority()
        roots, key = authority.bundle.to_pem(), keys.new_key()
        own = authority.issue_server(keys.csr_for(key), (), ("127.0.0.1",))
        for name, content in (("key", keys.key_pem(key)), ("chain", own.chain_pem.encode()), ("roots", roots.encode())):  # fmt: skip
            (directory / f"{name}.pem").write_bytes(content)
        identities: list[Identity] = []
        for n in range(sidecars):
            key = keys.new_key()
            who = SpiffeId.parse(f"spiffe://example.org/ns/shop/sa/s{n}")
            svid = authority.issue(_registration(who), keys.csr_for(key))
            identities.append(Identity(f"shop/s{n}", keys.key_pem(key), svid.chain_pem.encode(), roots))
        bare = await _push(directory, "bare", identities)
        ours = await _push(directory, "ours", identities)
    ratio = statistics.median(ours) / statistics.median(bare)
    line("X5", [ratio], "x", 1.2, "a grpc.aio server that pushes ready bytes and knows no protocol, same run, mTLS both",
         part="CPU per push of 3 kB", ours_us=round(statistics.median(ours), 1),
         bare_us=round(statistics.median(bare), 1), sidecars=sidecars)  # fmt: skip


async def _push(directory: Path, which: str, identities: list[Identity]) -> list[float]:
    """Microseconds of CPU a push, acknowledgement included."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.push_server", str(directory), which,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    stdin, port = child.stdin, int(await child.stdout.readline())
    fleet = Fleet(f"127.0.0.1:{port}", identities)
    measure = Measure(fleet, child.pid)
    await fleet.connect()
    await asyncio.sleep(QUIET_SECONDS * 2)

    async def push() -> None:
        stdin.write(b"3000\n")

    found = [await measure.push(push, len(identities)) for _ in range(PUSHES)]
    fleet.disconnect()
    stdin.close()
    await child.wait()
    return [r.cpu_ms * 1000 / r.sidecars for r in found[1:]]


def _registration(who: SpiffeId) -> Any:
    from ca.registrations import Registration

    return Registration("shop/any", who, frozenset({"unix:uid:0"}), frozenset({"*"}))


async def _one_edit(sidecars: int, policies: int, count: int) -> tuple[float, float]:
    """Milliseconds from the call, and CPU milliseconds, of one workload's edit."""
    async with installation(sidecars, policies, SMALL) as one:
        await one.measure.cold_start()
        await edits(one.measure, one.api, one.mesh, range(SERVICES), SERVICES)
        await one.measure.idle()
        found = await edits(one.measure, one.api, one.mesh, range(SERVICES, SERVICES + count), SERVICES)
        return statistics.median(r.sent_ms for r in found), statistics.median(r.cpu_ms for r in found)


def incremental(policies: int) -> None:
    """P2, in process: one edit among many, until the new snapshots of those it concerns exist."""
    mesh = LoadMesh("example.org", 100)
    state = MeshState(MeshSettings("example.org"), AccessLog.DENIED)
    ballast = (mesh.unrelated(n) for n in range(policies - 101))
    state.apply(map(_edit, [*mesh.resources(), mesh.mesh_wide(ROOT), *ballast]), 1)
    for node in state.node_ids:
        state.snapshot(node)
    taken: list[float] = []
    selected = True
    for number in range(30):
        service = number * 7 % mesh.services
        edit = _edit(mesh.policy(service, f"/p2-{number}"))
        began = perf_counter()
        affected = state.apply([edit], 2 + number).nodes
        for node in affected:
            state.snapshot(node)
        taken.append((perf_counter() - began) * 1000)
        selected &= affected == mesh.replicas_of(service)
    line(
        "P2",
        taken,
        "ms",
        10,
        "istiod 60 to 160 ms CPU at 101 policies",
        policies=policies,
        only_selected=selected,
    )


def _edit(resource: dict[str, Any]) -> Edit:
    value, problems = kinds.parse(Document(resource))
    if value is None:
        raise ValueError(problems)
    metadata = resource["metadata"]
    return Edit((resource["kind"], metadata.get("namespace"), metadata["name"]), 0, value)


def main() -> None:
    parser = argparse.ArgumentParser(description="P2 and X1 to X8")
    parser.add_argument("--sidecars", type=int, default=1000)
    parser.add_argument("--edits", type=int, default=30)
    parser.add_argument("--no-growth", action="store_true")
    chosen = parser.parse_args()
    uvloop.run(measured(chosen.sidecars, chosen.edits, growing=not chosen.no_growth))


if __name__ == "__main__":
    main()
