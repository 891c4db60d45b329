"""For a gRPC process without a sidecar: what gRPC's own xDS client and server read. Pure.

    client   Listener, routes, cluster, endpoints, all named `host:port`; mTLS to the service's identities
    server   Listener `grpc/server?addr=ADDRESS`; mTLS; RBAC by `rules`, a DENY filter before an ALLOW filter

gRPC acknowledges RBAC by `matcher` and enforces none of it, so everything here is `rules` (`grpc_rules`). Certificates
are files that the process watches (its bootstrap calls the provider `svid`): gRPC has no SDS.
Source: gRPC A27, A28, A29, A36, A41; what was tried with grpcio 1.85
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from google.protobuf.message import Message

from policies.workload import MtlsMode
from xds import names
from xds.compile import grpc_rules
from xds.compile.clusters import address, endpoints
from xds.plan import Destination, InboundPort, ProxyPlan
from xds.schema import new, pack
from xds.snapshot import Resource, Snapshot
from xds.traffic import Limits, TrafficPolicy

PROVIDER: Final = "svid"  # of the process's bootstrap
_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3"
_TLS: Final = "envoy.extensions.transport_sockets.tls.v3"
_ADS: Final[dict[str, object]] = {"ads": {}, "resource_api_version": "V3"}


def compile_proxyless(plan: ProxyPlan) -> Snapshot:
    """Ports and services that speak no HTTP are not there: gRPC has no use for them."""
    return Snapshot.of(Resource.of(name, message) for name, message in _resources(plan))


def shortfalls(plan: ProxyPlan) -> tuple[str, ...]:
    """What policy says and gRPC cannot enforce, in words for people; calls it is about are refused."""
    found = (
        f"port {port.name}: {text}"
        for port in plan.inbound
        if port.protocol.is_http
        for text in grpc_rules.shortfalls(port.program, plan.trust_domains)
    )
    ignored = (
        f"service {names.destination(one.host, one.port)}: of its DestinationRule, gRPC follows http2MaxRequests only"
        for one in plan.destinations
        if one.protocol.is_http and one.traffic is not None and one.traffic != _followed(one.traffic)
    )
    return (*found, *ignored)


def _followed(traffic: TrafficPolicy) -> TrafficPolicy:
    return TrafficPolicy(limits=Limits(requests=traffic.limits.requests))


def _resources(plan: ProxyPlan) -> Iterator[tuple[str, Message]]:
    for port in plan.inbound:
        if port.protocol.is_http:
            name = names.grpc_server(str(port.listen))
            yield name, _server(name, port, plan.trust_domains)
    for target in plan.destinations:
        if target.protocol.is_http:
            name = names.destination(target.host, target.port)
            for message in (_client(name), _routes(name), _cluster(name, target), endpoints(target)):
                yield name, message


def _server(name: str, port: InboundPort, trust_domains: Sequence[str]) -> Message:
    filters = [
        *(_http(f"authorization-{n}", config) for n, config in enumerate(grpc_rules.filters(port.program, trust_domains))),
        _http("router", new("envoy.extensions.filters.http.router.v3.Router")),
    ]  # fmt: skip
    routes = [{"match": {"prefix": "/"}, "non_forwarding_action": {}}]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    manager = new(
        f"{_HCM}.HttpConnectionManager",
        route_config={"name": name, "virtual_hosts": hosts},
        http_filters=filters,
    )
    chain: dict[str, Any] = {"name": "grpc", "filters": [{"name": "http", "typed_config": pack(manager)}]}
    if port.mtls is not MtlsMode.DISABLE:  # gRPC cannot take both: PERMISSIVE is STRICT here
        context = new(
            f"{_TLS}.DownstreamTlsContext",
            require_client_certificate={"value": True},
            common_tls_context=_common(),
        )
        chain["transport_socket"] = _socket(context)
    return new(
        "envoy.config.listener.v3.Listener", name=name, address=address(port.listen), filter_chains=[chain]
    )


def _client(name: str) -> Message:
    manager = new(
        f"{_HCM}.HttpConnectionManager",
        rds={"route_config_name": name, "config_source": _ADS},
        http_filters=[_http("router", new("envoy.extensions.filters.http.router.v3.Router"))],
    )
    return new("envoy.config.listener.v3.Listener", name=name, api_listener={"api_listener": pack(manager)})


def _routes(name: str) -> Message:
    routes = [{"match": {"prefix": ""}, "route": {"cluster": name}}]
    host = {"name": name, "domains": ["*"], "routes": routes}
    return new("envoy.config.route.v3.RouteConfiguration", name=name, virtual_hosts=[host])


def _cluster(name: str, target: Destination) -> Message:
    transport: dict[str, Message] = {}
    if target.mtls:
        # no identity known: nobody may answer (an empty list would let anybody)
        sans = [{"exact": one} for one in target.identities or ("spiffe://nobody.invalid/none",)]
        common = _common(match_subject_alt_names=sans)
        transport["transport_socket"] = _socket(new(f"{_TLS}.UpstreamTlsContext", common_tls_context=common))
    return new(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="EDS",
        eds_cluster_config={"eds_config": _ADS},
        lb_policy="ROUND_ROBIN",
        **_limits(target.traffic),
        **transport,
    )


def _limits(traffic: TrafficPolicy | None) -> dict[str, object]:
    if traffic is None or not traffic.limits.requests:
        return {}
    return {"circuit_breakers": {"thresholds": [{"max_requests": {"value": traffic.limits.requests}}]}}


def _common(**validation: object) -> dict[str, object]:
    provider = {"instance_name": PROVIDER}
    return {
        "tls_certificate_provider_instance": provider,
        "validation_context": {"ca_certificate_provider_instance": provider, **validation},
    }


def _socket(context: Message) -> Message:
    return new(
        "envoy.config.core.v3.TransportSocket", name="envoy.transport_sockets.tls", typed_config=pack(context)
    )


def _http(name: str, config: Message) -> Message:
    return new(f"{_HCM}.HttpFilter", name=name, typed_config=pack(config))
