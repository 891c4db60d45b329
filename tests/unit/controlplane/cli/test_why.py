import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controlplane.cli.access_log import deciding, find
from controlplane.cli.why import why

ID = "5b29dd20-600e-4a4e-8da3-a3fa6369bf98"
INBOUND = {
    "details": "rbac_access_denied_matched_policy[shop/orders[0]]", "direction": "inbound", "event": "request", "flags": "-",
    "host": "orders.shop:8080", "method": "GET", "ms": 0, "path": "/admin", "peer": "spiffe://shop.example/ns/shop/sa/frontend",
    "port": "8080", "protocol": "HTTP/1.1", "remote": "127.0.0.1:1", "requestId": ID, "rule": "shop/no-admin[0]", "status": 403,
    "time": "2026-11-26T03:09:21.550Z",
}  # fmt: skip
OUTBOUND = {
    "details": "via_upstream", "direction": "outbound", "event": "request", "host": "orders.shop:8080", "method": "GET", "ms": 7,
    "path": "/admin", "port": "46429", "requestId": ID, "status": 403, "time": "2026-11-26T03:09:21.547Z",
}  # fmt: skip
MESH = """
trustDomain: shop.example
workloads:
  orders: {namespace: shop, command: [x], ports: {http: 8080}}
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    logs = {"shop/frontend": OUTBOUND, "shop/orders": INBOUND}
    workloads = {}
    for name, line in logs.items():
        file = tmp_path / f"{name.replace('/', '-')}.access.log"
        file.write_text(f"not json {ID}\n{json.dumps(line)}\n")
        workloads[name] = {"accessLog": str(file)}
    (tmp_path / "mesh.json").write_text(json.dumps({"workloads": workloads}))
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path


def run(state: Path, *arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(why, [*arguments, "--state-dir", str(state)], input=stdin)


def test_the_rule_the_caller_and_the_way(state: Path) -> None:
    result = run(state, ID[:8])
    assert result.exit_code == 0
    assert result.stdout.startswith("DENY 403  GET /admin → orders.shop:8080\n")
    assert "rule  shop/no-admin[0]" in result.stdout
    assert "from  spiffe://shop.example/ns/shop/sa/frontend" in result.stdout
    assert (
        "pylis explain spiffe://shop.example/ns/shop/sa/frontend shop/orders --port 8080 --method GET --path /admin"
        in result.stdout
    )


def test_json_with_an_explanation_by_files(state: Path) -> None:
    result = run(state, ID, "-f", str(state / "mesh.yaml"), "-o", "json")
    answer = json.loads(result.stdout)
    assert (answer["decision"]["allowed"], answer["decision"]["rule"]) == (False, "shop/no-admin[0]")
    assert [line["direction"] for line in answer["lines"]] == ["outbound", "inbound"]
    assert answer["explanation"]["request"]["path"] == "/admin"


def test_a_log_on_standard_input(state: Path) -> None:
    result = run(state, ID, "--log", "-", stdin=f"sidecar | {json.dumps(INBOUND)}\n")
    assert "rule  shop/no-admin[0]" in result.stdout


def test_a_request_that_no_log_has(state: Path) -> None:
    result = run(state, "00000000-0000")
    assert result.exit_code == 1
    assert "--access-log all" in result.stderr
    assert run(state, "5b").exit_code == 2
    assert run(state / "none", ID).exit_code == 2


def test_a_403_of_the_application_was_allowed() -> None:
    line = json.dumps({**INBOUND, "details": "via_upstream", "rule": "shop/orders[0]"})
    decided = deciding(find(ID, "shop/orders", [line, json.dumps(OUTBOUND)]))
    assert decided is not None
    assert (decided.inbound, decided.allowed) == (True, True)
