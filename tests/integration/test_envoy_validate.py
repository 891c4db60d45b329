"""What is compiled from the golden inputs, written out whole, passes `envoy --mode validate`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bench.one_envoy import ENVOY, identity, new_authority
from bench.static_config import static_resources
from controlplane.mesh.mesh import Mesh
from controlplane.mesh.planning import Planner
from controlplane.resources import kinds
from controlplane.resources.read import read_paths
from policies.workload import MeshSettings
from xds.compile import compile_plan

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.in.yaml"))


@pytest.mark.parametrize("source", GOLDEN, ids=lambda path: path.name)
def test_envoy_accepts_every_sidecars_configuration(source: Path, tmp_path: Path) -> None:
    documents, _ = read_paths([source])
    objects = [kinds.parse(document)[0] for document in documents]
    planner = Planner(Mesh.of(MeshSettings("example.org"), objects))
    who = identity(new_authority(), "spiffe://example.org/ns/shop/sa/any")
    assert planner.node_ids
    for node_id in planner.node_ids:
        if (plan := planner.plan(node_id)) is None:
            continue  # a workload without a sidecar
        config = tmp_path / f"{node_id.replace('/', '-')}.json"
        config.write_text(json.dumps({"static_resources": static_resources(compile_plan(plan), who)}))
        done = subprocess.run(
            [str(ENVOY), "--mode", "validate", "-c", str(config)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
