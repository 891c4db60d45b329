import json
from pathlib import Path

from click.testing import CliRunner

from controlplane.cli.schema import schema
from controlplane.resources.schema import names


def test_one_kind_by_any_case() -> None:
    result = CliRunner().invoke(schema, ["authorizationpolicy"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["title"] == "AuthorizationPolicy"


def test_unknown_kind() -> None:
    result = CliRunner().invoke(schema, ["Deployment"])
    assert result.exit_code == 2
    assert "known here: Namespace" in result.stderr


def test_attributes() -> None:
    result = CliRunner().invoke(schema, ["attributes"])
    assert "source.principal" in result.stdout
    listed = json.loads(CliRunner().invoke(schema, ["attributes", "-o", "json"]).stdout)["attributes"]
    assert {"attribute": "request.host", "transport": "http-only", "form": "text", "needsIdentity": False, "ignoresCase": True} in listed  # fmt: skip


def test_all_into_a_directory(tmp_path: Path) -> None:
    result = CliRunner().invoke(schema, ["--dir", str(tmp_path / "s")])
    assert result.exit_code == 0
    assert len(list((tmp_path / "s").glob("*.json"))) == len(names()) + 1
