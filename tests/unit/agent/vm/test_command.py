from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agent.vm.command import install, uninstall
from tests.unit.agent.vm.builders import TOKEN

OPTIONS = (
    "--workload",
    "shop/orders-1",
    "--address",
    "10.0.0.5",
    "--network",
    "10.0.0.0/24",
    "--user",
    "bin",
)


def run(tmp_path: Path, *more: str, ssh: str = "") -> Result:
    token = tmp_path / "token"
    token.write_text(TOKEN.encode())
    words = ["--token-file", str(token), "--envoy", str(fake_envoy(tmp_path)), *OPTIONS, *more]
    return CliRunner(env={"SSH_CONNECTION": ssh}).invoke(install, words)


def fake_envoy(directory: Path) -> Path:
    path = directory / "envoy"
    path.write_text("#!/bin/sh\necho 'envoy version: x/1.40.0/Clean'\n")
    path.chmod(0o755)
    return path


def test_a_dry_run_prints_everything_but_the_token(tmp_path: Path) -> None:
    result = run(tmp_path, "--port", "http:8080", "--dry-run")
    assert result.exit_code == 0
    for text in (
        "# /etc/pylis/trial.nft (mode 0644)",
        "redirect to :15006",
        "DynamicUser=yes",
        "WorkloadEntry",
    ):
        assert text in result.output
    assert TOKEN.encode() not in result.output


def test_below_another_root_files_are_written_and_taken_away_again(tmp_path: Path) -> None:
    root = tmp_path / "image"
    assert run(tmp_path, "--slice", "--root", str(root)).exit_code == 0
    secret = root / "etc/pylis/join-token"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "etc/pylis/trial.nft").stat().st_mode) == 0o644
    assert (root / "etc/systemd/system/pylis.slice").exists()
    confirmed = root / "etc/pylis/interception.nft"
    confirmed.write_text("what was confirmed")
    assert run(tmp_path, "--root", str(root)).exit_code == 0
    assert confirmed.read_text() == "what was confirmed"
    assert CliRunner().invoke(uninstall, ["--root", str(root)]).exit_code == 0
    assert [path for path in root.rglob("*") if not path.is_dir()] == []


def test_every_mistake_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    root = tmp_path / "image"
    result = run(tmp_path, "--root", str(root), "--port", "tcp:22", "--port", "http:15001", "--user", "root")
    assert result.exit_code == 2
    assert "3 problems; nothing was changed." in result.output
    assert "--port: 22 is ssh's" in result.output
    assert not root.exists()


@pytest.mark.parametrize("port", [2222, 22])
def test_the_port_of_the_ssh_session_is_left_out(tmp_path: Path, port: int) -> None:
    session = f"192.0.2.1 50000 10.0.0.5 {port}"
    assert run(tmp_path, "--port", f"tcp:{port}", "--dry-run", ssh=session).exit_code == 2
    elements = "{ 22 }" if port == 22 else "{ 22, 2222 }"
    result = run(tmp_path, "--dry-run", ssh=session)
    assert result.output.count(f"tcp dport {elements} return") == 4


def test_a_file_that_holds_no_token_is_told(tmp_path: Path) -> None:
    (tmp_path / "no").write_text("hello")
    result = CliRunner().invoke(install, ["--token-file", str(tmp_path / "no"), *OPTIONS])
    assert result.exit_code == 2
    assert "this is no join token" in result.output
