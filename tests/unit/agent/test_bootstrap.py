from __future__ import annotations

from typing import Any

import pytest

from agent.bootstrap import Sidecar, bootstrap
from xds import names


def a_sidecar(xds_host: str = "127.0.0.1") -> Sidecar:
    return Sidecar(
        "shop", "orders-1", "orders", "example.org", xds_host, 15012, "/run/agent.sock", "/run/orders.admin"
    )


def clusters(config: dict[str, Any]) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


def tls(config: dict[str, Any]) -> dict[str, Any]:
    return clusters(config)[names.XDS_CLUSTER]["transport_socket"]["typed_config"]["common_tls_context"]


def test_the_node_says_which_workload_it_is() -> None:
    assert bootstrap(a_sidecar())["node"] == {"id": "shop/orders-1", "cluster": "shop/orders"}


def test_configuration_comes_by_delta_ads_from_the_control_plane() -> None:
    dynamic = bootstrap(a_sidecar())["dynamic_resources"]
    assert dynamic["ads_config"]["api_type"] == "DELTA_GRPC"
    [asked] = dynamic["ads_config"]["grpc_services"]
    service = asked["envoy_grpc"]
    assert service["cluster_name"] == names.XDS_CLUSTER
    assert (
        service["retry_policy"]["retry_back_off"]["max_interval"] == "5s"
    )  # back soon after a restart of it
    assert dynamic["lds_config"] == dynamic["cds_config"] == {"ads": {}, "resource_api_version": "V3"}


def test_only_the_control_plane_and_its_workers_are_believed() -> None:
    validation = tls(bootstrap(a_sidecar()))["combined_validation_context"]
    assert validation["default_validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": "spiffe://example.org/pylis/server"}},
        {"san_type": "URI", "matcher": {"exact": "spiffe://example.org/pylis/xds"}},
    ]
    assert validation["validation_context_sds_secret_config"]["name"] == names.BUNDLE_SECRET


def test_its_own_certificate_comes_from_the_agents_socket() -> None:
    config = bootstrap(a_sidecar())
    (secret,) = tls(config)["tls_certificate_sds_secret_configs"]
    source = secret["sds_config"]["api_config_source"]
    assert secret["name"] == names.SVID_SECRET
    assert source["grpc_services"] == [{"envoy_grpc": {"cluster_name": names.AGENT_CLUSTER}}]
    (group,) = clusters(config)[names.AGENT_CLUSTER]["load_assignment"]["endpoints"]
    assert group["lb_endpoints"] == [{"endpoint": {"address": {"pipe": {"path": "/run/agent.sock"}}}}]


def test_tls_1_3_only_and_post_quantum_first() -> None:
    parameters = tls(bootstrap(a_sidecar()))["tls_params"]
    assert (
        parameters["tls_minimum_protocol_version"] == parameters["tls_maximum_protocol_version"] == "TLSv1_3"
    )
    assert parameters["ecdh_curves"][0] == "X25519MLKEM768"


def test_the_admin_interface_is_a_private_socket_and_no_port() -> None:
    address = bootstrap(a_sidecar())["admin"]["address"]
    assert address == {"pipe": {"path": "/run/orders.admin", "mode": 0o600}}


@pytest.mark.parametrize(
    ("host", "kind"), [("127.0.0.1", "STATIC"), ("::1", "STATIC"), ("mesh.internal", "STRICT_DNS")]
)
def test_a_host_name_is_resolved_and_an_address_is_not(host: str, kind: str) -> None:
    assert clusters(bootstrap(a_sidecar(host)))[names.XDS_CLUSTER]["type"] == kind
