"""One edit as a trace, from the API call to the last proxy's answer: a real server, proxies over mTLS, an OTLP receiver."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from controlplane.load.fleet import Fleet
from controlplane.load.installation import Api
from controlplane.load.mesh import LoadMesh
from tests.integration.running_server import RunningServer

MESH = LoadMesh("cluster.local", 12, replicas=3)
REPLICAS = sorted(MESH.replicas_of(0))
ERROR = 2
SERVER = 2


@dataclass
class Receiver:
    """An OTLP receiver: spans by trace."""

    resources: list[dict[str, str]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    spans: dict[str, list[Any]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        self.headers.append(request.headers.get("x-tenant", ""))
        for group in ExportTraceServiceRequest.FromString(await request.read()).resource_spans:
            self.resources.append({a.key: a.value.string_value for a in group.resource.attributes})
            for span in (span for scope in group.scope_spans for span in scope.spans):
                self.spans.setdefault(span.trace_id.hex(), []).append(span)
        self.news.set()
        return web.Response(content_type="application/x-protobuf")

    async def trace(self, trace_id: str) -> list[Any]:
        async with asyncio.timeout(20):
            while trace_id not in self.spans:
                self.news.clear()
                await self.news.wait()
        return self.spans[trace_id]


@dataclass
class Traced:
    server: RunningServer
    receiver: Receiver
    fleet: Fleet

    async def put(self, resource: dict[str, Any], traceparent: str) -> int:
        return await self.request("PUT", resource, traceparent)

    async def request(self, method: str, resource: dict[str, Any], traceparent: str) -> int:
        """The status."""
        client, metadata = self.server.client(), resource["metadata"]
        path = f"{client.server}/apis/security.istio.io/v1/namespaces/{metadata['namespace']}/authorizationpolicies/{metadata['name']}"
        headers = {"Authorization": f"Bearer {client.token}", "traceparent": traceparent}
        body = resource if method == "PUT" else None
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=client.context)) as session,
            session.request(
                method, path, json=body, headers=headers, server_hostname="server.pylis.internal"
            ) as answer,
        ):
            return answer.status


@pytest.fixture
async def traced(tmp_path: Path) -> AsyncIterator[Traced]:
    receiver, application = Receiver(), web.Application()
    application.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=shop",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    server = RunningServer(tmp_path, environment=environment)
    await asyncio.to_thread(server.start)
    try:
        client = server.client()
        async with Api(client.server, client.token, client.context) as api:
            await api.create(MESH.resources())
            chosen = [node for node in MESH.nodes() if node[0] in REPLICAS]
            fleet = Fleet(server.xds, await api.identities(chosen, 3600))
            await fleet.connect()
            assert await fleet.complete(20)
        yield Traced(server, receiver, fleet)
        fleet.disconnect()
    finally:
        await asyncio.to_thread(server.stop)
        await runner.cleanup()


def a_parent(flags: str = "01") -> tuple[str, str, str]:
    """Trace, span, and the header that names both."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return trace, span, f"00-{trace}-{span}-{flags}"


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def tree(spans: list[Any], parent: bytes) -> dict[str, Any]:
    """Names and what is below them; several of one name are told apart by their proxy."""
    return {
        f"{span.name} {attributes(span).get('pylis.proxy', '')}".strip(): tree(spans, span.span_id)
        for span in spans
        if span.parent_span_id == parent
    }


