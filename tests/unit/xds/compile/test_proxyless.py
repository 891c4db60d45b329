from __future__ import annotations

from dataclasses import replace
from typing import Any

from policies.program import DecisionProgram, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds import schema
from xds.compile import Compiler
from xds.plan import AppProtocol, Destination, Endpoint, InboundPort, ProxyPlan, SocketAddress
from xds.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from xds.traffic import Limits, Spread, TrafficPolicy

HERE = SocketAddress("10.0.0.1", 9000)


def a_plan(protocol: AppProtocol = AppProtocol.GRPC, *, mtls: MtlsMode = MtlsMode.PERMISSIVE) -> ProxyPlan:
    port = InboundPort("grpc", 8080, protocol, HERE, HERE, mtls, DecisionProgram(Protocol.HTTP, 8080))
    target = Destination(
        "db.shop", 8080, protocol, (Endpoint(HERE),), ("spiffe://example.org/ns/shop/sa/db",)
    )
    return ProxyPlan(
        "shop/a", ("example.org",), PathNormalization.BASE, (port,), None, (target,), (), proxyless=True
    )


def test_a_server_listens_where_its_own_bootstrap_asks_and_takes_no_plaintext() -> None:
    snapshot = Compiler().snapshot(a_plan())
    resource = snapshot.resources(LISTENER)["grpc/server?addr=10.0.0.1:9000"]
    listener: Any = schema.decode("envoy.config.listener.v3.Listener", resource.body)
    (chain,) = listener.filter_chains
    assert chain.transport_socket.name  # PERMISSIVE cannot be had: it is STRICT
    assert (listener.address.socket_address.address, listener.address.socket_address.port_value) == (
        "10.0.0.1",
        9000,
    )


def test_a_client_finds_a_service_under_its_own_name() -> None:
    snapshot = Compiler().snapshot(a_plan())
    assert "db.shop:8080" in snapshot.resources(LISTENER)
    for type_url in (ROUTES, CLUSTER, ENDPOINTS):
        assert list(snapshot.resources(type_url)) == ["db.shop:8080"]


def test_nothing_in_it_is_a_matcher() -> None:
    snapshot = Compiler().snapshot(a_plan())
    bodies = b"".join(r.body for names in snapshot.by_type.values() for r in names.values())
    assert b"xds.type.matcher" not in bodies and b"rbac" in bodies.lower()


def test_raw_tcp_is_not_for_grpc() -> None:
    assert Compiler().snapshot(a_plan(AppProtocol.TCP)).by_type == {}


def test_what_grpc_does_not_follow_of_a_destination_rule_is_said() -> None:
    plan = a_plan()
    followed = TrafficPolicy(limits=Limits(requests=7))
    for traffic, notes in ((followed, 0), (TrafficPolicy(Spread.RANDOM, limits=Limits(requests=7)), 1)):
        snapshot = Compiler().snapshot(
            replace(plan, destinations=(replace(plan.destinations[0], traffic=traffic),))
        )
        cluster: Any = schema.decode(
            "envoy.config.cluster.v3.Cluster", snapshot.resources(CLUSTER)["db.shop:8080"].body
        )
        (threshold,) = cluster.circuit_breakers.thresholds
        assert threshold.max_requests.value == 7
        assert len([note for note in snapshot.notes if "DestinationRule" in note]) == notes
