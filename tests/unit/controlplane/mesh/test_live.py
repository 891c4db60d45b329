"""Whom an edit concerns: exactly those. That many edits end right is in tests/property/test_live_mesh.py."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.mesh.live import Affected, Edit, LiveMesh
from controlplane.resources import kinds
from policies.document import Document
from policies.workload import MeshSettings


def an_edit(kind: str, name: str, spec: dict[str, Any], *, created: int = 0, **annotations: str) -> Edit:
    group = {"AuthorizationPolicy": "security.istio.io/v1", "WorkloadRegistration": "pylis.io/v1alpha1"}
    metadata = {"name": name, "namespace": "shop", "annotations": annotations}
    version = group.get(kind, "networking.istio.io/v1")
    document = Document({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})  # type: ignore[dict-item]
    value, problems = kinds.parse(document)
    assert value is not None, problems
    return Edit((kind, name), created, value)


def a_workload(name: str, app: str, address: str = "10.0.0.1") -> Edit:
    spec = {"address": address, "serviceAccount": app, "labels": {"app": app}}
    sidecar = '{"inbound": {"http": "127.0.0.1:1"}, "httpProxy": "127.0.0.1:2"}'
    return an_edit("WorkloadEntry", name, spec, **{"pylis.io/sidecar": sidecar})


def a_service(app: str) -> Edit:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    spec = {"hosts": [f"{app}.shop"], "ports": ports, "workloadSelector": {"labels": {"app": app}}}
    return an_edit("ServiceEntry", app, spec)


def a_policy(app: str, caller: str, path: str = "/") -> Edit:
    source = {"source": {"principals": [f"example.org/ns/shop/sa/{caller}"]}}
    rule = {"from": [source], "to": [{"operation": {"paths": [path]}}]}
    spec = {"selector": {"matchLabels": {"app": app}}, "rules": [rule]}
    return an_edit("AuthorizationPolicy", app, spec)


@pytest.fixture
def mesh() -> LiveMesh:
    """web calls orders, orders calls db; two replicas each."""
    live = LiveMesh(MeshSettings("example.org"))
    apps = ("web", "orders", "db")
    edits = [a_workload(f"{app}-{n}", app, f"10.0.0.{n}") for app in apps for n in (1, 2)]
    edits += [a_service(app) for app in apps]
    edits += [a_policy("orders", "web"), a_policy("db", "orders"), a_policy("web", "nobody")]
    assert len(live.apply(edits).nodes) == 6
    return live


def hosts(mesh: LiveMesh, node: str) -> list[str]:
    plan = mesh.plan(node)
    assert plan is not None
    return [d.host for d in plan.destinations]


def test_a_rule_that_changes_no_caller_concerns_the_selected_replicas_only(mesh: LiveMesh) -> None:
    assert mesh.apply([a_policy("db", "orders", "/rows")]).nodes == {"shop/db-1", "shop/db-2"}


def test_another_caller_concerns_the_callers_too(mesh: LiveMesh) -> None:
    assert hosts(mesh, "shop/web-1") == ["orders.shop"]
    affected = mesh.apply([a_policy("db", "web")])
    assert affected.nodes == {f"shop/{app}-{n}" for app in ("web", "orders", "db") for n in (1, 2)}
    assert hosts(mesh, "shop/web-1") == ["orders.shop", "db.shop"]
    assert hosts(mesh, "shop/orders-1") == []


def test_the_same_again_concerns_nobody(mesh: LiveMesh) -> None:
    assert mesh.apply([a_policy("db", "orders")]) == Affected()


def test_a_replica_that_comes_concerns_itself_and_its_callers(mesh: LiveMesh) -> None:
    affected = mesh.apply([a_workload("db-3", "db", "10.0.0.3")])
    assert affected.nodes == {"shop/db-3", "shop/orders-1", "shop/orders-2"}
    affected = mesh.apply([Edit(("WorkloadEntry", "db-3"), 0, None)])
    assert affected.nodes == {"shop/db-3", "shop/orders-1", "shop/orders-2"}
    assert mesh.identity("shop/db-3") is None and mesh.plan("shop/db-3") is None


def test_an_identity_that_comes_finds_what_it_may_call(mesh: LiveMesh) -> None:
    mesh.apply([a_policy("db", "batch")])
    mesh.apply([a_workload("batch-1", "batch")])
    assert hosts(mesh, "shop/batch-1") == ["db.shop"]


def test_a_registration_concerns_its_agents(mesh: LiveMesh) -> None:
    spec = {"serviceAccount": "web", "selectors": ["unix:uid:1"], "agents": ["one"]}
    registration = an_edit("WorkloadRegistration", "web", spec)
    assert mesh.apply([registration]) == Affected(agents=frozenset({"one"}))
    assert [r.name for r in mesh.registrations_of("one")] == ["shop/web"]
    assert mesh.registrations_of("two") == ()


def test_reading_everything_again_concerns_only_what_is_different(mesh: LiveMesh) -> None:
    apps = ("web", "orders")
    everything = [a_workload(f"{app}-{n}", app, f"10.0.0.{n}") for app in apps for n in (1, 2)]
    everything += [a_service(app) for app in apps]
    everything += [a_policy("orders", "web"), a_policy("web", "nobody")]
    affected = mesh.replace_all(everything)
    assert affected.nodes == {"shop/db-1", "shop/db-2", "shop/orders-1", "shop/orders-2"}
