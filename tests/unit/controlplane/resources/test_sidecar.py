from __future__ import annotations

from typing import Any

import pytest

from controlplane.resources import sidecar
from controlplane.resources.sidecar import Egress, Sidecar, admits, sidecar_of
from policies import codes
from policies.document import Document


def read(spec: dict[str, Any]) -> tuple[Sidecar | None, list[tuple[str, str]]]:
    document = Document(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "Sidecar",
            "metadata": {"name": "narrow", "namespace": "shop"},
            "spec": spec,
        }
    )
    found, problems = sidecar.parse(document)
    return found, [(problem.path, problem.code) for problem in problems]


def test_egress_of_all_listeners_is_one_list() -> None:
    found, problems = read(
        {
            "workloadSelector": {"labels": {"app": "web"}},
            "egress": [{"hosts": ["./*", "*/a.shop"]}, {"hosts": ["ops/*.ops"]}],
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        }
    )
    egress = (Egress(".", "*"), Egress("*", "a.shop"), Egress("ops", "*.ops"))
    assert (found, problems) == (Sidecar("shop", "narrow", {"app": "web"}, egress, closed=True), [])


@pytest.mark.parametrize(
    ("hosts", "admitted"),
    [
        (None, {"shop/a.shop", "ops/a.ops"}),
        ([Egress("*", "*")], {"shop/a.shop", "ops/a.ops"}),
        ([Egress(".", "*")], {"shop/a.shop"}),
        ([Egress("ops", "*")], {"ops/a.ops"}),
        ([Egress("*", "*.ops")], {"ops/a.ops"}),
        ([Egress("ops", "a.shop")], set[str]()),
        ([Egress("~", "*")], set[str]()),
    ],
)
def test_a_host_is_admitted_by_namespace_and_name(hosts: list[Egress] | None, admitted: set[str]) -> None:
    egress = None if hosts is None else tuple(hosts)
    everything = [("shop", "a.shop"), ("ops", "a.ops")]
    found = {f"{ns}/{host}" for ns, host in everything if admits(egress, "shop", ns, host)}
    assert found == admitted


def test_the_nearest_sidecar_holds() -> None:
    mesh, old = Sidecar("root", "mesh"), Sidecar("shop", "old")
    young, web = Sidecar("shop", "young"), Sidecar("shop", "web", {"app": "web"})
    stray = Sidecar("root", "stray", {"app": "web"})
    other = Sidecar("ops", "other")
    everything = [stray, mesh, other, old, young, web]
    assert sidecar_of(everything, "shop", {"app": "web"}, "root") is web
    assert sidecar_of(everything, "shop", {"app": "db"}, "root") is old
    assert sidecar_of(everything, "infra", {"app": "web"}, "root") is mesh
    assert sidecar_of([other, stray], "shop", {"app": "web"}, "root") is None


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"ingress": []}, "spec.ingress"),
        ({"inboundConnectionPool": {}}, "spec.inboundConnectionPool"),
        ({"egress": []}, "spec.egress"),
        ({"egress": [{"hosts": []}]}, "spec.egress[0].hosts"),
        ({"egress": [{"hosts": ["a.shop"]}]}, "spec.egress[0].hosts[0]"),
        ({"egress": [{"hosts": ["Shop/a"]}]}, "spec.egress[0].hosts[0]"),
        ({"egress": [{"hosts": ["./*"], "port": {"number": 80}}]}, "spec.egress[0].port"),
        ({"egress": [{"hosts": ["./*"], "captureMode": "NONE"}]}, "spec.egress[0].captureMode"),
        ({"workloadSelector": {}}, "spec.workloadSelector.labels"),
        ({"outboundTrafficPolicy": {"egressProxy": {}}}, "spec.outboundTrafficPolicy.egressProxy"),
    ],
)
def test_what_would_not_be_followed_is_refused_where_it_stands(spec: dict[str, Any], path: str) -> None:
    found, problems = read(spec)
    assert found is None
    assert path in [where for where, _ in problems]


def test_allow_any_is_taken_and_said_to_open_nothing() -> None:
    found, problems = read({"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}})
    assert found == Sidecar("shop", "narrow")
    assert problems == [("spec.outboundTrafficPolicy.mode", codes.NARROWS_ONLY)]
