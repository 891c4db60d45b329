"""What a real Envoy does by a DestinationRule and by locality: limits, outliers, the near before the far."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.one_envoy import Source, envoy, free_port, identity, new_authority, until, xds_server
from controlplane.mesh.traffic import as_seen
from controlplane.resources import destination_rule
from policies.document import Document
from policies.workload import PathNormalization
from xds.compile import compile_plan
from xds.ledger import Ledger, State
from xds.plan import AppProtocol, Destination, Endpoint, Locality, ProxyPlan, SocketAddress

pytestmark = pytest.mark.envoy

NODE, WEB, HOST = "shop/web", "spiffe://example.org/ns/shop/sa/web", "orders.shop"
NEAR, FAR = Locality("eu", "a"), Locality("us", "a")


class App:
    """Answers each request with a status and its name, once `go` is set; status 0: hangs up on it."""

    def __init__(self, name: str, status: int = 200) -> None:
        self.name, self.status, self.asked = name, status, 0
        self.go = asyncio.Event()
        self.go.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> SocketAddress:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return SocketAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                await self.go.wait()
                if not self.status:
                    break
                body = self.name.encode()
                writer.write(
                    b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%b" % (self.status, len(body), body)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


@dataclass
class Caller:
    """One Envoy whose workload calls one service by its HTTP proxy."""

    port: int
    log: Path
    source: Source
    ledger: Ledger
    server: Any

    async def told(self, rule: dict[str, Any], *endpoints: Endpoint) -> None:
        """Holds a service with these endpoints, as seen from the near locality by a rule with that trafficPolicy."""
        body: Any = {
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": "orders", "namespace": "shop"}, "spec": {"host": HOST, "trafficPolicy": rule},
        }  # fmt: skip
        parsed, problems = destination_rule.parse(Document(body))
        assert parsed is not None, problems
        bare = Destination(HOST, 80, AppProtocol.HTTP, endpoints, (), mtls=False)
        where = SocketAddress("127.0.0.1", self.port)
        plan = ProxyPlan(
            NODE, ("example.org",), PathNormalization.BASE, (), where, (as_seen(bare, parsed, NEAR),), ()
        )
        self.source.snapshots[NODE] = compile_plan(plan)
        self.source.revision += 1
        self.server.publish([NODE])
        await until(lambda: self._is_synced())

    def _is_synced(self) -> bool:
        return any(
            s.state is State.SYNCED and s.synced_revision == self.source.revision
            for s in self.ledger.status()
        )

    async def get(self) -> tuple[int, str]:
        async with asyncio.timeout(10):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                    break
                except ConnectionRefusedError:  # held, and not listening yet
                    await asyncio.sleep(0.01)
            writer.write(f"GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n".encode())
            head, _, text = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            return int(head.split()[1]), text.decode()

    def flags(self) -> list[str]:
        lines = self.log.read_text().splitlines()
        return [json.loads(line).get("flags", "") for line in lines if line.startswith("{")]


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    authority, ledger = new_authority(), Ledger()
    source = Source({NODE: WEB})
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(xds_server(authority, source, ledger))
        who = identity(authority, WEB)
        log = await stack.enter_async_context(envoy(tmp_path, NODE, who, server.port))
        yield Caller(free_port(), log, source, ledger, server)


async def test_a_limit_that_is_hit_answers_503_with_the_overflow_flag(caller: Caller) -> None:
    app = App("slow")
    app.go.clear()
    pool = {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}
    await caller.told({"connectionPool": pool}, Endpoint(await app.start()))
    running = asyncio.ensure_future(caller.get())
    await until(lambda: app.asked == 1)
    # one waits for the connection, whichever comes first; there is no room for the other
    others = {asyncio.ensure_future(caller.get()) for _ in range(2)}
    refused, waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result()[0] for task in refused] == [503]
    app.go.set()
    assert await running == (200, "slow")
    assert [await task for task in waiting] == [(200, "slow")]
    await until(lambda: "UO" in caller.flags())
    await app.stop()


async def test_an_endpoint_that_fails_is_left_out(caller: Caller) -> None:
    good, bad = App("good"), App("bad", 503)
    endpoints = [Endpoint(await app.start()) for app in (good, bad)]
    detection = {"consecutive5xxErrors": 1, "baseEjectionTime": "60s", "maxEjectionPercent": 100}
    await caller.told({"outlierDetection": detection, "loadBalancer": {"simple": "ROUND_ROBIN"}}, *endpoints)
    answers = [await caller.get() for _ in range(20)]
    assert answers.count((503, "bad")) == bad.asked == 1
    assert answers.count((200, "good")) == 19
    for app in (good, bad):
        await app.stop()


async def test_a_request_that_may_have_reached_an_application_is_not_sent_again(caller: Caller) -> None:
    apps = [App("one", 0), App("two", 0)]
    await caller.told({}, *[Endpoint(await app.start()) for app in apps])
    assert (await caller.get())[0] == 503
    assert sum(app.asked for app in apps) == 1
    for app in apps:
        await app.stop()


async def test_the_near_are_called_and_when_they_are_gone_the_far(caller: Caller) -> None:
    near, far = App("near"), App("far")
    here, there = Endpoint(await near.start(), NEAR), Endpoint(await far.start(), FAR)
    await caller.told({}, here, there)
    assert {await caller.get() for _ in range(10)} == {(200, "near")}
    await (
        near.stop()
    )  # still registered: who finds it gone goes on to the far, each time until it is left out
    assert {await caller.get() for _ in range(12)} == {(200, "far")}
    near = App("near")
    here = Endpoint(await near.start(), NEAR)
    await caller.told({}, there)
    assert {await caller.get() for _ in range(5)} == {(200, "far")}
    await caller.told({"loadBalancer": {"localityLbSetting": {"enabled": False}}}, here, there)
    assert {await caller.get() for _ in range(20)} == {(200, "near"), (200, "far")}
    await near.stop()  # still registered: who finds it gone goes to the other
    assert {await caller.get() for _ in range(20)} == {(200, "far")}
    await far.stop()
