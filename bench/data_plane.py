"""R1: what authorization costs Envoy. CPU per request over one mTLS connection, with 1,000 and 10,000 allowed
principals, against the same listener without its authorization filter; both in turn, in one run.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.one_envoy import Source, envoy, free_port, identity, new_authority, until, xds_server
from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact
from policies.program import Clause, DecisionProgram, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds import names, schema
from xds.compile import compile_plan
from xds.ledger import Ledger
from xds.plan import AccessLog, AppProtocol, InboundPort, ProxyPlan, SocketAddress
from xds.snapshot import EXTENSION, LISTENER, Resource, Snapshot

REQUESTS = 4000
ROUNDS = 5
CALLER = "spiffe://example.org/ns/shop/sa/frontend"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


async def cost_ratios(principals: int) -> list[float]:
    """Pair by pair: CPU with authorization over CPU without it."""
    authority, directory = new_authority(), Path(tempfile.mkdtemp(prefix="pylis-bench-"))
    async with application() as app:
        with_rules, without = _plan(app, principals), _plan(app, 1)
        source = Source()
        source.snapshots = {
            "shop/with": compile_plan(with_rules),
            "shop/without": _without_authorization(compile_plan(without)),
        }
        source.identities = dict.fromkeys(source.snapshots, "spiffe://example.org/ns/shop/sa/orders")
        who = identity(authority, source.identities["shop/with"])
        caller = identity(authority, CALLER).ssl_context(directory)
        ledger = Ledger()
        async with (
            xds_server(authority, source, ledger) as server,
            envoy(directory, "shop/with", who, server.port),
            envoy(directory, "shop/without", who, server.port),
        ):
            await until(lambda: [s.state for s in ledger.status()].count("synced") == 2, 20)
            pids = {name: _pid(directory / f"{name.replace('/', '-')}.json") for name in source.snapshots}
            ports = {
                "shop/with": with_rules.inbound[0].listen.port,
                "shop/without": without.inbound[0].listen.port,
            }

            async def cpu(name: str) -> float:
                return await _cpu_per_request(pids[name], ports[name], caller)

            return await _paired(cpu)


async def _paired(cpu: Callable[[str], Awaitable[float]]) -> list[float]:
    await cpu("shop/with")
    await cpu("shop/without")
    return [await cpu("shop/with") / await cpu("shop/without") for _ in range(ROUNDS)]


class application:
    """A server that answers every request with the same few bytes."""

    async def __aenter__(self) -> SocketAddress:
        self._server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        return SocketAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _plan(app: SocketAddress, principals: int) -> ProxyPlan:
    values = tuple(Exact(f"example.org/ns/shop/sa/other{n}") for n in range(principals - 1))
    values += (Exact(CALLER.removeprefix("spiffe://")),)
    clause = Clause("shop/orders[0]", (Condition(Key(Attribute.PRINCIPAL), values),))
    program = DecisionProgram(Protocol.HTTP, 8080, (), (clause,), allow_applies=True)
    listen = SocketAddress("127.0.0.1", free_port())
    inbound = InboundPort("http", 8080, AppProtocol.HTTP, listen, app, MtlsMode.STRICT, program)
    return ProxyPlan(
        "shop/x", ("example.org",), PathNormalization.MERGE_SLASHES, (inbound,), None, (), (), AccessLog.OFF
    )


def _without_authorization(snapshot: Snapshot) -> Snapshot:
    """The same listener, less the RBAC filter and what it refers to."""
    kept = [
        r for t, found in snapshot.by_type.items() if t not in (EXTENSION, LISTENER) for r in found.values()
    ]
    for resource in snapshot.resources(LISTENER).values():
        listener: Any = schema.decode("envoy.config.listener.v3.Listener", resource.body)
        for chain in listener.filter_chains:
            for one in chain.filters:
                if one.typed_config.type_url.endswith(HCM):
                    manager: Any = schema.decode(HCM, one.typed_config.value)
                    wanted = [f for f in manager.http_filters if f.name != names.authorization("http")]
                    del manager.http_filters[:]
                    manager.http_filters.extend(wanted)
                    one.typed_config.CopyFrom(schema.pack(manager))
        kept.append(Resource.of(resource.name, listener))
    return Snapshot.of(kept)


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
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _cpu_per_request(pid: int, port: int, context: ssl.SSLContext) -> float:
    """Seconds of Envoy's CPU for each of REQUESTS, on eight connections, in flight together."""
    connections = [await asyncio.open_connection("127.0.0.1", port, ssl=context) for _ in range(8)]
    before = _cpu_seconds(pid)
    await asyncio.gather(*(_load(r, w, REQUESTS // len(connections)) for r, w in connections))
    used = _cpu_seconds(pid) - before
    for _, writer in connections:
        writer.close()
    return used / REQUESTS


async def _load(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    for _ in range(count):
        writer.write(b"GET /orders HTTP/1.1\r\nhost: orders.shop:8080\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        await reader.readexactly(2)


if __name__ == "__main__":
    print(statistics.median(asyncio.run(cost_ratios(1000))))
