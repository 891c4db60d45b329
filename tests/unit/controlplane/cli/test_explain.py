import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controlplane.cli.explain import explain

MESH = """
trustDomain: shop.example
policies: [policies]
workloads:
  orders: {namespace: shop, command: [x], ports: {http: 8080}}
  frontend: {namespace: shop, command: [x], ports: {http: 8081}}
  intruder: {namespace: other, command: [x], ports: {tcp: 8082}}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
  - from: [{source: {namespaces: [shop]}}]
  - from: [{source: {namespaces: [other]}}]
    to: [{operation: {paths: [/health]}}]
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "orders.yaml").write_text(POLICY)
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path / "mesh.yaml"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(explain, [str(argument) for argument in arguments])


def test_allowed(mesh: Path) -> None:
    result = run("frontend", "orders", "-f", mesh)
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "ALLOW  frontend (spiffe://shop.example/ns/shop/sa/frontend) → orders.shop:8080 GET /\n"
    )


def test_denied_with_the_nearest_rule_and_its_line(mesh: Path) -> None:
    result = run("intruder", "shop/orders", "--path", "/orders/7", "-f", mesh)
    assert result.exit_code == 1
    assert "matched namespace; path: wants /health, is /orders/7" in result.stdout
    assert "orders.yaml:9   ← nearest" in result.stdout


def test_json_is_whole(mesh: Path) -> None:
    result = run("intruder", "orders.shop", "--header", "X-A=1", "-f", mesh, "-o", "json")
    answer = json.loads(result.stdout)
    assert (answer["allowed"], answer["rule"], answer["status"]) == (False, "default-deny", 403)
    assert answer["from"]["principal"] == "shop.example/ns/other/sa/intruder"
    assert answer["request"]["headers"] == {"x-a": "1"}
    assert [clause["nearest"] for clause in answer["clauses"]] == [False, True]
    assert answer["clauses"][1]["conditions"][1]["values"] == ["/health"]
    assert answer["suggestions"]


def test_plaintext_to_a_strict_mesh(mesh: Path) -> None:
    result = run("plaintext", "orders", "-f", mesh)
    assert result.exit_code == 1
    assert "mTLS mode of the port: STRICT (the mesh's default)" in result.stdout


def test_a_caller_that_is_only_an_identity(mesh: Path) -> None:
    result = run("spiffe://shop.example/ns/shop/sa/any", "orders", "-f", mesh)
    assert result.exit_code == 0


def test_tcp(mesh: Path) -> None:
    result = run("frontend", "intruder", "-f", mesh, "-o", "json")
    assert json.loads(result.stdout)["request"] == {"port": 8082, "protocol": "tcp"}


def test_unknown_names(mesh: Path) -> None:
    result = run("nobody", "orders", "-f", mesh)
    assert result.exit_code == 2
    assert "known here: other/intruder, shop/frontend, shop/orders" in result.stderr
    assert run("frontend", "orders", "--source-ip", "x", "-f", mesh).exit_code == 2
    assert run("frontend", "orders", "--header", "x", "-f", mesh).exit_code == 2


def test_problems_of_the_files_are_told(mesh: Path) -> None:
    (mesh.parent / "policies" / "orders.yaml").write_text(POLICY.replace("rules", "rulez"))
    result = run("frontend", "orders", "-f", mesh)
    assert result.exit_code == 2
    assert "PYL1002" in result.stderr
