"""D1: two Envoys' exec → the first request through both by mTLS, configured by ADS, SDS and ECDS, against the same
configuration written into the bootstrap. In turn, in one run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.data_plane import application
from bench.one_envoy import (
    ENVOY,
    Identity,
    SecretServer,
    Source,
    bootstrap,
    free_port,
    identity,
    new_authority,
    xds_server,
)  # fmt: skip
from bench.static_config import static_resources
from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact
from policies.program import Clause, DecisionProgram, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds.compile import compile_plan
from xds.ledger import Ledger
from xds.plan import AccessLog, AppProtocol, Destination, Endpoint, InboundPort, ProxyPlan, SocketAddress

ROUNDS: Final = 10
CALLER, CALLEE = "shop/frontend", "shop/orders"
IDENTITIES: Final = {
    CALLER: "spiffe://example.org/ns/shop/sa/frontend",
    CALLEE: "spiffe://example.org/ns/shop/sa/orders",
}


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The two nodes' configuration, both ways, and the port the first request goes to."""

    dynamic: dict[str, Path]
    static: dict[str, Path]
    proxy: SocketAddress


async def start_ratios() -> tuple[list[float], float, float]:
    """Pair by pair: seconds by xDS over seconds with the static configuration; and the medians' milliseconds."""
    authority, directory = new_authority(), Path(tempfile.mkdtemp(prefix="pylis-bench-"))
    who = {node: identity(authority, spiffe_id) for node, spiffe_id in IDENTITIES.items()}
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(application(Protocol.HTTP))
        plans = _plans(app)
        source = Source(dict(IDENTITIES), {node: compile_plan(plan) for node, plan in plans.items()})
        server = await stack.enter_async_context(xds_server(authority, source, Ledger()))
        short = Path(tempfile.mkdtemp(prefix="pb"))
        for name, one in who.items():
            secrets = SecretServer(short / f"{name.partition('/')[2]}.sds", one)
            await secrets.start()
            stack.push_async_callback(secrets.stop)
        sidecars = _write(directory, short, source, who, server.port, plans[CALLER].http_proxy)
        await _until_first_answer(sidecars.dynamic, sidecars.proxy)
        await _until_first_answer(sidecars.static, sidecars.proxy)
        pairs = [
            (
                await _until_first_answer(sidecars.dynamic, sidecars.proxy),
                await _until_first_answer(sidecars.static, sidecars.proxy),
            )
            for _ in range(ROUNDS)
        ]
    middle = [sorted(times)[ROUNDS // 2] * 1000 for times in zip(*pairs, strict=True)]
    return [by_xds / static for by_xds, static in pairs], middle[0], middle[1]


def _plans(app: SocketAddress) -> dict[str, ProxyPlan]:
    principal = Condition(Key(Attribute.PRINCIPAL), (Exact(IDENTITIES[CALLER].removeprefix("spiffe://")),))
    program = DecisionProgram(
        Protocol.HTTP, 8080, (), (Clause("shop/orders[0]", (principal,)),), allow_applies=True
    )
    listen = SocketAddress("127.0.0.1", free_port())
    inbound = InboundPort("http", 8080, AppProtocol.HTTP, listen, app, MtlsMode.STRICT, program)
    orders = Destination("orders.shop", 8080, AppProtocol.HTTP, (Endpoint(listen),), (IDENTITIES[CALLEE],))
    proxy = SocketAddress("127.0.0.1", free_port())
    domains, normal, log = ("example.org",), PathNormalization.MERGE_SLASHES, AccessLog.OFF
    return {
        CALLER: ProxyPlan(CALLER, domains, normal, (), proxy, (orders,), (), log),
        CALLEE: ProxyPlan(CALLEE, domains, normal, (inbound,), None, (), (), log),
    }


def _write(
    directory: Path, short: Path, source: Source, who: dict[str, Identity], xds_port: int,
    proxy: SocketAddress | None,
) -> Sidecars:  # fmt: skip
    if proxy is None:
        raise RuntimeError("the caller has no outbound port")
    dynamic, static = dict[str, Path](), dict[str, Path]()
    for node, snapshot in source.snapshots.items():
        stem = node.partition("/")[2]
        by_xds = bootstrap(node, xds_port, short / f"{stem}.sds", short / f"{stem}.admin", "example.org")
        written = {
            "node": by_xds["node"],
            "admin": by_xds["admin"],
            "static_resources": static_resources(snapshot, who[node]),
        }
        for name, config, into in (("xds", by_xds, dynamic), ("static", written, static)):
            into[node] = directory / f"{stem}.{name}.json"
            into[node].write_text(json.dumps(config))
    return Sidecars(dynamic, static, proxy)


async def _until_first_answer(configs: dict[str, Path], proxy: SocketAddress) -> float:
    async with AsyncExitStack() as stack:
        began = time.perf_counter()
        for config in configs.values():
            await stack.enter_async_context(_envoy(config))
        async with asyncio.timeout(20):
            while not await _is_answered(proxy):  # noqa: ASYNC110 - the answer is another process's
                await asyncio.sleep(0.001)
        return time.perf_counter() - began


async def _is_answered(proxy: SocketAddress) -> bool:
    try:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    except OSError:
        return False
    try:
        writer.write(b"GET http://orders.shop:8080/ HTTP/1.1\r\nhost: orders.shop:8080\r\n\r\n")
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def _envoy(config: Path) -> Any:
    with config.with_suffix(".err").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            str(ENVOY), "-c", str(config), "--disable-hot-restart", "--concurrency", "1", "-l", "warning",
            stdout=stderr, stderr=stderr,
        )  # fmt: skip
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        await process.wait()


if __name__ == "__main__":
    print(asyncio.run(start_ratios()))
