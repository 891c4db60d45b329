"""Clusters and endpoints: the way to the workload's own application and to the services it may call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from google.protobuf.message import Message

from xds import names
from xds.compile import balancing, tls
from xds.plan import (
    Address,
    AppProtocol,
    Destination,
    Endpoint,
    InboundPort,
    Locality,
    OriginalDestination,
    PipeAddress,
    SocketAddress,
)
from xds.schema import new, pack
from xds.traffic import TrafficPolicy

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def address(where: Address) -> Message:
    match where:
        case SocketAddress(host, port):
            return new("envoy.config.core.v3.Address", socket_address={"address": host, "port_value": port})
        case PipeAddress(path):
            return new("envoy.config.core.v3.Address", pipe={"path": path})
        case _:
            assert_never(where)


def app(inbound: InboundPort) -> Message:
    """From the sidecar to its own application, in the clear, on this machine only."""
    name = names.app_cluster(inbound.name)
    if isinstance(inbound.app, OriginalDestination):
        return _where_it_was_going(name, **_http_options(inbound.protocol))
    return new(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="STATIC",
        connect_timeout={"seconds": 5},
        load_assignment=new(
            "envoy.config.endpoint.v3.ClusterLoadAssignment",
            cluster_name=name,
            endpoints=[_group(0, Locality(), [inbound.app])],
        ),
        **_http_options(inbound.protocol),
    )


def passthrough() -> Message:
    """To wherever a connection was meant for, as it is."""
    return _where_it_was_going(names.PASSTHROUGH)


def _where_it_was_going(name: str, **options: object) -> Message:
    return new(
        "envoy.config.cluster.v3.Cluster",
        name=name,
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        connect_timeout={"seconds": 5},
        **options,
    )


def destination(target: Destination) -> Message:
    """One port of a service; its endpoints come by EDS so that their coming and going rebuilds nothing."""
    return new(
        "envoy.config.cluster.v3.Cluster",
        name=names.destination(target.host, target.port),
        type="EDS",
        eds_cluster_config={"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        **balancing.cluster(target.traffic),
        **_http_options(target.protocol, target.traffic),
        **_transport(target),
    )


def endpoints(target: Destination) -> Message:
    return load_assignment(names.destination(target.host, target.port), target.endpoints)


def alpn(protocol: AppProtocol) -> tuple[str, ...]:
    """What a client offers for a port of this protocol; raw TCP offers nothing."""
    if not protocol.is_http:
        return ()
    return ("h2",) if protocol.is_http2 else ("http/1.1",)


def _transport(target: Destination) -> dict[str, Message]:
    if not target.mtls:
        return {}
    name = names.server_name(target.host, target.port)
    return {"transport_socket": tls.upstream(target.identities, name, alpn(target.protocol))}


def _http_options(
    protocol: AppProtocol, traffic: TrafficPolicy | None = None
) -> dict[str, dict[str, Message]]:
    if not protocol.is_http:
        return {}
    version = "http2_protocol_options" if protocol.is_http2 else "http_protocol_options"
    bounds = balancing.streams(traffic) if protocol.is_http2 else {}
    options = new(HTTP_OPTIONS, explicit_http_config={version: bounds}, **balancing.http_times(traffic))
    return {"typed_extension_protocol_options": {HTTP_OPTIONS: pack(options)}}


def load_assignment(cluster: str, endpoints: Iterable[Endpoint]) -> Message:
    """By priority and locality; a locality weighs as much as it has endpoints."""
    groups: dict[tuple[int, Locality], list[Address]] = {}
    for one in endpoints:
        groups.setdefault((one.priority, one.locality), []).append(one.address)
    return new(
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        cluster_name=cluster,
        endpoints=[_group(*key, groups[key]) for key in sorted(groups)],
    )


def _group(priority: int, locality: Locality, addresses: list[Address]) -> dict[str, object]:
    # gRPC drops a locality without a weight
    return {
        "locality": {"region": locality.region, "zone": locality.zone, "sub_zone": locality.subzone},
        "priority": priority,
        "load_balancing_weight": {"value": len(addresses)},
        "lb_endpoints": [{"endpoint": {"address": address(one)}} for one in addresses],
    }
