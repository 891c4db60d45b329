"""Resources in, the configuration of every sidecar out: `*.in.yaml` → `*.out.yaml`; `make golden` rewrites."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from controlplane.mesh.mesh import Mesh
from controlplane.mesh.planning import Planner
from controlplane.resources import kinds
from controlplane.resources.read import read_paths
from policies.workload import MeshSettings
from xds import schema
from xds.compile import Compiler, clusters, compile_plan
from xds.snapshot import LISTENER

HERE = Path(__file__).parent


@pytest.mark.parametrize("source", sorted(HERE.glob("*.in.yaml")), ids=lambda p: p.name)
def test_compiles_to_what_is_written(source: Path, request: pytest.FixtureRequest) -> None:
    expected = source.with_name(source.name.replace(".in.", ".out."))
    plain = json.loads(
        json.dumps(_compile(source))
    )  # json_format makes ordered dicts, which YAML will not write
    compiled = yaml.safe_dump(plain, sort_keys=True, width=110)
    if request.config.getoption("--golden-rewrite", default=False):
        expected.write_text(compiled)
    assert compiled == expected.read_text()


def _compile(source: Path) -> dict[str, Any]:
    documents, unreadable = read_paths([source])
    assert not unreadable
    objects = [kinds.parse(document)[0] for document in documents]
    assert None not in objects
    planner = Planner(Mesh.of(MeshSettings("example.org"), objects))
    result: dict[str, Any] = {}
    for node_id in planner.node_ids:
        if (plan := planner.plan(node_id)) is None:
            continue  # a workload without a sidecar
        snapshot = compile_plan(plan)
        result[node_id] = {
            type_url.rpartition(".")[2]: {
                name: json_format.MessageToDict(
                    schema.decode(type_url.removeprefix(schema.TYPE_URL_PREFIX), resource.body),
                    preserving_proto_field_name=True,
                    descriptor_pool=schema.pool(),
                )
                for name, resource in names.items()
            }
            for type_url, names in snapshot.by_type.items()
        }
    return result


@pytest.mark.parametrize("source", sorted(HERE.glob("*.in.yaml")), ids=lambda p: p.name)
def test_what_is_remembered_is_what_would_be_compiled(source: Path) -> None:
    documents, _ = read_paths([source])
    mesh = Mesh.of(MeshSettings("example.org"), [kinds.parse(document)[0] for document in documents])
    compiler = Compiler()
    for _ in range(2):
        planner = Planner(mesh)
        plans = [plan for node in planner.node_ids if (plan := planner.plan(node)) is not None]
        assert [compiler.snapshot(plan) for plan in plans] == [compile_plan(plan) for plan in plans]
        for plan in (plan for plan in plans if plan.interception is None):
            listened = {
                f"inbound:{port.name}": schema.encode(clusters.address(port.listen)) for port in plan.inbound
            }
            for name, address in listened.items():
                body = compiler.snapshot(plan).resources(LISTENER)[name].body
                listener: Any = schema.decode("envoy.config.listener.v3.Listener", body)
                assert schema.encode(listener.address) == address
