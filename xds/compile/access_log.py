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
    """Loggers of an HTTP connection manager. `denied`: answers of 401, 403 and 5xx, and what AUDIT rules match."""
    match level:
        case AccessLog.OFF:
            return []
        case AccessLog.DENIED:
            return [_logger({**_REQUEST, **_place(direction, port)}, _denied())]
        case AccessLog.ALL:
            return [_logger({**_REQUEST, **_place(direction, port)}, None)]


def connections(level: AccessLog, *, direction: str, port: int) -> list[Message]:
    """Loggers of a listener: a line when a connection ends, refused handshakes among them."""
    if level is AccessLog.OFF:
        return []
    return [_logger({**_CONNECTION, **_place(direction, port)}, None)]


def _place(direction: str, port: int) -> dict[str, str]:
    return {"direction": direction, "port": str(port)}


def _denied() -> Message:
    codes = [_status("EQ", 401), _status("EQ", 403), _status("GE", 500)]
    hint = new(
        "envoy.type.matcher.v3.MetadataMatcher",
        filter="envoy.common",
        path=[{"key": "access_log_hint"}],
        value={"bool_match": True},
    )
    audited = {"metadata_filter": {"matcher": hint, "match_if_key_not_found": {"value": False}}}
    return new("envoy.config.accesslog.v3.AccessLogFilter", or_filter={"filters": [*codes, audited]})


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
