"""CUSTOM → Envoy's ext_authz filters: an external authorizer is asked about the requests its rules match.

A shadow RBAC marks the request, ext_authz runs where it finds the mark. A provider that nobody declared, or whose
service the proxy cannot reach, denies what its rules match. Source: envoy.extensions.filters.http.ext_authz.v3,
envoy.extensions.filters.network.ext_authz.v3; docs/reference/policy.md (CUSTOM)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

from policies.authorizer import Authorizer, Speaks
from xds import names
from xds.schema import new

_HTTP: Final = "envoy.extensions.filters.http.ext_authz.v3"
_NETWORK: Final = "envoy.extensions.filters.network.ext_authz.v3"
_STRING: Final = "envoy.type.matcher.v3.StringMatcher"
MARK: Final = "custom-"  # begins the name of every rule a provider is asked about
NOT_ASKED: Final = "no-custom"


def http_filter(authorizer: Authorizer) -> Message:
    body: dict[str, object] = {}
    if authorizer.body_max_bytes:
        body["with_request_body"] = {
            "max_request_bytes": authorizer.body_max_bytes,
            "allow_partial_message": authorizer.body_allow_partial,
            "pack_as_bytes": authorizer.body_as_bytes,
        }
    if authorizer.include_request_headers:
        body["allowed_headers"] = _patterns(authorizer.include_request_headers)
    return new(
        f"{_HTTP}.ExtAuthz",
        transport_api_version="V3",
        failure_mode_allow=authorizer.fail_open,
        status_on_error={"code": authorizer.status_on_error},
        filter_enabled_metadata=_marked("envoy.filters.http.rbac", authorizer.name),
        stat_prefix=authorizer.name,
        **body,
        **_service(authorizer),
    )


def network_filter(authorizer: Authorizer) -> Message:
    """For TCP: gRPC authorizers only."""
    return new(
        f"{_NETWORK}.ExtAuthz",
        transport_api_version="V3",
        stat_prefix=f"{authorizer.name}.",
        failure_mode_allow=authorizer.fail_open,
        filter_enabled_metadata=_marked("envoy.filters.network.rbac", authorizer.name),
        grpc_service=_grpc(authorizer),
    )


def _marked(filter_name: str, provider: str) -> Message:
    key = f"{names.custom_prefix(provider)}shadow_effective_policy_id"
    return new(
        "envoy.type.matcher.v3.MetadataMatcher",
        filter=filter_name,
        path=[{"key": key}],
        value={"string_match": new(_STRING, prefix=MARK)},
    )


def _service(authorizer: Authorizer) -> dict[str, object]:
    match authorizer.speaks:
        case Speaks.GRPC:
            return {"grpc_service": _grpc(authorizer)}
        case Speaks.HTTP:
            return {"http_service": _http(authorizer)}


def _grpc(authorizer: Authorizer) -> Message:
    return new(
        "envoy.config.core.v3.GrpcService",
        envoy_grpc={"cluster_name": _cluster(authorizer), "authority": authorizer.service},
        timeout=_duration(authorizer.timeout_seconds),
    )


def _http(authorizer: Authorizer) -> Message:
    request: dict[str, object] = {}
    if authorizer.include_additional_headers:
        request["authorization_request"] = {
            "headers_to_add": [
                {"key": name, "value": value} for name, value in authorizer.include_additional_headers
            ]
        }
    lists = {
        "allowed_upstream_headers": authorizer.headers_to_upstream_on_allow,
        "allowed_client_headers_on_success": authorizer.headers_to_downstream_on_allow,
        "allowed_client_headers": authorizer.headers_to_downstream_on_deny,
    }
    response = {field: _patterns(patterns) for field, patterns in lists.items() if patterns}
    if response:
        request["authorization_response"] = response
    return new(
        f"{_HTTP}.HttpService",
        server_uri={
            "uri": f"http://{authorizer.service}:{authorizer.port}",
            "cluster": _cluster(authorizer),
            "timeout": _duration(authorizer.timeout_seconds),
        },
        path_prefix=authorizer.path_prefix,
        **request,
    )


def _cluster(authorizer: Authorizer) -> str:
    return names.destination(authorizer.service, authorizer.port)


def _patterns(texts: Sequence[str]) -> Message:
    """Header names, `prefix*`, `*suffix` or `*`, without regard to case."""
    found: list[Message] = []
    for text in texts:
        if text == "*":
            form: dict[str, object] = {"safe_regex": {"regex": ".*"}}
        elif text.startswith("*"):
            form = {"suffix": text[1:], "ignore_case": True}
        elif text.endswith("*"):
            form = {"prefix": text[:-1], "ignore_case": True}
        else:
            form = {"exact": text, "ignore_case": True}
        found.append(new(_STRING, **form))
    return new("envoy.type.matcher.v3.ListStringMatcher", patterns=found)


def _duration(seconds: float) -> dict[str, int]:
    whole = int(seconds)
    return {"seconds": whole, "nanos": round((seconds - whole) * 1e9)}
