"""CUSTOM on a real Envoy with real authorizers, over HTTP and gRPC; one that is dead or unknown denies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest

from bench.guarded import Call, Guarded, application
from bench.one_envoy import free_ports
from policies.authorization_policy import parse
from policies.authorizer import Authorizer, Speaks
from policies.document import Document, Json
from policies.lower import lower
from policies.program import Protocol
from policies.workload import MeshSettings, MtlsMode, PathNormalization
from xds.plan import AccessLog, AppProtocol, Destination, Endpoint, InboundPort, ProxyPlan, SocketAddress

pytestmark = pytest.mark.envoy

HOST = "guard.shop"
CHECK = "/envoy.service.auth.v3.Authorization/Check"


def a_plan(
    authorizer: Authorizer,
    where: SocketAddress,
    app: SocketAddress,
    listen: int,
    protocol: Protocol = Protocol.HTTP,
    rule: Json = None,
) -> ProxyPlan:
    """CUSTOM asks about /ask*; DENY refuses /never; on TCP every connection is asked about."""
    settings = MeshSettings("td", authorizers=(authorizer,))
    specs: list[dict[str, Json]] = [
        {
            "action": "CUSTOM",
            "provider": {"name": "guard"},
            "rules": [rule or {"to": [{"operation": {"paths": ["/ask*"]}}]}],
        },
        {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/ask/never"], "ports": ["80"]}}]}]},
    ]
    policies = [
        parse(Document({"metadata": {"name": f"p{i}", "namespace": "shop"}, "spec": spec}))[0]
        for i, spec in enumerate(specs)
    ]
    program = lower([p for p in policies if p], settings, port=80, protocol=protocol)
    if protocol is Protocol.TCP:
        program = replace(program, deny=())
    is_http = protocol is Protocol.HTTP
    port = InboundPort(
        f"p{listen}", 80, AppProtocol.HTTP if is_http else AppProtocol.TCP,
        SocketAddress("127.0.0.1", listen), app, MtlsMode.PERMISSIVE, program,
    )  # fmt: skip
    speaks = AppProtocol.GRPC if authorizer.speaks is Speaks.GRPC else AppProtocol.HTTP
    reached = Destination(
        HOST, authorizer.port, speaks, (Endpoint(where),), ("spiffe://td/ns/shop/sa/guard",), mtls=False
    )
    return ProxyPlan(
        "shop/guard", ("td",), PathNormalization.BASE, (port,), None, (reached,), (), AccessLog.OFF,
        explain_denials=True,
    )  # fmt: skip


class HttpAuthorizer:
    """Allows what carries `x-pass`; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                seen = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
                self.asked.append((first.split()[1], seen))
                if "x-pass" in seen:
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nx-user: ann\r\nx-other: no\r\ncontent-length: 0\r\n\r\n"
                    )
                else:
                    writer.write(b"HTTP/1.1 401 No\r\nx-why: because\r\ncontent-length: 4\r\n\r\nnope")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def listening(authorizer: HttpAuthorizer) -> AsyncIterator[SocketAddress]:
    server = await asyncio.start_server(authorizer.answer, "127.0.0.1", 0)
    try:
        yield SocketAddress("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


@asynccontextmanager
async def grpc_authorizer(allows: Callable[[bytes], bool]) -> AsyncIterator[SocketAddress]:
    """CheckResponse.status is field 1, its code field 1: 7 is PERMISSION_DENIED, an empty message OK."""

    async def check(request: bytes, _context: Any) -> bytes:
        return b"\x0a\x00" if allows(request) else b"\x0a\x02\x08\x07"

    class Handler(grpc.GenericRpcHandler):
        def service(self, call: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(check) if call.method == CHECK else None

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield SocketAddress("127.0.0.1", port)
    finally:
        await server.stop(0)


GUARD = Authorizer("guard", Speaks.HTTP, HOST, 8000, timeout_seconds=2, include_request_headers=("x-pass",))


async def test_an_http_authorizer_is_asked_about_what_its_rules_match(envoy: Guarded) -> None:
    guard = replace(
        GUARD,
        path_prefix="/check",
        include_additional_headers=(("x-from", "mesh"),),
        headers_to_upstream_on_allow=("x-user",),
        headers_to_downstream_on_deny=("x-why",),
    )
    authorizer, [listen] = HttpAuthorizer(), free_ports(1)
    async with application() as (http, _), listening(authorizer) as where:
        await envoy.offer([a_plan(guard, where, http, listen)])
        await envoy.listening([listen])
        assert (await envoy.call(Call(listen, path="/free"))).status == 200
        assert authorizer.asked == []
        denied = await envoy.call(Call(listen, path="/ask?q"))
        assert (denied.status, denied.body, denied.headers.get("x-why")) == (401, "nope", "because")
        allowed = await envoy.call(Call(listen, path="/ask", headers={"x-pass": "1", "x-user": "forged"}))
        assert allowed.status == 200
        assert '"x-user": "ann"' in allowed.body
        assert "x-other" not in allowed.body
        path, headers = authorizer.asked[-1]
        assert path == "/check/ask"
        assert (headers["x-from"], headers["x-pass"]) == ("mesh", "1")
        # what the authorizer allows may still be denied
        never = await envoy.call(Call(listen, path="/ask/never", headers={"x-pass": "1"}))
        assert (never.status, "[shop/p1[0]]" in never.body) == (403, True)


async def test_a_dead_authorizer_denies_unless_it_may_fail_open(envoy: Guarded) -> None:
    closed, opened, dead = free_ports(3)
    where = SocketAddress("127.0.0.1", dead)
    async with application() as (http, _):
        teapot = replace(GUARD, status_on_error=503)
        lax = replace(GUARD, fail_open=True, port=8001)
        plans = [a_plan(teapot, where, http, closed), a_plan(lax, where, http, opened)]
        await envoy.offer(plans)
        await envoy.listening([closed, opened])
        assert (await envoy.call(Call(closed, path="/ask"))).status == 503
        assert (await envoy.call(Call(closed, path="/free"))).status == 200
        assert (await envoy.call(Call(opened, path="/ask"))).status == 200


async def test_a_grpc_authorizer_decides_on_http_and_on_tcp(envoy: Guarded) -> None:
    guard = replace(GUARD, speaks=Speaks.GRPC, include_request_headers=())
    http_port, tcp_port, shut_port = free_ports(3)
    asked: list[bytes] = []

    def allows(request: bytes) -> bool:
        asked.append(request)
        return b"/ask/yes" in request or (b"127.0.0.1" in request and b"/ask" not in request)

    everything: Json = {"when": [{"key": "source.ip", "values": ["127.0.0.1"]}]}
    async with (
        application() as (http, tcp),
        grpc_authorizer(allows) as where,
        grpc_authorizer(lambda _: False) as no,
    ):
        await envoy.offer(
            [
                a_plan(guard, where, http, http_port),
                a_plan(replace(guard, port=8001), where, tcp, tcp_port, Protocol.TCP, everything),
                a_plan(replace(guard, port=8002), no, tcp, shut_port, Protocol.TCP, everything),
            ]
        )
        await envoy.listening([http_port, tcp_port, shut_port])
        assert (await envoy.call(Call(http_port, path="/ask/yes"))).status == 200
        assert (await envoy.call(Call(http_port, path="/ask/no"))).status == 403
        assert (await envoy.call(Call(tcp_port, tcp=True))).allowed
        assert not (await envoy.call(Call(shut_port, tcp=True))).allowed
    assert len(asked) >= 3


async def test_a_provider_nobody_declared_denies_what_its_rules_match(envoy: Guarded) -> None:
    unknown, unreachable = free_ports(2)
    where = SocketAddress("127.0.0.1", 1)
    async with application() as (http, _):
        plans = [
            a_plan(replace(GUARD, name="other"), where, http, unknown),
            replace(a_plan(GUARD, where, http, unreachable), destinations=()),
        ]
        await envoy.offer(plans)
        await envoy.listening([unknown, unreachable])
        for port in (unknown, unreachable):
            denied = await envoy.call(Call(port, path="/ask"))
            assert (denied.status, "[shop/p0[0]]" in denied.body) == (403, True)
            assert (await envoy.call(Call(port, path="/free"))).status == 200