async def test_an_edit_is_one_tree_from_the_call_to_the_last_answer(traced: Traced) -> None:
    trace, caller, header = a_parent()
    traced.fleet.sidecars[REPLICAS[1]].refuse = True
    assert await traced.put(MESH.policy(0, "/traced/*"), header) == 200
    spans = await traced.receiver.trace(trace)
    route = "PUT /apis/security.istio.io/v1/namespaces/{namespace}/authorizationpolicies/{name}"
    push = {"compile": {}, "acknowledge": {}}
    distribute = {f"push {node}": push for node in REPLICAS}
    assert tree(spans, bytes.fromhex(caller)) == {
        route: {"admit": {}, "commit": {}, "reconcile": {}, "distribute": distribute}
    }
    by_name = {f"{s.name} {attributes(s).get('pylis.proxy', '')}".strip(): s for s in spans}
    root = by_name[route]
    told = attributes(root)
    assert (root.kind, told["http.request.method"], told["http.response.status_code"]) == (SERVER, "PUT", 200)
    assert told["pylis.revision"] > 0 and told["pylis.request_id"]
    counts = attributes(by_name["distribute"])
    assert {name.rpartition(".")[2]: n for name, n in counts.items()} == {
        "told": 3, "refused": 1, "gone": 0, "silent": 0, "shown": 3,
    }  # fmt: skip
    outcomes = {n: attributes(by_name[f"push {n}"])["pylis.proxy.outcome"] for n in REPLICAS}
    assert outcomes == {REPLICAS[0]: "acknowledged", REPLICAS[1]: "refused", REPLICAS[2]: "acknowledged"}
    assert by_name[f"push {REPLICAS[1]}"].status.code == ERROR
    assert by_name[f"push {REPLICAS[0]}"].status.code != ERROR
    steps = [by_name[name] for name in ("admit", "commit", "reconcile", "distribute")]
    assert all(s.start_time_unix_nano <= s.end_time_unix_nano for s in spans)
    assert root.start_time_unix_nano <= steps[0].start_time_unix_nano
    assert steps[0].end_time_unix_nano <= steps[1].start_time_unix_nano + 1000
    assert steps[1].start_time_unix_nano <= steps[3].start_time_unix_nano
    last = max(s.end_time_unix_nano for s in spans if s.name == "push")
    assert abs(steps[3].end_time_unix_nano - last) < 1000, "it lasts as long as the last answer"
    assert traced.receiver.resources[0]["service.name"] == "pylis"
    assert traced.receiver.resources[0]["deployment.environment.name"] == "test"
    assert traced.receiver.headers[0] == "shop"
    await what_is_refused_and_what_only_reads(traced)
    await what_is_not_sampled(traced)


async def what_is_refused_and_what_only_reads(traced: Traced) -> None:
    read, _, read_header = a_parent()
    assert await traced.request("GET", MESH.policy(0), read_header) == 200
    trace, caller, header = a_parent()
    wrong = MESH.policy(0)
    wrong["spec"]["action"] = "PERHAPS"
    assert await traced.put(wrong, header) == 422
    spans = await traced.receiver.trace(trace)
    [(name, below)] = tree(spans, bytes.fromhex(caller)).items()
    assert name.startswith("PUT /apis/") and below == {"admit": {}}
    assert attributes(next(s for s in spans if s.kind == SERVER))["http.response.status_code"] == 422
    assert read not in traced.receiver.spans, "reads change nothing and are not traced"


async def what_is_not_sampled(traced: Traced) -> None:
    """The caller has decided so; an edit after it is, so that what is missing is not only late."""
    unsampled, _, header = a_parent("00")
    await traced.put(MESH.policy(0, "/unsampled/*"), header)
    sampled, _, header = a_parent()
    await traced.request("DELETE", MESH.policy(0), header)
    spans = await traced.receiver.trace(sampled)
    assert any(span.name == "distribute" for span in spans)
    assert unsampled not in traced.receiver.spans


async def test_a_receiver_that_is_away_holds_up_neither_edits_nor_the_end(tmp_path: Path) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    server = RunningServer(tmp_path, environment=environment)
    await asyncio.to_thread(server.start)
    client = server.client()
    async with asyncio.timeout(60), Api(client.server, client.token, client.context) as api:
        for number in range(20):
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{number}"}}
            await api.create([namespace])
    async with asyncio.timeout(30):
        await asyncio.to_thread(server.stop)
