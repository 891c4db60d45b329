"""A TrafficPolicy as Envoy has it: parts of clusters, routes and TCP proxies.

Where nothing is said: least request; of running requests, a fifth may be retries (at least 64); an endpoint that
failed five times in a row as a gateway does (502 to 504, or no connection) is left out for 30 seconds, as long as
half of the endpoints stay. An application's own 500 leaves nobody out. Other bounds are Envoy's: 1,024 connections,
waiting requests and running requests for each service and caller.
Source: envoy.config.cluster.v3; what Istio makes of a DestinationRule
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from xds.traffic import Cookie, Hashing, Limits, Outliers, TrafficPolicy

_CONNECT_SECONDS: Final = 5.0
# a replica that leaves refuses all that were on their way to it at once; what is retried has not been worked on
_RETRIES_AT_LEAST: Final = 64
TCP_ATTEMPTS: Final = 3  # of a caller's sidecar, as often as a request is tried
_DEFAULT_OUTLIERS: Final = Outliers(gateway_errors=5, server_errors=0, most_percent=50)
_DEFAULT: Final = TrafficPolicy()


def cluster(traffic: TrafficPolicy | None) -> dict[str, object]:
    policy = traffic or _DEFAULT
    return {
        "connect_timeout": seconds(policy.limits.connect_timeout or _CONNECT_SECONDS),
        **_balancer(policy),
        "circuit_breakers": {"thresholds": [_thresholds(policy.limits)]},
        **_outliers(policy.outliers),
        **_connections(policy.limits),
    }


def hashed(traffic: TrafficPolicy | None) -> dict[str, object]:
    """Of a route: by what requests are told apart."""
    if traffic is None or traffic.hashing is None:
        return {}
    match traffic.hashing:
        case Hashing(cookie=Cookie() as cookie):
            ttl: dict[str, object] = {"ttl": seconds(cookie.ttl)}
            by: dict[str, object] = {"cookie": {"name": cookie.name, "path": cookie.path, **ttl}}
        case Hashing(query=query) if query:
            by = {"query_parameter": {"name": query}}
        case Hashing(header=header):
            by = {"header": {"header_name": header}}
    return {"hash_policy": [by]}


def http_times(traffic: TrafficPolicy | None) -> dict[str, object]:
    """Of HttpProtocolOptions."""
    limits = (traffic or _DEFAULT).limits
    found = _given(
        max_requests_per_connection=_number(limits.requests_per_connection),
        idle_timeout=_time(limits.idle),
        max_connection_duration=_time(limits.connection_duration),
    )
    return {"common_http_protocol_options": found} if found else {}


def streams(traffic: TrafficPolicy | None) -> dict[str, object]:
    """Of Http2ProtocolOptions."""
    return _given(max_concurrent_streams=_number((traffic or _DEFAULT).limits.concurrent_streams))


def tcp_times(traffic: TrafficPolicy | None) -> dict[str, object]:
    """Of a TcpProxy."""
    limits = (traffic or _DEFAULT).limits
    return _given(
        idle_timeout=_time(limits.tcp_idle),
        max_downstream_connection_duration=_time(limits.connection_duration),
    )


def seconds(value: float) -> dict[str, int]:
    """A google.protobuf.Duration."""
    whole = int(value)
    return {"seconds": whole, "nanos": round((value - whole) * 1e9)}


def _balancer(policy: TrafficPolicy) -> dict[str, object]:
    hashing = policy.hashing
    if hashing is None:
        return {"lb_policy": str(policy.spread)}
    if hashing.maglev:
        return {"lb_policy": "MAGLEV", "maglev_lb_config": _given(table_size=_number(hashing.size))}
    return {"lb_policy": "RING_HASH", "ring_hash_lb_config": _given(minimum_ring_size=_number(hashing.size))}


def _thresholds(limits: Limits) -> dict[str, object]:
    budget: dict[str, object] = {"retry_budget": {"min_retry_concurrency": _number(_RETRIES_AT_LEAST)}}
    if limits.retries:
        budget = {"max_retries": _number(limits.retries)}
    return {
        **_given(
            max_connections=_number(limits.connections),
            max_pending_requests=_number(limits.pending_requests),
            max_requests=_number(limits.requests),
        ),
        **budget,
    }


def _outliers(outliers: Outliers | None) -> dict[str, object]:
    found = outliers or _DEFAULT_OUTLIERS
    detection = _given(
        interval=_time(found.interval),
        base_ejection_time=_time(found.ejection),
        max_ejection_percent=_number(found.most_percent),
    )
    detection |= _counted("consecutive_gateway_failure", found.gateway_errors)
    detection |= _counted("consecutive_5xx", found.server_errors)
    # what is not counted in a row is told by comparing endpoints; that is not asked for
    detection["enforcing_success_rate"] = {"value": 0}
    if found.split:
        detection |= {"split_external_local_origin_errors": True}
        detection |= {"enforcing_local_origin_success_rate": {"value": 0}}
        detection |= _counted("consecutive_local_origin_failure", found.local_failures)
    if outliers is None:
        return {"outlier_detection": detection}
    panic = {"healthy_panic_threshold": {"value": float(outliers.least_healthy_percent)}}
    return {"outlier_detection": detection, "common_lb_config": panic}


def _counted(name: str, number: int | None) -> dict[str, object]:
    if number is None:
        return {}
    enforcing: dict[str, object] = {f"enforcing_{name}": {"value": 100 if number else 0}}
    return {**enforcing, name: {"value": number}} if number else enforcing


def _connections(limits: Limits) -> dict[str, object]:
    kept = limits.keepalive
    if kept is None:
        return {}
    found = _given(
        keepalive_probes=_number(kept.probes),
        keepalive_time=_number(kept.time),
        keepalive_interval=_number(kept.interval),
    )
    return {"upstream_connection_options": {"tcp_keepalive": found}}


def _number(value: int) -> Mapping[str, int] | None:
    return {"value": value} if value else None


def _time(value: float) -> Mapping[str, int] | None:
    return seconds(value) if value else None


def _given(**found: Mapping[str, int] | None) -> dict[str, object]:
    """Without what is not set: Envoy's default holds."""
    return {name: value for name, value in found.items() if value is not None}
