"""Interception: two listeners take all TCP of a network namespace, by the address it was meant for.

    inbound    each port as its own listener would serve it; a port that is not declared is closed
    outbound   by the first that fits:
               address:port of a TCP endpoint      → that service, one chain an endpoint: scaling drains nobody
               HTTP's ports in the mesh's networks → by host to a service, 403 for what is none
               HTTP in the mesh's networks         → the same
               the mesh's networks                 → closed: nothing goes there in plain text
               HTTP elsewhere                      → by host to a service; what is none: passthrough, or 403
               elsewhere                           → passthrough, or closed

Sniffing waits for the client to speak, so outbound it is left out on TCP services' ports, and on those where a server
may speak first anywhere: nobody waits there. Anywhere else it waits for SNIFF_SECONDS and goes on: to plain text
where the port takes it, to the handshake where it does not.
Source: envoy.config.listener.v3 FilterChainMatch: destination port, then address, then application protocol
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from google.protobuf.message import Message

from xds import names
from xds.compile import access_log, balancing, filters, listeners
from xds.compile.clusters import address
from xds.compile.surroundings import Surroundings
from xds.plan import Destination, InboundPort, Interception, ProxyPlan, SocketAddress
from xds.schema import new, pack

SNIFF_SECONDS: Final = 0.5
_LISTENER: Final = "envoy.config.listener.v3"
_NOBODY: Final = "closed"
# Always in the listener, so that a service on one of them that comes or goes ends no connection to others: ssh, smtp,
# imap, mysql, postgresql, amqp, redis, kafka, memcached, mongodb
_SILENT: Final = frozenset({22, 25, 143, 3306, 5432, 5672, 6379, 9092, 11211, 27017})


def inbound(
    ports: Sequence[tuple[InboundPort, Surroundings]], taken: Interception, plan: ProxyPlan
) -> Message:
    chains: list[Message] = []
    for port, around in ports:
        only = {"destination_port": {"value": port.port}}
        for chain in listeners.inbound_chains(port, around, plan, only):
            named: Any = chain  # upb's fields have no static types
            named.name = f"{port.name}:{named.name}"
            chains.append(named)
    return new(
        f"{_LISTENER}.Listener",
        name=names.INTERCEPTED_INBOUND,
        traffic_direction="INBOUND",
        listener_filters=[_original_destination(), listeners.tls_inspector()],
        filter_chains=chains,
        access_log=access_log.connections(plan.access_log, direction="inbound", port=None),
        # whatever the ports' modes: a change of what stands beside the chains would end every connection
        continue_on_listener_filters_timeout=True,
        listener_filters_timeout=_seconds(SNIFF_SECONDS),
        **_addresses(taken.inbound),
    )


def outbound(destinations: Sequence[Destination], taken: Interception, plan: ProxyPlan) -> Message:
    """`destinations` with the endpoints this workload can reach."""
    tcp = _tcp_endpoints(destinations)
    http_ports = {port for d in destinations if d.protocol.is_http for port in (d.port, *_ports(d))}
    tcp_ports = {where.port for where in tcp}
    inside = {"prefix_ranges": [_range(network) for network in taken.networks]}
    sniffed = {"application_protocols": ["http/1.0", "http/1.1", "h2c"]}
    by_host, elsewhere = _http(plan, taken), _http(plan, taken, names.ELSEWHERE if taken.passthrough else "")
    chains = [_chain(f"tcp:{where}", _at(where), _tcp(target)) for where, target in tcp.items()]
    # a port that has a chain is looked for in that port's chains only
    for port in sorted(http_ports | tcp_ports):
        here = {"destination_port": {"value": port}}
        name, serve = ("http", [by_host]) if port in http_ports else (_NOBODY, [])
        chains.append(_chain(f"{name}:{port}", {**here, **inside}, *serve))
        chains.append(_chain(f"http-elsewhere:{port}", {**here, **sniffed}, elsewhere))
    chains.append(_chain("http", {**inside, **sniffed}, by_host))
    chains.append(_chain(_NOBODY, inside))
    chains.append(_chain("http-elsewhere", sniffed, elsewhere))
    onward = [filters.tcp_proxy(names.PASSTHROUGH, names.PASSTHROUGH)] if taken.passthrough else []
    silent = sorted((tcp_ports | _SILENT) - http_ports)
    return new(
        f"{_LISTENER}.Listener",
        name=names.INTERCEPTED_OUTBOUND,
        traffic_direction="OUTBOUND",
        listener_filters=[
            _original_destination(),
            _unless(listeners.tls_inspector(), silent),
            _unless(_http_inspector(), silent),
        ],
        filter_chains=chains,
        default_filter_chain={"name": "elsewhere", "filters": onward},
        continue_on_listener_filters_timeout=True,
        listener_filters_timeout=_seconds(SNIFF_SECONDS),
        **_addresses(taken.outbound),
    )


def reachable(target: Destination, taken: Interception) -> Destination:
    """A peer in several networks is called in one that the caller is in, too; elsewhere, wherever it is."""
    networks = [ipaddress.ip_network(network) for network in taken.networks]
    near = tuple(
        e for e in target.endpoints if any(ipaddress.ip_address(e.address.host) in one for one in networks)
    )
    return target if not near or near == target.endpoints else replace(target, endpoints=near)


def _tcp_endpoints(destinations: Iterable[Destination]) -> dict[SocketAddress, Destination]:
    """An address and port belongs to one service: the first that has it."""
    found: dict[SocketAddress, Destination] = {}
    for target in destinations:
        if not target.protocol.is_http:
            for endpoint in target.endpoints:
                found.setdefault(endpoint.address, target)
    return found


def _at(where: SocketAddress) -> dict[str, object]:
    return {"destination_port": {"value": where.port}, "prefix_ranges": [_range(where.host)]}


def _range(network: str) -> dict[str, object]:
    parsed = ipaddress.ip_network(network)
    return {"address_prefix": str(parsed.network_address), "prefix_len": {"value": parsed.prefixlen}}


def _tcp(target: Destination) -> Message:
    name = names.destination(target.host, target.port)
    return filters.tcp_proxy(name, name, target.traffic, attempts=balancing.TCP_ATTEMPTS)


def _ports(target: Destination) -> set[int]:
    return {endpoint.address.port for endpoint in target.endpoints}


def _http(plan: ProxyPlan, taken: Interception, routes: str = "") -> Message:
    routes = routes or names.OUTBOUND_HTTP
    log = access_log.requests(plan.access_log, direction="outbound", port=taken.outbound[0].port)
    return filters.outbound_http(routes, routes, log)


def _chain(name: str, match: Mapping[str, object], *serve: Message) -> Message:
    """Without a filter a connection is closed at once."""
    return new(f"{_LISTENER}.FilterChain", name=name, filter_chain_match=dict(match), filters=list(serve))


def _addresses(where: Sequence[SocketAddress]) -> dict[str, Any]:
    first, *more = where
    return {"address": address(first), "additional_addresses": [{"address": address(one)} for one in more]}


def _seconds(value: float) -> dict[str, int]:
    return {"seconds": int(value), "nanos": int(value % 1 * 1e9)}


def _original_destination() -> Message:
    return _filter("original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst")


def _http_inspector() -> Message:
    return _filter("http_inspector", "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector")


def _filter(name: str, kind: str) -> Message:
    return new(
        f"{_LISTENER}.ListenerFilter", name=f"envoy.filters.listener.{name}", typed_config=pack(new(kind))
    )


def _unless(filter_: Message, ports: Sequence[int]) -> Message:
    """The filter, left out on these ports."""
    rules: list[dict[str, object]] = [
        {"destination_port_range": {"start": port, "end": port + 1}} for port in ports
    ]
    if rules:
        predicate: dict[str, object] = rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
        filter_.MergeFrom(new(f"{_LISTENER}.ListenerFilter", filter_disabled=predicate))
    return filter_
