"""What authorization costs Envoy, and what two sidecars add to a round trip.

CPU is that of the Envoy process, for requests on mTLS connections that are up (HTTP) or for connections (TCP),
against the same listener without its authorization filter; both in turn, in one run.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.one_envoy import Source, envoy, free_port, free_ports, identity, new_authority, until, xds_server
from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact, Prefix
from policies.program import Clause, DecisionProgram, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds import names, schema
from xds.compile import compile_plan
from xds.ledger import Ledger
from xds.plan import (
    AccessLog,
    AppProtocol,
    Destination,
    Endpoint,
    InboundPort,
    ProxyPlan,
    SocketAddress,
    Upstream,
)
from xds.snapshot import EXTENSION, LISTENER, Resource, Snapshot

REQUESTS = 4000
CONNECTIONS = 300
ROUNDS = 5
ROUND_TRIPS = 1000
CALLER = "spiffe://example.org/ns/shop/sa/frontend"
PRINCIPAL = CALLER.removeprefix("spiffe://")
OWN = "spiffe://example.org/ns/shop/sa/orders"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def principals(count: int, protocol: Protocol = Protocol.HTTP) -> DecisionProgram:
    """One rule that allows so many callers; ours is the last."""
    values = tuple(Exact(f"example.org/ns/shop/sa/other{n}") for n in range(count - 1))
    clause = Clause("shop/orders[0]", (Condition(Key(Attribute.PRINCIPAL), (*values, Exact(PRINCIPAL))),))
    return DecisionProgram(protocol, 8080, (), (clause,), allow_applies=True)


def rules(count: int) -> DecisionProgram:
    """So many rules of (principal, method, path); ours is the last."""
    clauses = [
        Clause(
            f"shop/orders[{n}]",
            (
                Condition(Key(Attribute.PRINCIPAL), (Exact(f"example.org/ns/shop/sa/other{n % 20}"),)),
                Condition(Key(Attribute.METHOD), (Exact("POST"),)),
                Condition(Key(Attribute.PATH), (Prefix(f"/api/{n}/"),)),
            ),
        )
        for n in range(count - 1)
    ]
    conditions = (
        Condition(Key(Attribute.PRINCIPAL), (Exact(PRINCIPAL),)),
        Condition(Key(Attribute.METHOD), (Exact("GET"),)),
        Condition(Key(Attribute.PATH), (Prefix("/orders"),)),
    )
    own = Clause(f"shop/orders[{count - 1}]", conditions)
    return DecisionProgram(Protocol.HTTP, 8080, (), (*clauses, own), allow_applies=True)


async def cost_ratios(program: DecisionProgram) -> list[float]:
    """Pair by pair: CPU with authorization over CPU without it."""
    authority, directory = new_authority(), Path(tempfile.mkdtemp(prefix="pylis-bench-"))
    async with application(program.protocol) as app:
        plans = {"shop/with": _plan(app, program), "shop/without": _plan(app, program)}
        source = Source(dict.fromkeys(plans, OWN))
        source.snapshots = {name: compile_plan(plan) for name, plan in plans.items()}
        source.snapshots["shop/without"] = _without_authorization(source.snapshots["shop/without"])
        who = identity(authority, OWN)
        caller = identity(authority, CALLER).ssl_context(directory)
        ledger = Ledger()
        async with (
            xds_server(authority, source, ledger) as server,
            envoy(directory, "shop/with", who, server.port),
            envoy(directory, "shop/without", who, server.port),
        ):
            await until(lambda: [s.state for s in ledger.status()].count("synced") == 2, 30)
            load = _requests if program.protocol is Protocol.HTTP else _connections

            async def cpu(name: str) -> float:
                pid = _pid(directory / f"{name.replace('/', '-')}.json")
                return await _cpu(pid, lambda: load(plans[name].inbound[0].listen.port, caller))

            return await _paired(cpu)


async def added_round_trips() -> list[float]:
    """Milliseconds that two sidecars add to a small TCP round trip, round by round; medians of each."""
    authority, directory = new_authority(), Path(tempfile.mkdtemp(prefix="pylis-bench-"))
    async with application(Protocol.TCP) as app:
        listen, local = (SocketAddress("127.0.0.1", port) for port in free_ports(2))
        inbound = InboundPort(
            "tcp", 8080, AppProtocol.TCP, listen, app, MtlsMode.STRICT, principals(10, Protocol.TCP)
        )
        target = Destination("orders.shop", 8080, AppProtocol.TCP, (Endpoint(listen),), (OWN,))
        shared = {
            "trust_domains": ("example.org",),
            "path_normalization": PathNormalization.BASE,
            "http_proxy": None,
        }
        plans = {
            "shop/orders": ProxyPlan("shop/orders", inbound=(inbound,), destinations=(), upstreams=(), access_log=AccessLog.OFF, **shared),
            "shop/frontend": ProxyPlan(
                "shop/frontend", inbound=(), destinations=(target,),
                upstreams=(Upstream("o", local, "orders.shop", 8080),), access_log=AccessLog.OFF, **shared,
            ),
        }  # fmt: skip
        source = Source({"shop/orders": OWN, "shop/frontend": CALLER})
        source.snapshots = {name: compile_plan(plan) for name, plan in plans.items()}
        ledger = Ledger()
        async with (
            xds_server(authority, source, ledger) as server,
            envoy(directory, "shop/orders", identity(authority, OWN), server.port),
            envoy(directory, "shop/frontend", identity(authority, CALLER), server.port),
        ):
            await until(lambda: [s.state for s in ledger.status()].count("synced") == 2, 30)
            async with asyncio.timeout(20):
                while not await _echoes(local):  # noqa: ASYNC110 - Envoy's workers have no event
                    await asyncio.sleep(0.05)
            return [await _round_trip(local) - await _round_trip(app) for _ in range(ROUNDS)]


async def _echoes(where: SocketAddress) -> bool:
    with suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"x")
        answer = await reader.read(1)
        writer.close()
        return answer == b"x"
    return False


async def _round_trip(where: SocketAddress) -> float:
    reader, writer = await asyncio.open_connection(where.host, where.port)
    taken: list[float] = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        writer.write(b"x")
        await reader.readexactly(1)
        taken.append((time.perf_counter() - began) * 1000)
    writer.close()
    return sorted(taken)[len(taken) // 2]


async def _paired(cpu: Callable[[str], Awaitable[float]]) -> list[float]:
    await cpu("shop/with")
    await cpu("shop/without")
    return [await cpu("shop/with") / await cpu("shop/without") for _ in range(ROUNDS)]


@asynccontextmanager
async def application(protocol: Protocol) -> AsyncIterator[SocketAddress]:
    """Answers every request with the same few bytes, or echoes."""
    handler = _answer if protocol is Protocol.HTTP else _echo
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        yield SocketAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
    writer.close()


def _plan(app: SocketAddress, program: DecisionProgram) -> ProxyPlan:
    speaks = AppProtocol.HTTP if program.protocol is Protocol.HTTP else AppProtocol.TCP
    listen = SocketAddress("127.0.0.1", free_port())
    inbound = InboundPort("port", 8080, speaks, listen, app, MtlsMode.STRICT, program)
    return ProxyPlan(
        "shop/x", ("example.org",), PathNormalization.MERGE_SLASHES, (inbound,), None, (), (), AccessLog.OFF
    )


def _without_authorization(snapshot: Snapshot) -> Snapshot:
    """The same listener, less the RBAC filters (who may, who is cut off) and what they refer to."""
    kept = [
        r for t, found in snapshot.by_type.items() if t not in (EXTENSION, LISTENER) for r in found.values()
    ]
    left_out = (names.authorization("port"), names.CUT)
    for resource in snapshot.resources(LISTENER).values():
        listener: Any = schema.decode("envoy.config.listener.v3.Listener", resource.body)
        for chain in listener.filter_chains:
            _leave_out(chain.filters, left_out)
            for one in chain.filters:
                if one.typed_config.type_url.endswith(HCM):
                    manager: Any = schema.decode(HCM, one.typed_config.value)
                    _leave_out(manager.http_filters, left_out)
                    one.typed_config.CopyFrom(schema.pack(manager))
        kept.append(Resource.of(resource.name, listener))
    return Snapshot.of(kept)


def _leave_out(filters: Any, left_out: Collection[str]) -> None:
    wanted = [f for f in filters if f.name not in left_out]
    del filters[:]
    filters.extend(wanted)


@dataclass(frozen=True)
class _Work:
    """How much was done."""

    units: int


async def _cpu(pid: int, work: Callable[[], Awaitable[_Work]]) -> float:
    """Seconds of Envoy's CPU for each unit."""
    before = _cpu_seconds(pid)
    done = await work()
    return (_cpu_seconds(pid) - before) / done.units


async def _requests(port: int, context: ssl.SSLContext) -> _Work:
    """On eight connections, in flight together."""
    connections = [await asyncio.open_connection("127.0.0.1", port, ssl=context) for _ in range(8)]
    await asyncio.gather(*(_load(r, w, REQUESTS // len(connections)) for r, w in connections))
    for _, writer in connections:
        writer.close()
    return _Work(REQUESTS)


async def _load(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    for _ in range(count):
        writer.write(b"GET /orders HTTP/1.1\r\nhost: orders.shop:8080\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        await reader.readexactly(2)


async def _connections(port: int, context: ssl.SSLContext) -> _Work:
    """New ones, each with a handshake and one byte there and back."""
    for _ in range(CONNECTIONS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"x")
        if await reader.read(1) != b"x":
            raise RuntimeError("the connection was refused")
        writer.close()
    return _Work(CONNECTIONS)


def _pid(config: Path) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(config).encode() in (entry / "cmdline").read_bytes():
                    return int(entry.name)
            except OSError:
                continue
    raise RuntimeError(f"no Envoy runs {config}")


def _cpu_seconds(pid: int) -> float:
    """To the nanosecond of the scheduler, not to its tick."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    if total:
        return total / 1e9
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
