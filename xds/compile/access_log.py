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
    "ms": "%DURATION%",
}

_CONNECTION = {
    "event": "connection",
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "flags": "%RESPONSE_FLAGS%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "remote": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%",
    "rule": f"%DYNAMIC_METADATA(envoy.filters.network.rbac:{_NETWORK_RULE})%",
    "details": "%CONNECTION_TERMINATION_DETAILS%",
    "tls": "%DOWNSTREAM_TLS_VERSION%",
    "refused": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%",
    "received": "%BYTES_RECEIVED%",
    "ms": "%DURATION%",
}


def requests(level: AccessLog, *, direction: str, port: int) -> list[Message]:
    """Loggers of an HTTP connection manager. `denied`: answers of 401, 403 and 5xx only."""
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
    return new("envoy.config.accesslog.v3.AccessLogFilter", or_filter={"filters": codes})


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
