"""kubectl against a running server. Without kubectl the omission is named in the run's last lines."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

KUBECTL = shutil.which("kubectl")
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: default}
spec: {rules: [{to: [{operation: {methods: [GET]}}]}]}
"""

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(KUBECTL is None, reason="no kubectl on this machine: the API was not tried with it"),
]


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[list[str]]:
    arguments = ["server", "--data-dir", str(tmp_path / "d"), "--api", "127.0.0.1:0", "--xds", "127.0.0.1:0"]
    server = subprocess.Popen(
        [sys.executable, "-m", "controlplane.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith(b"ready")
        cache = f"--cache-dir={tmp_path / 'cache'}"
        yield [str(KUBECTL), "--kubeconfig", str(tmp_path / "d" / "kubeconfig"), cache]
    finally:
        server.terminate()
        server.communicate(timeout=20)


def _run(kubectl: list[str], *arguments: str, text: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [*kubectl, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_life_of_a_policy(kubectl: list[str]) -> None:
    assert _run(kubectl, "apply", "-f", "-", text=POLICY) == (
        0,
        "authorizationpolicy.security.istio.io/orders created\n",
    )
    assert "unchanged" in _run(kubectl, "apply", "-f", "-", text=POLICY)[1]
    changed = POLICY.replace("GET", "POST")
    code, difference = _run(kubectl, "diff", "-f", "-", text=changed)
    assert code == 1
    assert "-        - GET" in difference
    assert "configured" in _run(kubectl, "apply", "-f", "-", text=changed)[1]
    assert "POST" in _run(kubectl, "get", "ap", "orders", "-o", "yaml")[1]
    assert "orders" in _run(kubectl, "get", "authorizationpolicies", "-A")[1]
    assert (
        "patched"
        in _run(kubectl, "patch", "ap", "orders", "--type=merge", "-p", '{"spec":{"action":"DENY"}}')[1]
    )
    assert "DENY" in _run(kubectl, "get", "ap")[1]
    assert "labeled" in _run(kubectl, "label", "ap", "orders", "team=a")[1]
    assert "orders" in _run(kubectl, "get", "ap", "-l", "team=a", "-o", "name")[1]
    assert _run(kubectl, "delete", "ap", "orders")[0] == 0
    assert "NotFound" in _run(kubectl, "get", "ap", "orders")[1]


def test_a_mistake_is_refused_with_its_field(kubectl: list[str]) -> None:
    code, text = _run(kubectl, "apply", "-f", "-", text=POLICY.replace("methods", "method"))
    assert code == 1
    assert 'unknown field "spec.rules[0].to[0].operation.method"' in text
    code, text = _run(kubectl, "apply", "-f", "-", text=POLICY.replace("spec: {", "spec: {action: AUDIT, "))
    assert code == 1
    assert "not supported by this version" in text


def test_discovery_and_explain(kubectl: list[str]) -> None:
    assert "authorizationpolicies" in _run(kubectl, "api-resources")[1]
    assert "Who may send which requests" in _run(kubectl, "explain", "ap")[1]
