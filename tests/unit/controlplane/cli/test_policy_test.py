import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from controlplane.cli.policy import policy

TEST = """
apiVersion: pylis.io/v1alpha1
kind: PolicyTest
metadata: {name: orders}
spec:
  resourceFiles: [policies/*.yaml]
  workloads: [{name: orders, namespace: shop}]
  requests:
  - {id: get, to: {workload: orders, namespace: shop, port: 80}, method: GET, expect: allow}
  - {id: put, to: {workload: orders, namespace: shop, port: 80}, method: PUT, expect: EXPECT}
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  rules:
  - to: [{operation: {methods: [GET]}}]
"""


def run(folder: Path, *arguments: str, expect: str = "deny", policy_text: str = POLICY) -> Result:
    (folder / "policies").mkdir()
    (folder / "policies" / "orders.yaml").write_text(policy_text)
    (folder / "test.yaml").write_text(TEST.replace("EXPECT", expect))
    return CliRunner().invoke(policy, ["test", str(folder / "test.yaml"), *arguments])


def test_all_held(tmp_path: Path) -> None:
    result = run(tmp_path, "-o", "json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert (answer["passed"], answer["failed"]) == (2, 0)
    assert answer["results"][0] == {
        "test": "orders", "id": "get", "expect": "allow", "actual": "allow", "status": 200,
        "rule": "shop/orders[0]", "ok": True,
    }  # fmt: skip


def test_one_did_not_hold(tmp_path: Path) -> None:
    result = run(tmp_path, expect="allow")
    assert result.exit_code == 1
    assert "default-deny (403)" in result.stdout
    assert result.stdout.endswith("1 passed, 1 failed\n")


def test_every_problem_is_told_with_its_place(tmp_path: Path) -> None:
    result = run(tmp_path, expect="perhaps", policy_text=POLICY.replace("methods", "method"))
    assert result.exit_code == 2
    assert "2 problems in 2 files; nothing was tested." in result.stderr
    assert "orders.yaml:7  spec.rules[0].to[0].operation.method  PYL1002" in result.stderr
    assert (
        'test.yaml:10  spec.requests[1].expect  PYL1004  "perhaps" is not one of allow, deny' in result.stderr
    )


def test_a_pattern_that_finds_nothing_and_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEST.replace("EXPECT", "deny"))
    (tmp_path / "b.yaml").write_text("")
    result = CliRunner().invoke(policy, ["test", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])
    assert result.exit_code == 2
    assert "PYL1021  no file is policies/*.yaml" in result.stderr
    assert "PYL1003  holds no document" in result.stderr


def test_no_file_is_bad_usage() -> None:
    assert CliRunner().invoke(policy, ["test"]).exit_code == 2


def test_junit_and_coverage(tmp_path: Path) -> None:
    result = run(tmp_path, "-o", "junit")
    assert result.exit_code == 0
    assert '<testsuite name="orders" tests="2" failures="0">' in result.stdout
    again = CliRunner().invoke(policy, ["test", str(tmp_path / "test.yaml"), "--coverage"])
    assert again.stdout == "1 of 1 rules decided a request\n2 passed, 0 failed\n"


def test_watch_runs_again_when_a_resource_changes(tmp_path: Path) -> None:
    run(tmp_path)
    command = [
        sys.executable,
        "-m",
        "controlplane.cli",
        "policy",
        "test",
        str(tmp_path / "test.yaml"),
        "--watch",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "2 passed, 0 failed\n"
        assert child.stderr.readline() == "watching; Ctrl-C ends.\n"
        (tmp_path / "policies" / "orders.yaml").write_text(POLICY.replace("GET", "HEAD, GET, PUT"))
        assert child.stdout.readline().startswith("TEST")
        child.terminate()
