"""A running server: settings from a file, and the keys of an issuer that a policy names are fetched."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controlplane.cli.client import connect

SETTINGS = """
trustDomainAliases: [old.example]
explainDenials: true
extensionProviders:
- name: guard
  envoyExtAuthzGrpc: {service: guard.shop, port: 8000}
"""


def server(directory: Path, settings: str) -> subprocess.Popen[str]:
    (directory / "mesh.yaml").write_text(settings)
    return subprocess.Popen(
        [
            sys.executable, "-m", "controlplane.cli", "server", "--data-dir", str(directory / "d"), "--store", "memory://",
            "--api", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--mesh-config", str(directory / "mesh.yaml"),
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def issuer() -> Iterator[tuple[str, threading.Event]]:
    asked = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            asked.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}/keys", asked
        http.shutdown()


def test_every_problem_of_the_settings_is_told(tmp_path: Path) -> None:
    process = server(tmp_path, "pathNormalisation: BASE\nextensionProviders:\n- name: x\n")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "mesh.yaml:1  pathNormalisation  PYL1002" in told
    assert "mesh.yaml:3  extensionProviders[0]  PYL1003" in told


def test_keys_are_fetched_when_a_policy_names_their_place(
    tmp_path: Path, issuer: tuple[str, threading.Event]
) -> None:
    url, asked = issuer
    process = server(tmp_path, SETTINGS)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready")
        client = connect(tmp_path / "d" / "kubeconfig")
        policy = {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "jwt", "namespace": "default"},
            "spec": {"jwtRules": [{"issuer": "me", "jwksUri": url}]},
        }
        client.request("POST", "/apis/security.istio.io/v1/namespaces/default/requestauthentications", policy)
        assert asked.wait(30)
    finally:
        process.terminate()
        process.communicate(timeout=30)
