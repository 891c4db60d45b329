import json
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controlplane.cli.policy import policy

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: catalog, namespace: shop}
spec:
  selector: {matchLabels: {app: catalog}}
  rules:
  - from: [{source: {serviceAccounts: [frontend]}}]
    to: [{operation: {methods: [GET]}}]
"""
MESH = """
trustDomain: shop.example
policies: [policies]
workloads:
  catalog: {namespace: shop, command: [x], ports: {http: 8080}}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(policy, ["diff", *map(str, arguments)])


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    (old / "catalog.yaml").write_text(POLICY)
    (new / "catalog.yaml").write_text(POLICY.replace("[GET]", "[GET, PUT]"))
    return old, new


def test_a_grant_with_its_rule_and_place(sides: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(MESH)
    result = run(*sides, "-f", tmp_path / "mesh.yaml")
    assert result.exit_code == 0
    head, line = result.stdout.splitlines()
    assert head == "more permissive (1 grant, 0 revocations), 2 policies read"
    assert "+ …/ns/shop/sa/frontend  → catalog.shop:8080  PUT /" in line
    assert f"default-deny → shop/catalog[0] {sides[1]}/catalog.yaml:8" in line


def test_exit_code_and_json(sides: tuple[Path, Path]) -> None:
    old, new = sides
    assert run(old, old, "--exit-code").exit_code == 0
    result = run(new, old, "--exit-code", "-o", "json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["relation"], answer["grants"], answer["revocations"]) == ("less permissive", 0, 1)
    (change,) = answer["changes"]
    assert change["witness"]["method"] == "PUT"
    assert (change["before"]["allowed"], change["after"]["allowed"]) == (True, False)


def test_two_git_revisions(sides: tuple[Path, Path], tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=sides[0], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-qm", "one")
    (sides[0] / "catalog.yaml").write_text((sides[1] / "catalog.yaml").read_text())
    git("commit", "-qam", "two")
    with chdir(sides[0]):
        result = run("HEAD~1..HEAD")
        assert "more permissive (1 grant" in result.stdout
        assert "catalog.yaml:8" in result.stdout
        assert run("nothing..HEAD").exit_code == 2


def test_bad_usage(sides: tuple[Path, Path]) -> None:
    assert run(sides[0]).exit_code == 2
    (sides[1] / "catalog.yaml").write_text(POLICY.replace("rules", "rulez"))
    result = run(*sides)
    assert result.exit_code == 2
    assert "nothing was compared." in result.stderr
