"""The mesh of the load test is the one the goals are measured on: ten callers a service, ten services a caller."""

from __future__ import annotations

from controlplane.load.mesh import LoadMesh
from controlplane.mesh.live import Edit, LiveMesh
from controlplane.resources import kinds
from policies.document import Document
from policies.workload import MeshSettings

MESH = LoadMesh("example.org", services=20, replicas=3)


def an_edit(resource: dict[str, object]) -> Edit:
    value, problems = kinds.parse(Document(resource))  # type: ignore[arg-type]
    assert value is not None, problems
    metadata = resource["metadata"]
    assert isinstance(metadata, dict)
    return Edit((resource["kind"], metadata.get("namespace"), metadata["name"]), 0, value)


def a_live_mesh() -> LiveMesh:
    live = LiveMesh(MeshSettings("example.org"))
    live.apply(map(an_edit, [*MESH.resources(), MESH.mesh_wide("istio-system")]))
    return live


def test_every_sidecar_may_call_ten_services_and_is_who_it_says() -> None:
    live = a_live_mesh()
    nodes = dict(MESH.nodes())
    assert set(live.node_ids) == nodes.keys() and len(nodes) == 60
    for node, identity in nodes.items():
        plan = live.plan(node)
        assert plan is not None and len(plan.destinations) == 10 and len(plan.inbound) == 1
        assert str(live.identity(node)) == identity


def test_an_edit_of_one_policy_concerns_its_own_replicas() -> None:
    live = a_live_mesh()
    assert live.apply([an_edit(MESH.policy(7, "/other"))]).nodes == MESH.replicas_of(7)


def test_the_mesh_wide_policy_concerns_everybody_and_ballast_nobody() -> None:
    live = a_live_mesh()
    assert len(live.apply([an_edit(MESH.mesh_wide("istio-system", "/x"))]).nodes) == 60
    assert live.apply([an_edit(MESH.unrelated(3))]).nodes == frozenset()
