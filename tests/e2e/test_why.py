"""The decision behind a request that a real sidecar refused, by its id; and what `suggest` writes lets it through."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from demo.client import Http
from demo.mesh import DemoMesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    with DemoMesh(tmp_path_factory.mktemp("mesh") / "state", quiet=True) as running:
        yield running


def pylis(mesh: DemoMesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli", *arguments],
        cwd=mesh.kubeconfig.parent, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def why(mesh: DemoMesh, request_id: str) -> dict[str, object]:
    """Sidecars write their logs a moment after the answer."""
    began = time.monotonic()
    while True:
        done = pylis(
            mesh, "why", request_id, "--state-dir", str(mesh.kubeconfig.parent), "--kubeconfig", str(mesh.kubeconfig), "-o", "json"
        )  # fmt: skip
        if done.returncode == 0:
            found = json.loads(done.stdout)
            if found["decision"]["direction"] == "inbound":
                return found
        assert time.monotonic() - began < 30, done.stderr
        time.sleep(0.2)


def test_a_refused_request_is_explained_by_its_id(mesh: DemoMesh) -> None:
    frontend = Http(mesh.workload("shop/frontend")["httpProxy"], "catalog.shop:8080", proxy=True)
    outcome = frontend.send("GET", "/admin/x")
    frontend.close()
    assert outcome.status == 403
    found = why(mesh, outcome.request_id)
    decision = found["decision"]
    assert isinstance(decision, dict)
    assert (decision["allowed"], decision["rule"]) == (False, "shop/no-admin[0]")
    explanation = found["explanation"]
    assert isinstance(explanation, dict)
    assert explanation["rule"] == "shop/no-admin[0]"


def test_a_rule_that_was_suggested_is_enforced(mesh: DemoMesh) -> None:
    frontend = Http(mesh.workload("shop/frontend")["httpProxy"], "catalog.shop:8080", proxy=True)
    assert frontend.send("DELETE", "/items/7").status == 403
    asked = ("frontend", "catalog", "--method", "DELETE", "--path", "/items/7")
    written = pylis(mesh, "policy", "suggest", *asked, "--kubeconfig", str(mesh.kubeconfig))
    assert written.returncode == 0, written.stderr
    file = mesh.kubeconfig.parent / "suggested.yaml"
    file.write_text(written.stdout)
    applied = pylis(mesh, "apply", "-f", str(file), "--kubeconfig", str(mesh.kubeconfig))
    assert applied.returncode == 0, applied.stderr
    began = time.monotonic()
    while frontend.send("DELETE", "/items/7").status == 403:
        assert time.monotonic() - began < 30
    assert frontend.send("DELETE", "/items/8").status == 403
    frontend.close()
