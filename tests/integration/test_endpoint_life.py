"""Endpoints live as their agents say: there when ready, gone when not, gone when the agent is lost, back with it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from agent.node_identity import NodeIdentity
from ca.node_protocol import Readiness
from controlplane.config import Config
from policies.workload import MeshSettings
from tests.integration.test_agents import Plane, serving

NETWORKING = "networking.istio.io/v1"
GRACE = 1.0


def plane(directory: Path) -> AbstractAsyncContextManager[Plane]:
    """A server that can be started again on what it wrote."""
    config = Config(
        directory, f"sqlite:///{directory}/pylis.db", "127.0.0.1:0", "127.0.0.1:0", MeshSettings("example.org"),
        agent_grace_seconds=GRACE,
    )  # fmt: skip
    return serving(config)


async def put(
    plane: Plane, plural: str, kind: str, name: str, spec: dict[str, Any], **annotations: str
) -> None:
    metadata = {"name": name, "namespace": "default", "annotations": annotations}
    body = {"apiVersion": NETWORKING, "kind": kind, "metadata": metadata, "spec": spec}
    await plane.ask("POST", f"/apis/{NETWORKING}/namespaces/default/{plural}", body)


async def an_orders_service(plane: Plane) -> None:
    """`web` calls `orders`; of its three replicas agent one watches the first, two the second, nobody the third."""
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    spec = {"hosts": ["orders.shop"], "ports": ports, "workloadSelector": {"labels": {"app": "orders"}}}
    await put(plane, "serviceentries", "ServiceEntry", "orders", spec)
    layout = {"pylis.io/sidecar": '{"inbound": {}, "httpProxy": "127.0.0.1:9"}'}
    web = {"address": "10.0.0.9", "serviceAccount": "web", "labels": {"app": "web"}}
    await put(plane, "workloadentries", "WorkloadEntry", "web", web, **layout)
    for n, agent in enumerate(("one", "two", "")):
        watched = {"pylis.io/watched-by": agent} if agent else {}
        entry = {"address": f"10.0.0.{n + 1}", "serviceAccount": "orders", "labels": {"app": "orders"}}
        await put(plane, "workloadentries", "WorkloadEntry", f"orders-{n + 1}", entry, **watched)


async def endpoints(plane: Plane) -> set[int]:
    """Which of the replicas web's sidecar is told of."""
    told = await plane.ask("GET", "/pylis/v1/proxyconfigs?name=default/web")
    (assignment,) = (r["config"] for r in told["resources"] if r["type"] == "ClusterLoadAssignment")
    found = [one for group in assignment.get("endpoints", []) for one in group["lb_endpoints"]]
    return {int(one["endpoint"]["address"]["socket_address"]["address"].rpartition(".")[2]) for one in found}


async def until(plane: Plane, wanted: set[int]) -> None:
    async with asyncio.timeout(20):
        while (found := await endpoints(plane)) != wanted:  # noqa: ASYNC110 - the API has no event for it
            await asyncio.sleep(0.02)
    assert found == wanted


async def test_endpoints_come_and_go_with_readiness_and_agents(tmp_path: Path) -> None:
    async with plane(tmp_path) as server:
        await an_orders_service(server)
        one, two = await server.joined("one"), await server.joined("two")
        assert await endpoints(server) == {3}  # nobody has spoken for the others
        first, second = await server.stream(one), await server.stream(two)
        await first.say(Readiness((("default/orders-1", ""),)))
        await until(server, {1, 3})
        # what another agent watches is not this one's to speak of
        await second.say(
            Readiness(
                (
                    ("default/orders-1", "stolen"),
                    ("default/orders-2", "answers 503"),
                    ("default/orders-3", "stolen"),
                )
            )
        )
        await second.say(
            Readiness(
                (("default/orders-1", "stolen"), ("default/orders-2", ""), ("default/orders-3", "stolen"))
            )
        )
        await until(server, {1, 2, 3})
        await first.say(Readiness((("default/orders-1", "its application does not run"),)))
        await until(server, {2, 3})
        await first.say(Readiness((("default/orders-1", ""),)))
        await until(server, {1, 2, 3})
    await restarted(tmp_path, one, two)


async def restarted(directory: Path, one: NodeIdentity, two: NodeIdentity) -> None:
    """Nobody is removed by it; who does not come back is, after a while; and comes back when it does."""
    async with plane(directory) as server:
        assert await endpoints(server) == {1, 2, 3}
        first = await server.stream(one)
        await first.say(Readiness((("default/orders-1", ""),)))
        await until(server, {1, 3})
        second = await server.stream(two)
        await second.say(Readiness((("default/orders-2", ""),)))
        await until(server, {1, 2, 3})
        second.call.cancel()
        await until(server, {1, 3})
