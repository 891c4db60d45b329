from pathlib import Path

import pytest

from controlplane.cli.mesh_source import mesh_of, read_mesh, registry_of, settings_of
from controlplane.cli.output import Failure
from controlplane.mesh.targets import policies_of, targets_of
from controlplane.resources.read import read_paths
from policies.workload import PathNormalization

MESH = """
trustDomain: shop.example
policies: [policies]
workloads:
  orders: {namespace: shop, command: [x], ports: {http: 8080, tcp: 7000}}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec: {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "orders.yaml").write_text(POLICY)
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path


def test_a_mesh_file_brings_its_workloads_and_policies(folder: Path) -> None:
    mesh = read_mesh([str(folder / "mesh.yaml"), str(folder / "policies")])
    assert mesh.settings.trust_domain == "shop.example"
    assert [policy.full_name for policy in policies_of(mesh).authorization] == ["shop/orders"]
    assert [(t.workload.name, t.port, str(t.protocol)) for t in targets_of(mesh)] == [
        ("orders", 8080, "http"),
        ("orders", 7000, "tcp"),
    ]


def test_only_the_registry(folder: Path) -> None:
    documents, problems = registry_of([str(folder), str(folder / "policies")])
    assert not problems
    assert [document.kind for document in documents] == [""]
    mesh = mesh_of(*read_paths([folder / "mesh.yaml"]), with_policies=False)
    assert (len(mesh.policies), len(mesh.entries)) == (0, 1)


def test_settings_of_a_file(folder: Path) -> None:
    (folder / "config.yaml").write_text("trustDomain: td\npathNormalization: BASE\n")
    settings = settings_of(folder / "config.yaml")
    assert settings is not None
    assert (settings.trust_domain, settings.path_normalization) == ("td", PathNormalization.BASE)
    mesh = read_mesh([str(folder / "mesh.yaml")], mesh_config=folder / "config.yaml")
    assert mesh.settings == settings
    (folder / "config.yaml").write_text("trustDomian: td\n")
    with pytest.raises(Failure, match="PYL1002"):
        settings_of(folder / "config.yaml")
