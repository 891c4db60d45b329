from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from agent.docker.container import is_app, reported, unfit
from ca.node_report import FoundPort

_spec = importlib.util.spec_from_file_location("docker_builders", Path(__file__).with_name("builders.py"))
assert _spec is not None and _spec.loader is not None
builders: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(builders)
a_container = builders.a_container

COMPOSE = {"com.docker.compose.project": "My_Shop", "com.docker.compose.service": "web"}


def test_a_compose_container_is_known_by_project_and_service() -> None:
    found = reported(a_container("my_shop_web_1", COMPOSE), ipv6=False)
    assert (found.namespace, found.service_account, found.name) == ("my-shop", "web", "my-shop-web-1")
    assert found.selectors == ("docker:compose:project:My_Shop", "docker:compose:service:web")
    assert found.labels == {"app": "web"}
    assert found.hosts == ("web",)  # not the names of this one replica


def test_any_other_container_is_known_by_its_name() -> None:
    found = reported(a_container("web"), ipv6=True)
    assert (found.namespace, found.service_account) == ("default", "web")
    assert found.selectors == ("docker:container:web",)
    assert found.hosts == ("web", "web.shop")
    assert found.ipv6


def test_ports_are_those_of_the_label_or_what_is_exposed() -> None:
    assert reported(a_container(), ipv6=False).ports == (FoundPort(80, "TCP"),)
    labelled = a_container(labels={"pylis.io/ports": "http:8080, grpc:9000"})
    assert reported(labelled, ipv6=False).ports == (FoundPort(8080, "HTTP"), FoundPort(9000, "GRPC"))
    assert reported(a_container(labels={"pylis.io/ports": ""}), ipv6=False).ports == ()


def test_every_network_counts() -> None:
    networks = {
        "front": {"IPAddress": "172.19.0.7", "IPPrefixLen": 16, "Aliases": None},
        "back": {
            "IPAddress": "10.5.0.3",
            "IPPrefixLen": 24,
            "GlobalIPv6Address": "fd00::3",
            "GlobalIPv6PrefixLen": 64,
        },
    }
    found = reported(a_container(networks=networks), ipv6=True)
    assert found.addresses == ("10.5.0.3", "172.19.0.7", "fd00::3")
    assert found.networks == ("10.5.0.0/24", "172.19.0.0/16", "fd00::/64")


@pytest.mark.parametrize(
    ("changes", "labels", "words"),
    [
        ({"mode": "host"}, {}, "network namespace"),
        ({"mode": "container:abc"}, {}, "network namespace"),
        ({"networks": {}}, {}, "no network"),
        ({}, {"pylis.io/ports": "http"}, "pylis.io/ports"),
        ({}, {"pylis.io/ports": "quic:443"}, "quic:443"),
        ({}, {"pylis.io/labels": "tier"}, "key=value"),
        ({}, {"pylis.io/outbound": "ALLOW"}, "REGISTRY_ONLY"),
        ({}, {"pylis.io/mode": "audit"}, "observe"),
    ],
)
def test_what_cannot_be_meshed_is_refused_with_a_reason(
    changes: dict[str, Any], labels: dict[str, str], words: str
) -> None:
    why = unfit(a_container(labels=labels, **changes))
    assert why is not None
    assert words in why.reason


def test_a_fit_container_is_fit() -> None:
    assert unfit(a_container()) is None


def test_a_sidecar_is_no_app_whatever_its_labels() -> None:
    assert not is_app({"pylis.io/inject": "true", "pylis.io/sidecar-of": "x"}, "")
    assert not is_app({"pylis.io/inject": "false"}, "")


def test_an_agent_takes_the_containers_of_its_mesh_and_no_other() -> None:
    plain, named = {"pylis.io/inject": "true"}, {"pylis.io/inject": "true", "pylis.io/mesh": "shop"}
    assert [is_app(labels, "") for labels in (plain, named)] == [True, False]
    assert [is_app(labels, "shop") for labels in (plain, named)] == [False, True]
