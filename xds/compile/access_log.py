"""Access logs: one JSON object a line on the sidecar's standard output, with the rule that decided.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage
"""

from __future__ import annotations

from google.protobuf.message import Message

from xds import names
from xds.plan import AccessLog
from xds.schema import new, pack

_STDOUT = "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"
_RULE = f"{names.ENFORCED_PREFIX}enforced_effective_policy_id"
_NETWORK_RULE = f"{names.ENFORCED_PREFIX}shadow_effective_policy_id"


def _tried(filter_name: str) -> dict[str, str]:
    """What AUDIT rules matched, and what dry runs would have said; left out where there are none."""
    shadow = f"%DYNAMIC_METADATA({filter_name}:"
    return {
        "audit": f"{shadow}{names.AUDIT_PREFIX}shadow_effective_policy_id)%",
        "dryRunAllow": f"{shadow}{names.DRY_RUN_ALLOW_PREFIX}shadow_engine_result)%",
        "dryRunAllowRule": f"{shadow}{names.DRY_RUN_ALLOW_PREFIX}shadow_effective_policy_id)%",
        "dryRunDeny": f"{shadow}{names.DRY_RUN_DENY_PREFIX}shadow_engine_result)%",
        "dryRunDenyRule": f"{shadow}{names.DRY_RUN_DENY_PREFIX}shadow_effective_policy_id)%",
    }


def _observed(filter_name: str) -> dict[str, str]:
    """What would be decided if the workload were not only observed; left out where it is not."""
    shadow = f"%DYNAMIC_METADATA({filter_name}:{names.OBSERVED_PREFIX}shadow"
    return {"observed": f"{shadow}_engine_result)%", "observedRule": f"{shadow}_effective_policy_id)%"}


_REQUEST = {
    "event": "request",
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "requestId": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "remote": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "rule": f"%DYNAMIC_METADATA(envoy.filters.http.rbac:{_RULE})%",
    **_tried("envoy.filters.http.rbac"),
    "ms": "%DURATION%",
}

_CONNECTION = {
    "event": "connection",
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "flags": "%RESPONSE_FLAGS%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "remote": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "rule": f"%DYNAMIC_METADATA(envoy.filters.network.rbac:{_NETWORK_RULE})%",
    **_tried("envoy.filters.network.rbac"),
    "details": "%CONNECTION_TERMINATION_DETAILS%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "refused": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "received": "%BYTES_RECEIVED%",
    "ms": "%DURATION%",
}


def requests(level: AccessLog, *, direction: str, port: int) -> list[Message]:
    """Loggers of an HTTP connection manager. `denied`: answers of 401, 403 and 5xx, what would be denied if the
    workload were not only observed, and what AUDIT rules match.
    """
    seen = _observed("envoy.filters.http.rbac") if direction == "inbound" else {}
    match level:
        case AccessLog.OFF:
            return []
        case AccessLog.DENIED:
            return [_logger({**_REQUEST, **seen, **_place(direction, port)}, _denied(observed=bool(seen)))]
        case AccessLog.ALL:
            return [_logger({**_REQUEST, **seen, **_place(direction, port)}, None)]


def connections(level: AccessLog, *, direction: str, port: int | None) -> list[Message]:
    """Loggers of a listener: a line when a connection ends, refused handshakes among them.

    `port` None: the one that the connection was meant for.
    """
    if level is AccessLog.OFF:
        return []
    seen = _observed("envoy.filters.network.rbac")
    return [_logger({**_CONNECTION, **seen, **_place(direction, port)}, None)]


def _place(direction: str, port: int | None) -> dict[str, str]:
    return {"direction": direction, "port": "%DOWNSTREAM_LOCAL_PORT%" if port is None else str(port)}


def _denied(*, observed: bool) -> Message:
    codes = [_status("EQ", 401), _status("EQ", 403), _status("GE", 500)]
    audited = _metadata("envoy.common", "access_log_hint", {"bool_match": True})
    key = f"{names.OBSERVED_PREFIX}shadow_engine_result"
    would = _metadata("envoy.filters.http.rbac", key, {"string_match": {"exact": "denied"}})
    filters = [*codes, audited, *([would] if observed else [])]
    return new("envoy.config.accesslog.v3.AccessLogFilter", or_filter={"filters": filters})


def _metadata(filter_: str, key: str, value: dict[str, object]) -> dict[str, object]:
    matcher = new("envoy.type.matcher.v3.MetadataMatcher", filter=filter_, path=[{"key": key}], value=value)
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": {"value": False}}}


def _status(operation: str, code: int) -> Message:
    comparison = {"op": operation, "value": {"default_value": code, "runtime_key": "pylis.access_log.status"}}
    return new("envoy.config.accesslog.v3.AccessLogFilter", status_code_filter={"comparison": comparison})


def _logger(fields: dict[str, str], filter_: Message | None) -> Message:
    config = new(_STDOUT, log_format={"json_format": fields, "omit_empty_values": True})
    extra: dict[str, object] = {} if filter_ is None else {"filter": filter_}
    return new(
        "envoy.config.accesslog.v3.AccessLog",
        name="envoy.access_loggers.stdout",
        typed_config=pack(config),
        **extra,
    )
