"""ext_authz as Istio's provider describes it."""

from __future__ import annotations

from typing import Any

from policies.authorizer import Authorizer, Speaks
from xds.compile.authorizers import http_filter, network_filter

HTTP = Authorizer(
    "guard", Speaks.HTTP, "guard.shop", 8000, 1.5, True, 503, "/check", ("x-*",), (("y", "1"),), ("up",), ("*ok",), ("no",),
    10, True, True,
)  # fmt: skip
GRPC = Authorizer("guard", Speaks.GRPC, "guard.shop", 8000)


def test_an_http_authorizer() -> None:
    found: Any = http_filter(HTTP)
    service = found.http_service
    assert (service.server_uri.cluster, service.server_uri.timeout.nanos) == ("guard.shop:8000", 500_000_000)
    assert (service.path_prefix, found.failure_mode_allow, found.status_on_error.code) == (
        "/check",
        True,
        503,
    )
    assert found.allowed_headers.patterns[0].prefix == "x-"
    assert service.authorization_request.headers_to_add[0].key == "y"
    answer = service.authorization_response
    assert answer.allowed_upstream_headers.patterns[0].exact == "up"
    assert answer.allowed_client_headers_on_success.patterns[0].suffix == "ok"
    assert answer.allowed_client_headers.patterns[0].exact == "no"
    assert (found.with_request_body.max_request_bytes, found.with_request_body.pack_as_bytes) == (10, True)


def test_it_is_asked_where_its_mark_is() -> None:
    for made, filter_name in ((http_filter(GRPC), "http"), (network_filter(GRPC), "network")):
        found: Any = made
        mark = found.filter_enabled_metadata
        assert mark.filter == f"envoy.filters.{filter_name}.rbac"
        assert mark.path[0].key == "custom_guard_shadow_effective_policy_id"
        assert mark.value.string_match.prefix == "custom-"
        assert found.grpc_service.envoy_grpc.cluster_name == "guard.shop:8000"
        assert not found.failure_mode_allow
