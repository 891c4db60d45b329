import json
from pathlib import Path

from click.testing import CliRunner, Result

from controlplane.cli.validate import validate

TEXT = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pay, namespace: shop}
spec: {acton: DENY}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(validate, [str(argument) for argument in arguments])


def test_json_lists_every_document(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT)
    result = run(tmp_path, "-o", "json")
    assert result.exit_code == 2
    first, second = json.loads(result.stdout)["results"]
    assert (first["name"], first["valid"], first["problems"]) == ("orders", True, [])
    assert (second["problems"][0]["code"], second["problems"][0]["line"]) == ("PYL1002", 10)


def test_text_ends_with_the_counts(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(TEXT.replace("acton: DENY", ""))
    result = run(tmp_path / "a.yaml")
    assert (result.exit_code, result.stdout) == (0, "2 valid, 0 invalid\n")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = run(tmp_path / "none.yaml", "-o", "json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["results"][0]["problems"][0]["code"] == "PYL1008"
