"""CSDS and health as a stock gRPC client asks for them: over mTLS, with an SVID that may, and with one that may not."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# grpc comes without complete types

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from ca import keys
from controlplane.client_status import FETCH, STREAM
from tests.integration.running_server import RunningServer
from xds import health, schema

TOOL = "spiffe://cluster.local/ns/ops/sa/tool"
SIDECAR = "spiffe://cluster.local/ns/shop/sa/catalog"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("csds")) as running:
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "tool"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": TOOL}],
        }
        running.client().request("POST", BINDINGS, binding)
        yield running


def channel(server: RunningServer, identity: str) -> grpc.Channel:
    key = keys.new_key()
    csr = base64.b64encode(keys.csr_for(key)).decode()
    minted = server.client().request("POST", "/pylis/v1/svids", {"spiffeId": identity, "csr": csr})
    credentials = grpc.ssl_channel_credentials(
        minted["bundle"].encode(), keys.key_pem(key), minted["chain"].encode()
    )
    options = (("grpc.ssl_target_name_override", "server.pylis.internal"),)
    return grpc.secure_channel(server.xds, credentials, options)


def test_a_tool_with_the_right_reads_the_state_of_all_proxies(server: RunningServer) -> None:
    with channel(server, TOOL) as open_channel:
        answer: Any = schema.decode(
            "envoy.service.status.v3.ClientStatusResponse", open_channel.unary_unary(FETCH)(b"", timeout=10)
        )
        assert list(answer.config) == []
        answers = open_channel.stream_stream(STREAM)(iter([b"", b""]), timeout=10)
        assert list(answers) == [b"", b""], "an answer for each request"
        assert open_channel.unary_unary(health.CHECK)(b"", timeout=10) == health.SERVING


@pytest.mark.parametrize("method", [FETCH, STREAM])
def test_a_sidecars_certificate_learns_nothing(server: RunningServer, method: str) -> None:
    with channel(server, SIDECAR) as open_channel, pytest.raises(grpc.RpcError) as refused:
        if method == FETCH:
            open_channel.unary_unary(method)(b"", timeout=10)
        else:
            list(open_channel.stream_stream(method)(iter([b""]), timeout=10))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_what_is_no_request_is_said_to_be_none(server: RunningServer) -> None:
    with channel(server, TOOL) as open_channel, pytest.raises(grpc.RpcError) as refused:
        open_channel.unary_unary(FETCH)(b"\xff", timeout=10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
