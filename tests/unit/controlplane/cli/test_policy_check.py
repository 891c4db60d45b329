import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from controlplane.cli.policy import policy

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
  selector: {matchLabels: {app: orders}}
  rules:
  - from: [{source: {namespaces: [shop]}}]
    to: [{operation: {paths: ["/orders*"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-writes, namespace: shop}
spec:
  action: DENY
  rules:
  - to: [{operation: {methods: [PUT]}}]
"""


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "orders.yaml").write_text(POLICY)
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path / "mesh.yaml"


def run(verb: str, mesh: Path, *arguments: str) -> Result:
    return CliRunner().invoke(policy, [verb, *arguments, "-f", str(mesh)])


def test_verdict_rule_and_place_in_one_line(mesh: Path) -> None:
    result = run("check", mesh, "frontend", "orders", "--path", "/orders/7")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"ALLOW  shop/orders[0]  {mesh.parent}/policies/orders.yaml:8  (")
    result = run("check", mesh, "intruder", "orders")
    assert (result.exit_code, result.stdout[:18]) == (1, "DENY  default-deny")


def test_json(mesh: Path) -> None:
    result = run("check", mesh, "frontend", "orders", "--method", "PUT", "-o", "json")
    answer = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (answer["allowed"], answer["rule"], answer["status"], answer["line"]) == (
        False,
        "shop/no-writes[0]",
        403,
        17,
    )


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_is_suggested_makes_it_allowed(mesh: Path, method: str) -> None:
    asked = ("intruder", "orders", "--method", method, "--path", "/orders/7")
    assert run("check", mesh, *asked).exit_code == 1
    result = run("suggest", mesh, *asked)
    assert result.exit_code == 0
    names = {document["metadata"]["name"] for document in yaml.safe_load_all(result.stdout)}
    assert "orders-allow-intruder" in names
    file = mesh.parent / "policies" / "orders.yaml"
    kept = [d for d in yaml.safe_load_all(POLICY) if d["metadata"]["name"] not in names]
    file.write_text(f"{yaml.safe_dump_all(kept)}---\n{result.stdout}")
    assert run("check", mesh, *asked).exit_code == 0
    assert (
        run("check", mesh, "intruder", "orders", "--method", "DELETE", "--path", "/orders/7").exit_code == 1
    )


def test_a_path_that_ends_with_a_wildcard_is_the_rule_s(mesh: Path) -> None:
    result = run("suggest", mesh, "intruder", "orders", "--path", "/orders/*", "-o", "json")
    rule = json.loads(result.stdout)["spec"]["rules"][0]
    assert rule["to"][0]["operation"]["paths"] == ["/orders/*"]


def test_nothing_to_suggest(mesh: Path) -> None:
    result = run("suggest", mesh, "frontend", "orders", "--path", "/orders")
    assert (result.exit_code, result.stderr) == (1, "nothing to write: it is allowed already.\n")
    result = run("suggest", mesh, "plaintext", "orders")
    assert result.exit_code == 1
    assert "mTLS is STRICT" in result.stderr


def test_claims_and_authorizers_are_read(mesh: Path) -> None:
    assert run("check", mesh, "frontend", "orders", "--claims", "[]").exit_code == 2
    assert run("check", mesh, "frontend", "orders", "--claims", "{").exit_code == 2
    assert run("check", mesh, "frontend", "orders", "--authorizer", "x").exit_code == 2
    result = run(
        "check",
        mesh,
        "frontend",
        "orders",
        "--path",
        "/orders",
        "--claims",
        '{"iss": "i"}',
        "--authorizer",
        "x=allow",
    )
    assert result.exit_code == 0
