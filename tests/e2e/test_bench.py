"""`pylis bench xds` against a real server process: the figures are there, and say that nothing went wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PYLIS = [sys.executable, "-m", "controlplane.cli"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    arguments = ["server", "--data-dir", str(tmp_path), "--api", "127.0.0.1:0", "--xds", "127.0.0.1:0"]
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen([*PYLIS, *arguments], stdout=subprocess.PIPE, stderr=log)
    assert child.stdout is not None and child.stdout.readline().startswith(b"ready")
    yield child
    child.terminate()
    child.wait(20)
    child.stdout.close()


def test_simulated_sidecars_are_told_what_concerns_them(
    server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    kubeconfig = str(tmp_path / "kubeconfig")
    wanted = ["--sidecars", "24", "--replicas", "2", "--edits", "3", "--mesh-edits", "1", "--policies", "5"]
    found = subprocess.run(
        [*PYLIS, "bench", "xds", "--kubeconfig", kubeconfig, "--server-pid", str(server.pid), *wanted],
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr.decode()
    figures = json.loads(found.stdout)
    assert figures["coldStart"]["complete"] and figures["coldStart"]["refused"] == 0
    assert (figures["edit"]["n"], figures["edit"]["sidecars"]) == (3, [2])
    assert figures["meshWideEdit"]["sidecars"] == [24]
    assert (figures["reconnect"]["resources"], figures["reconnect"]["changed"]) == (0, 0)
    assert figures["coldStart"]["serverCpuSeconds"] > 0
