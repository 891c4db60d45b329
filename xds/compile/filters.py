"""HTTP and network filters in the order they run; to add one: a function here, a row in its table.

network   identity into filter state, then HTTP connection manager | (CUSTOM, AUDIT, dry runs, authorization, TCP proxy)
http      authorization (everything a decision takes, see `rbac`), router
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

from policies.program import DecisionProgram, Protocol
from policies.workload import PathNormalization
from xds import names
from xds.compile import balancing, denial, filter_state, rbac
from xds.compile.surroundings import Surroundings
from xds.plan import ProxyPlan
from xds.schema import new, pack
from xds.traffic import TrafficPolicy

_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3"


def identity() -> Message:
    """Who the peer is, once per connection. Must come first."""
    return _network("envoy.filters.network.set_filter_state", filter_state.identity())


def tcp_authorization(port_name: str, program: DecisionProgram, around: Surroundings) -> list[Message]:
    before = [_network(name, config) for name, config in rbac.network_filters(program, around)]
    discovered = new(
        "envoy.config.listener.v3.Filter",
        name=names.authorization(port_name),
        config_discovery={"config_source": rbac.discovery(), "type_urls": rbac.filter_types(Protocol.TCP)},
    )
    return [*before, discovered]


def tcp_proxy(
    stat_prefix: str, cluster: str, traffic: TrafficPolicy | None = None, *, attempts: int = 1
) -> Message:
    """`attempts`: so many connections are tried, of endpoint after endpoint, before the caller's is ended."""
    config = new(
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=stat_prefix,
        cluster=cluster,
        max_connect_attempts={"value": attempts},
        **balancing.tcp_times(traffic),
    )
    return _network("envoy.filters.network.tcp_proxy", config)


def inbound_http(port_name: str, routes: Message, plan: ProxyPlan, access_log: Sequence[Message]) -> Message:
    """The connection manager in front of the application: it believes nothing the peer says of itself."""
    return _manager(
        stat_prefix=names.inbound(port_name),
        route_config=routes,
        http_filters=[_http_authorization(port_name), _router()],
        access_log=list(access_log),
        # the application learns the verified peer, whatever the request claimed
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"uri": True},
        # whose word about the client's address is taken: none's, unless the mesh says how many proxies stand in front
        xff_num_trusted_hops=plan.trusted_proxies,
        **_normalization(plan.path_normalization),
        **denial.local_replies(plan.explain_denials),
    )


def outbound_http(stat_prefix: str, route_config_name: str, access_log: Sequence[Message]) -> Message:
    return _manager(
        stat_prefix=stat_prefix,
        rds={
            "config_source": {"ads": {}, "resource_api_version": "V3"},
            "route_config_name": route_config_name,
        },
        http_filters=[_router()],
        access_log=list(access_log),
        # a request's X-Forwarded-For goes on as the application wrote it
        skip_xff_append=True,
        # old clients speak HTTP/1.0 to a service, whoever stands between
        http_protocol_options={"accept_http_10": True},
        # gRPC clients reach an HTTP proxy by CONNECT
        upgrade_configs=[{"upgrade_type": "CONNECT"}, {"upgrade_type": "websocket"}],
    )


def _manager(**settings: object) -> Message:
    config = new(
        f"{_HCM}.HttpConnectionManager",
        codec_type="AUTO",
        use_remote_address={"value": True},
        # no address is internal: x-envoy-* headers from a peer are dropped
        internal_address_config={},
        preserve_external_request_id=True,
        generate_request_id={"value": True},
        always_set_request_id_in_response=True,
        server_header_transformation="PASS_THROUGH",
        stream_idle_timeout={"seconds": 3600},
        common_http_protocol_options={"idle_timeout": {"seconds": 3600}},
        **{"upgrade_configs": [{"upgrade_type": "websocket"}], **settings},
    )
    return _network("envoy.filters.network.http_connection_manager", config)


def _normalization(mode: PathNormalization) -> dict[str, object]:
    return {
        "normalize_path": {"value": mode is not PathNormalization.NONE},
        "merge_slashes": mode
        in (PathNormalization.MERGE_SLASHES, PathNormalization.DECODE_AND_MERGE_SLASHES),
        "path_with_escaped_slashes_action": (
            "UNESCAPE_AND_FORWARD" if mode is PathNormalization.DECODE_AND_MERGE_SLASHES else "KEEP_UNCHANGED"
        ),
    }


def _http_authorization(port_name: str) -> Message:
    return new(
        f"{_HCM}.HttpFilter",
        name=names.authorization(port_name),
        config_discovery={"config_source": rbac.discovery(), "type_urls": rbac.filter_types(Protocol.HTTP)},
    )


def _router() -> Message:
    # HTTP/1.1 keep-alive is held through the whole mesh; no header tells how long the upstream took
    config = new("envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
    return _http("envoy.filters.http.router", config)


def _http(name: str, config: Message) -> Message:
    return new(f"{_HCM}.HttpFilter", name=name, typed_config=pack(config))


def _network(name: str, config: Message) -> Message:
    return new("envoy.config.listener.v3.Filter", name=name, typed_config=pack(config))
