"""CSDS, health and reflection as a stock gRPC client asks for them: over mTLS, with an SVID that may, and with one that may not."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# grpc comes without complete types

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from ca import keys
from controlplane.client_status import FETCH, STREAM
from controlplane.port_reflection import SERVICES
from tests.integration.running_server import RunningServer
from xds import health, schema

TOOL = "spiffe://cluster.local/ns/ops/sa/tool"
SIDECAR = "spiffe://cluster.local/ns/shop/sa/catalog"
CUT_OFF = {version: f"spiffe://cluster.local/ns/shop/sa/cut-{version}" for version in ("v1", "v1alpha")}
QUARANTINES = "/apis/pylis.io/v1alpha1/quarantines"
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


def quarantine(server: RunningServer, identity: str) -> None:
    body = {
        "apiVersion": "pylis.io/v1alpha1", "kind": "Quarantine",
        "metadata": {"name": identity.rpartition("/")[2]}, "spec": {"spiffeIDs": [identity]},
    }  # fmt: skip
    server.client().request("POST", QUARANTINES, body)


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


def test_a_client_that_knows_nothing_finds_every_service_and_speaks_to_it(server: RunningServer) -> None:
    """As grpcurl does: names, descriptors and messages all come from reflection."""
    with channel(server, TOOL) as open_channel:
        database = ProtoReflectionDescriptorDatabase(open_channel)
        assert set(database.get_services()) == set(SERVICES)
        pool = DescriptorPool(database)
        ads = pool.FindServiceByName("envoy.service.discovery.v3.AggregatedDiscoveryService")
        found = {m.name: (m.input_type.name, m.client_streaming, m.server_streaming) for m in ads.methods}
        assert found == {
            "DeltaAggregatedResources": ("DeltaDiscoveryRequest", True, True),
            "StreamAggregatedResources": ("DiscoveryRequest", True, True),
        }
        csds = pool.FindServiceByName("envoy.service.status.v3.ClientStatusDiscoveryService")
        fetch = csds.FindMethodByName("FetchClientStatus")
        assert (fetch.client_streaming, fetch.server_streaming) == (False, False)
        request = GetMessageClass(fetch.input_type)(exclude_resource_contents=True)
        body = open_channel.unary_unary(FETCH)(request.SerializeToString(), timeout=10)
        assert list(GetMessageClass(fetch.output_type).FromString(body).config) == []
        for described in ("grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"):
            assert pool.FindServiceByName(described).methods


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_tells_any_identity_of_the_mesh_and_nobody_who_is_cut_off(
    server: RunningServer, version: str
) -> None:
    method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    with channel(server, SIDECAR) as sidecar, channel(server, CUT_OFF[version]) as cut_off:
        assert len(list(sidecar.stream_stream(method)(iter([b"\x3a\x00"]), timeout=10))) == 1
        quarantine(server, CUT_OFF[version])
        with pytest.raises(grpc.RpcError) as refused:
            while True:  # until the mesh has taken it in
                list(cut_off.stream_stream(method)(iter([b"\x3a\x00"]), timeout=10))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_reflection_says_what_is_no_request(server: RunningServer) -> None:
    method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    with channel(server, SIDECAR) as open_channel, pytest.raises(grpc.RpcError) as refused:
        list(open_channel.stream_stream(method)(iter([b"\xff"]), timeout=10))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_without_a_certificate_of_the_mesh_nothing_is_told(server: RunningServer) -> None:
    credentials = grpc.ssl_channel_credentials(server.ca_pem.encode())
    options = (("grpc.ssl_target_name_override", "server.pylis.internal"),)
    with grpc.secure_channel(server.xds, credentials, options) as open_channel, pytest.raises(grpc.RpcError):
        method = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        list(open_channel.stream_stream(method)(iter([b"\x3a\x00"]), timeout=5))
