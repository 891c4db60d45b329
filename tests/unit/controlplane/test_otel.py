from __future__ import annotations

import subprocess
import sys

import pytest

from controlplane.otel import _route, is_wanted
from controlplane.settings_file import SettingsError


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "pylis"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_traces_are_sent_only_where_a_receiver_is_named(environment: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environment) is wanted


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"},
    ],
)
def test_what_is_asked_for_and_not_spoken_is_said(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="only"):
        is_wanted(environment)


def test_a_server_that_sends_none_loads_no_opentelemetry() -> None:
    code = "import controlplane.main, sys; sys.exit(any(m.startswith('opentelemetry') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/orders",
         "/apis/security.istio.io/v1/namespaces/{namespace}/authorizationpolicies/{name}"),
        ("/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies",
         "/apis/security.istio.io/v1/namespaces/{namespace}/authorizationpolicies"),
        ("/apis/pylis.io/v1alpha1/quarantines/eve", "/apis/pylis.io/v1alpha1/quarantines/{name}"),
        ("/api/v1/namespaces", "/api/v1/namespaces"),
        ("/api/v1/namespaces/shop", "/api/v1/namespaces/{name}"),
        ("/pylis/v1/apitokens/7", "/pylis/v1/apitokens/{name}"),
    ],
)  # fmt: skip
def test_spans_are_named_without_names(path: str, route: str) -> None:
    assert _route(path) == route
