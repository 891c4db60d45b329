"""The bootstrap of a sidecar, as JSON: who it is, where its secrets are (the agent's socket), where its
configuration comes from (the control plane). Pure.

Source: envoy.config.bootstrap.v3
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from xds import names

_HTTP2: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """`xds_host`:`xds_port` as in the join token; `agent_socket` and `admin_socket` are paths.

    `xds_socket`: a Unix socket that leads to the same port, where the sidecar has no network of its own to get there.
    `mark`: what its connections carry (SO_MARK), so that interception lets them out; 0 for none.
    """

    namespace: str
    name: str
    service_account: str
    trust_domain: str
    xds_host: str
    xds_port: int
    agent_socket: str
    admin_socket: str
    xds_socket: str = ""
    mark: int = 0


def bootstrap(sidecar: Sidecar) -> dict[str, Any]:
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": _control_plane_service(),
    }
    return {
        "node": {
            "id": f"{sidecar.namespace}/{sidecar.name}",
            "cluster": f"{sidecar.namespace}/{sidecar.service_account}",
        },
        "admin": {"address": {"pipe": {"path": sidecar.admin_socket, "mode": 0o600}}},
        **_marked(sidecar.mark),
        # what a live connection looks at: its filters keep the configuration they were opened with
        "layered_runtime": {
            "layers": [
                {
                    "name": names.RUNTIME_LAYER,
                    "rtds_layer": {
                        "name": names.RUNTIME_LAYER,
                        "rtds_config": {"ads": {}, "resource_api_version": "V3"},
                    },
                }
            ]
        },
        "dynamic_resources": {
            "ads_config": ads,
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                _cluster(names.AGENT_CLUSTER, "STATIC", {"pipe": {"path": sidecar.agent_socket}}),
                _control_plane(sidecar),
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors."
                        "downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": 50_000,
                    },
                }
            ]
        },
    }


def _marked(mark: int) -> dict[str, Any]:
    """Every upstream connection, the control plane's too. Source: socket(7), SO_MARK."""
    if not mark:
        return {}
    option = {"level": 1, "name": 36, "int_value": mark, "state": "STATE_PREBIND"}
    return {"cluster_manager": {"upstream_bind_config": {"socket_options": [option]}}}


def _control_plane(sidecar: Sidecar) -> dict[str, Any]:
    address: dict[str, Any] = {
        "socket_address": {"address": sidecar.xds_host, "port_value": sidecar.xds_port}
    }
    if sidecar.xds_socket:
        address = {"pipe": {"path": sidecar.xds_socket}}
    # the server itself, or one of the processes that hold sidecars' connections for it
    identities = (f"spiffe://{sidecar.trust_domain}/pylis/{who}" for who in ("server", "xds"))
    servers = [{"san_type": "URI", "matcher": {"exact": identity}} for identity in identities]
    tls = {
        "@type": _TLS,
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                # an Envoy client stops at 1.2 unless it is told
                "tls_maximum_protocol_version": "TLSv1_3",
                "ecdh_curves": ["X25519MLKEM768", "X25519", "P-256"],
            },
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_secret(names.SVID_SECRET)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": servers},
                "validation_context_sds_secret_config": _secret(names.BUNDLE_SECRET),
            },
        },
    }
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    keepalive = {"connection_keepalive": {"interval": "30s", "timeout": "10s"}}
    kind = "STATIC" if sidecar.xds_socket or _is_ip(sidecar.xds_host) else "STRICT_DNS"
    return {**_cluster(names.XDS_CLUSTER, kind, address, keepalive), "transport_socket": socket}


def _cluster(
    name: str, kind: str, address: dict[str, Any], http2: dict[str, Any] | None = None
) -> dict[str, Any]:
    options = {
        "@type": f"type.googleapis.com/{_HTTP2}",
        "explicit_http_config": {"http2_protocol_options": http2 or {}},
    }
    return {
        "name": name,
        "type": kind,
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {_HTTP2: options},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _secret(name: str) -> dict[str, Any]:
    services = [{"envoy_grpc": {"cluster_name": names.AGENT_CLUSTER}}]
    source = {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": services}
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}}


def _control_plane_service() -> list[dict[str, Any]]:
    """Each pause before it calls again is a random part of these; Envoy's own longest is 30 s.

    Source: envoy.config.core.v3.GrpcService.EnvoyGrpc.retry_policy
    """
    pauses = {"base_interval": "0.500s", "max_interval": "5s"}
    service = {"cluster_name": names.XDS_CLUSTER, "retry_policy": {"retry_back_off": pauses}}
    return [{"envoy_grpc": service}]


def _is_ip(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
