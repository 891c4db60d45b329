import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from controlplane.cli.policy import policy

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: catalog, namespace: shop}
spec:
  rules:
  - to: [{operation: {notPaths: [/admin]}}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "catalog.yaml").write_text(POLICY)
    return tmp_path / "catalog.yaml"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(policy, ["lint", *map(str, arguments)])


def test_findings_with_place_code_and_what_to_do(file: Path) -> None:
    result = run(file)
    assert result.exit_code == 1
    assert f"warning: {file}:7  shop/catalog spec.rules[0].to[0].operation.notPaths  PYL1311" in result.stdout
    assert result.stdout.endswith("1 warnings, 1 notes\n")


def test_what_makes_it_fail(file: Path) -> None:
    assert run(file, "--fail-on", "never").exit_code == 0
    assert run(file, "--fail-on", "error").exit_code == 0
    assert run(file, "--ignore", "PYL1311").exit_code == 0
    assert run(file, "--ignore", "PYL1311", "--fail-on", "note").exit_code == 1


def test_a_comment_suppresses(file: Path) -> None:
    file.write_text(POLICY.replace("[/admin]}}]", "[/admin]}}]  # pylis: ignore PYL1311,PYL1316"))
    result = run(file)
    assert (result.exit_code, result.stdout) == (0, "0 warnings, 0 notes\n")


def test_json_and_sarif(file: Path) -> None:
    found = json.loads(run(file, "-o", "json").stdout)["problems"]
    assert {(p["code"], p["line"], p["severity"]) for p in found} == {
        ("PYL1311", 7, "warning"),
        ("PYL1316", 7, "note"),
    }
    sarif = json.loads(run(file, "-o", "sarif").stdout)
    results = sarif["runs"][0]["results"]
    assert [r["ruleId"] for r in results] == ["PYL1311", "PYL1316"]
    place = results[0]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (str(file), 7)


def test_invalid_policies_are_not_linted(file: Path) -> None:
    file.write_text(POLICY.replace("notPaths", "notPath"))
    result = run(file)
    assert result.exit_code == 2
    assert "nothing was linted." in result.stderr
