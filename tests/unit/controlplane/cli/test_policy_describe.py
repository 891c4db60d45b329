import json
from pathlib import Path

from click.testing import CliRunner, Result

from controlplane.cli.policy import policy

MESH = """
trustDomain: shop.example
workloads:
  orders: {namespace: shop, command: [x], ports: {http: 8080}}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
  - to: [{operation: {methods: [GET]}}]
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(policy, ["describe", *map(str, arguments)])


def test_workloads_and_policies_alone(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "p.yaml").write_text(POLICY)
    result = run(tmp_path)
    assert result.exit_code == 0
    assert f"    anybody may GET  shop/orders[0]  {tmp_path}/p.yaml:7" in result.stdout
    (found,) = json.loads(run(tmp_path, "-o", "json").stdout)["workloads"]
    assert (found["name"], found["default"], found["rules"][0]["text"]) == (
        "orders",
        "deny",
        "anybody may GET",
    )
    alone = run(tmp_path / "p.yaml")
    assert alone.stdout == f"shop/orders[0]  ALLOW  anybody may GET  {tmp_path}/p.yaml:7\n"


def test_one_workload(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(MESH)
    assert run(tmp_path, "--workload", "shop/orders").stdout.startswith("shop/orders\n")
    result = run(tmp_path, "--workload", "nothing")
    assert result.exit_code == 2
    assert "known here: shop/orders" in result.stderr
