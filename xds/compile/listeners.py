"""Listeners: a port of the workload comes in by mTLS; what the workload calls goes out by loopback ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, assert_never

from google.protobuf.message import Message

from policies.program import DecisionProgram, Protocol
from policies.workload import MtlsMode
from xds import names
from xds.compile import access_log, balancing, cut, filters, routes, tls
from xds.compile.clusters import address
from xds.compile.surroundings import Surroundings
from xds.plan import Destination, InboundPort, ProxyPlan, SocketAddress, Upstream
from xds.schema import decode, new, pack

_NOTHING: Final = DecisionProgram(Protocol.HTTP, 0)


def needed(program: DecisionProgram) -> DecisionProgram:
    """What of a program stands in the listener: nothing on HTTP, on TCP what goes before DENY and ALLOW."""
    if program.protocol is Protocol.HTTP:
        return _NOTHING
    return replace(
        _NOTHING,
        protocol=Protocol.TCP,
        audit=program.audit,
        delegations=program.delegations,
        dry_run=program.dry_run,
    )


def inbound(port: InboundPort, around: Surroundings, plan: ProxyPlan) -> Message:
    # tells TLS from plaintext, and reads the server name that policies may look at
    takes_tls = port.mtls is not MtlsMode.DISABLE
    sniff: dict[str, object] = {"listener_filters": [tls_inspector()]} if takes_tls else {}
    return new(
        "envoy.config.listener.v3.Listener",
        name=names.inbound(port.name),
        address=address(port.listen),
        traffic_direction="INBOUND",
        filter_chains=inbound_chains(port, around, plan),
        access_log=access_log.connections(plan.access_log, direction="inbound", port=port.port),
        **sniff,
    )


def inbound_chains(
    port: InboundPort,
    around: Surroundings,
    plan: ProxyPlan,
    only: Mapping[str, object] = MappingProxyType({}),
) -> list[Message]:
    """STRICT: TLS only. PERMISSIVE: TLS or plain, told apart by the first bytes. DISABLE: plain only.

    `only` narrows each chain's match, where a listener serves several ports.
    """
    chains: list[Message] = []
    if port.mtls is not MtlsMode.DISABLE:
        alpn = ("h2", "http/1.1") if port.protocol.is_http else ()
        # the same in both modes: from one to the other, connections that are open stay
        chains.append(
            _chain(f"mtls{port.cut}", port, around, plan, dict(only), transport_socket=tls.downstream(alpn))
        )
    match port.mtls:
        case MtlsMode.STRICT:
            pass
        case MtlsMode.PERMISSIVE:
            plain = {**only, "transport_protocol": "raw_buffer"}
            chains.append(_chain("plaintext", port, around, plan, plain))
        case MtlsMode.DISABLE:
            chains.append(_chain("plaintext", port, around, plan, dict(only)))
        case _:
            assert_never(port.mtls)
    return chains


def at(listener: bytes, listen: SocketAddress) -> Message:
    """A compiled listener, elsewhere: its address is all it says of where it listens."""
    message = decode("envoy.config.listener.v3.Listener", listener)
    message.address.CopyFrom(address(listen))  # pyright: ignore[reportAttributeAccessIssue,reportUnknownMemberType] - upb's fields have no static types
    return message


def outbound_http(listen: SocketAddress, plan: ProxyPlan) -> Message:
    """What HTTP_PROXY points to: requests are routed by host."""
    log = access_log.requests(plan.access_log, direction="outbound", port=listen.port)
    manager = filters.outbound_http(names.OUTBOUND_HTTP, names.OUTBOUND_HTTP, log)
    return _outbound(names.OUTBOUND_HTTP, listen, manager)


def upstream(declared: Upstream, target: Destination, plan: ProxyPlan) -> Message:
    """A loopback port that leads to one service."""
    name = names.upstream(declared.name)
    if target.protocol.is_http:
        log = access_log.requests(plan.access_log, direction="outbound", port=declared.port)
        return _outbound(name, declared.listen, filters.outbound_http(name, name, log))
    cluster = names.destination(target.host, target.port)
    proxy = filters.tcp_proxy(name, cluster, target.traffic, attempts=balancing.TCP_ATTEMPTS)
    return _outbound(name, declared.listen, proxy, target.cut)


def _outbound(name: str, listen: SocketAddress, filter_: Message, cut: str = "") -> Message:
    return new(
        "envoy.config.listener.v3.Listener",
        name=name,
        address=address(listen),
        traffic_direction="OUTBOUND",
        filter_chains=[{"name": cut, "filters": [filter_]}],
    )


def _chain(
    name: str,
    port: InboundPort,
    around: Surroundings,
    plan: ProxyPlan,
    match: dict[str, object],
    **transport: Message,
) -> Message:
    ends_open = cut.ends_open(port) and transport
    return new(
        "envoy.config.listener.v3.FilterChain",
        name=name,
        filter_chain_match=match,
        filters=[
            filters.identity(),
            *([cut.filter_reference()] if ends_open else []),
            *_application_filters(port, around, plan),
        ],
        transport_socket_connect_timeout={"seconds": 10},
        **transport,
    )


def _application_filters(port: InboundPort, around: Surroundings, plan: ProxyPlan) -> list[Message]:
    if port.protocol.is_http:
        log = access_log.requests(plan.access_log, direction="inbound", port=port.port)
        return [filters.inbound_http(port.name, routes.inbound(port.name), plan, log)]
    return [
        *filters.tcp_authorization(port.name, port.program, around),
        filters.tcp_proxy(names.inbound(port.name), names.app_cluster(port.name)),
    ]


def tls_inspector() -> Message:
    config = new("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector")
    return new(
        "envoy.config.listener.v3.ListenerFilter",
        name="envoy.filters.listener.tls_inspector",
        typed_config=pack(config),
    )
