"""`pylis doctor` as a process: where nothing is, and where an engine does not answer as it should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[4]


def doctor(home: Path, path: str = "/nonexistent") -> tuple[int, dict[str, dict[str, Any]]]:
    env = {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli", "doctor", "-o", "json"], capture_output=True, text=True, check=False,
        cwd=home, env=env, timeout=60,
    )  # fmt: skip
    found = json.loads(done.stdout)["findings"]
    assert all(one["next"] for one in found if one["level"] != "ok")
    return done.returncode, {one["what"]: one for one in found}


def a_docker(directory: Path, script: str) -> str:
    """A `docker` of our own on PATH."""
    program = directory / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(directory)


def test_a_laptop_with_nothing_is_warned_and_not_failed(tmp_path: Path) -> None:
    code, found = doctor(tmp_path)
    assert code == 0
    assert found["control plane"]["level"] == "warning"
    assert found["engine"]["level"] == "warning"
    assert "interception" not in found  # pylis agent install never ran here


def test_an_engine_that_does_not_answer_has_failed(tmp_path: Path) -> None:
    code, found = doctor(tmp_path, a_docker(tmp_path, "exit 1"))
    assert code == 1
    assert "systemctl start docker" in found["engine"]["next"]


def test_an_engine_whose_clock_is_off_is_found(tmp_path: Path) -> None:
    script = 'case "$1" in version) echo 20.10;; info) echo 2020-01-01T00:00:00.123456789Z;; esac'
    code, found = doctor(tmp_path, a_docker(tmp_path, script))
    assert code == 1
    assert found["engine"]["text"] == "version 20.10"
    [clock] = [one for what, one in found.items() if what.startswith("clock of the engine")]
    assert "slow" in clock["text"]
    assert found["compose"]["level"] == "warning"


def test_a_mesh_that_is_configured_and_not_there_has_failed(tmp_path: Path) -> None:
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "x", "user": {"token": "t"}}],
    }  # fmt: skip
    (tmp_path / ".pylis").mkdir()
    (tmp_path / ".pylis" / "kubeconfig").write_text(json.dumps(config))
    code, found = doctor(tmp_path)
    assert code == 1
    assert found["control plane"]["level"] == "failed"
