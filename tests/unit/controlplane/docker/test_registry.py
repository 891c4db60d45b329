from __future__ import annotations

import json
from dataclasses import replace

from ca.node_report import FoundPort, FoundWorkload
from controlplane.docker.registry import registered
from controlplane.resources import kinds
from controlplane.resources.service_entry import ServiceEntry
from controlplane.resources.workload_entry import WorkloadEntry
from controlplane.resources.workload_registration import WorkloadRegistration
from policies.document import Document

WEB = FoundWorkload(
    "shop", "web", "web-1", ("web",), (FoundPort(80, "HTTP"),), {"app": "web"},
    ("docker:compose:project:shop", "docker:compose:service:web"), ("172.18.0.2", "10.5.0.2"),
    ("172.18.0.0/16", "10.5.0.0/24"),
)  # fmt: skip
TWIN = replace(WEB, name="web-2", addresses=("172.18.0.3",), hosts=("web", "www"))
GRANTED = frozenset({"shop"})


def test_replicas_are_one_service_and_one_registration() -> None:
    found = registered("docker", GRANTED, [WEB, TWIN], frozenset())
    assert not found.not_taken
    parsed = [kinds.parse(Document(body))[0] for body in found.objects.values()]
    [service] = [one for one in parsed if isinstance(one, ServiceEntry)]
    assert service.hosts == ("web.shop", "web", "www")
    [registration] = [one for one in parsed if isinstance(one, WorkloadRegistration)]
    assert registration.agents == {"docker"}
    entries = [one for one in parsed if isinstance(one, WorkloadEntry)]
    assert {one.name for one in entries} == {"web-1", "web-2"}
    assert all(service.selector.items() <= one.labels.items() for one in entries)
    taken = entries[0].sidecar.interception if entries[0].sidecar else None
    assert taken is not None
    assert taken.addresses == ("10.5.0.2",)


def test_a_stolen_agent_registers_in_its_namespaces_only() -> None:
    for namespace in ("pay", "istio-system"):
        found = registered("docker", GRANTED, [replace(WEB, namespace=namespace)], frozenset())
        assert not found.objects
        assert "may not register" in found.not_taken[0].reason
    assert not registered("docker", frozenset(), [WEB], frozenset()).objects


def test_an_operators_object_is_not_touched() -> None:
    taken = frozenset({("workloadentries.networking.istio.io", "shop", "web-1")})
    found = registered("docker", GRANTED, [WEB, TWIN], taken)
    assert {one.workload for one in found.not_taken} == {"shop/web-1"}
    assert ("workloadentries.networking.istio.io", "shop", "web-2") in found.objects


def test_what_the_api_would_refuse_is_not_taken() -> None:
    found = registered("docker", GRANTED, [replace(WEB, service_account="a/b")], frozenset())
    assert not found.objects
    assert found.not_taken


def test_everything_is_the_agents_own() -> None:
    for body in registered("docker", GRANTED, [WEB], frozenset()).objects.values():
        assert body["metadata"]["labels"] == {"pylis.io/agent": "docker"}


def test_what_serves_nothing_is_no_service() -> None:
    found = registered("docker", GRANTED, [replace(WEB, ports=())], frozenset())
    assert {name[0] for name in found.objects} == {
        "workloadentries.networking.istio.io",
        "workloadregistrations.pylis.io",
    }
    assert "interception" in json.dumps(list(found.objects.values()))
