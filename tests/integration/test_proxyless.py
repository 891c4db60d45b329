"""Stock grpcio without a sidecar: the same AuthorizationPolicy is enforced, and what gRPC cannot enforce is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.client import Client, RefusedError, connect

HERE = Path(__file__).parent / "proxyless"
PYLIS = [sys.executable, "-m", "controlplane.cli"]
POLICIES = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def a_policy(path: str, **when: Any) -> dict[str, Any]:
    source = {"source": {"principals": ["cluster.local/ns/shop/sa/client"]}}
    rule = {"from": [source], "to": [{"operation": {"paths": [path]}}], **when}
    spec = {"selector": {"matchLabels": {"app": "server"}}, "rules": [rule]}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "server", "namespace": "shop"},
        "spec": spec,
    }


class Mesh:
    """A control plane, a gRPC server and a gRPC client of its own process each."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        arguments = ["server", "--data-dir", str(directory), "--api", "127.0.0.1:0", "--xds", "127.0.0.1:0"]
        self.server_log = directory / "control-plane.log"
        child = self._start([*PYLIS, *arguments], "control-plane", {})
        assert child.stdout is not None and child.stdout.readline().startswith(b"ready")
        self.api: Client = connect(directory / "kubeconfig")
        self.port = free_port()
        self.entries = "/apis/networking.istio.io/v1/namespaces/shop"
        self.api.request("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}})
        for name in ("server", "client"):
            self.entry(name)
        ports = [{"number": 8080, "name": "grpc", "protocol": "GRPC"}]
        spec = {"hosts": ["server.shop"], "ports": ports, "workloadSelector": {"labels": {"app": "server"}}}
        self.api.request(
            "POST",
            f"{self.entries}/serviceentries",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "ServiceEntry",
                "metadata": {"name": "server", "namespace": "shop"},
                "spec": spec,
            },
        )

    def entry(self, name: str, sidecar: str = '{"proxyless": true}') -> None:
        metadata = {"name": name, "namespace": "shop", "annotations": {"pylis.io/sidecar": sidecar}}
        spec = {
            "address": "127.0.0.1", "serviceAccount": name, "labels": {"app": name},
            "ports": {"grpc": self.port},
        }  # fmt: skip
        body = {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": metadata,
            "spec": spec,
        }
        self.api.request("POST", f"{self.entries}/workloadentries", body)

    def policy(self, body: dict[str, Any]) -> None:
        try:
            self.api.request("DELETE", f"{POLICIES}/server")
        except RefusedError as error:
            assert error.status == 404
        self.api.request("POST", POLICIES, body)

    def process(self, name: str, account: str, *arguments: str) -> subprocess.Popen[bytes]:
        """With the identity of `account`, by the commands a user would use."""
        own = self.directory / name
        kubeconfig = ["--kubeconfig", str(self.directory / "kubeconfig")]
        minted = [
            "svid",
            "mint",
            "--spiffe-id",
            f"spiffe://cluster.local/ns/shop/sa/{account}",
            "--out",
            str(own),
        ]
        subprocess.run([*PYLIS, *minted, *kubeconfig], check=True, capture_output=True)
        wanted = ["grpc-bootstrap", f"shop/{account}", "--svid-dir", str(own), *kubeconfig]
        text = subprocess.run([*PYLIS, *wanted], check=True, capture_output=True).stdout
        (own / "bootstrap.json").write_bytes(text)
        return self._start(
            [sys.executable, str(HERE / arguments[0]), *arguments[1:]],
            name,
            {"GRPC_XDS_BOOTSTRAP": str(own / "bootstrap.json")},
        )

    def _start(self, command: list[str], name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context((self.directory / f"{name}.log").open("wb"))
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **environment},
        )
        self._stack.callback(self._stop, child)
        return child

    @staticmethod
    def _stop(child: subprocess.Popen[bytes]) -> None:
        child.kill()
        child.wait(20)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with ExitStack() as stack:
        yield Mesh(tmp_path, stack)


def call(client: subprocess.Popen[bytes], method: str, target: str = "xds:///server.shop:8080") -> str:
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(f"{target} {method}\n".encode())
    client.stdin.flush()
    return client.stdout.readline().decode().strip()


def answers(client: subprocess.Popen[bytes], method: str, wanted: str) -> None:
    """Until an edit has reached both processes."""
    deadline = time.monotonic() + 20
    while (found := call(client, method)) != wanted:
        assert time.monotonic() < deadline, f"{method}: {found}, not {wanted}"


def test_a_stock_client_and_server_exchange_allowed_and_denied_calls(mesh: Mesh) -> None:
    mesh.policy(a_policy("/demo.Hello/Say"))
    server = mesh.process("the-server", "server", "server.py", f"127.0.0.1:{mesh.port}")
    assert server.stdout is not None and server.stdout.readline() == b"started\n"
    client = mesh.process("the-client", "client", "client.py")
    answers(client, "/demo.Hello/Say", "hello you")
    assert call(client, "/demo.Hello/Delete") == "PERMISSION_DENIED"
    # an edit reaches the live channel
    mesh.policy(a_policy("/demo.Hello/Delete"))
    answers(client, "/demo.Hello/Say", "PERMISSION_DENIED")
    assert call(client, "/demo.Hello/Delete") == "hello you"
    # what gRPC cannot decide is not sent weaker: a DENY by a token's claim closes the port
    denied = a_policy("/demo.Hello/Delete", when=[{"key": "request.auth.claims[group]", "values": ["admin"]}])
    denied["metadata"]["name"], denied["spec"]["action"] = "claims", "DENY"
    mesh.api.request("POST", POLICIES, denied)
    answers(client, "/demo.Hello/Delete", "PERMISSION_DENIED")
    (status,) = [
        p for p in mesh.api.request("GET", "/pylis/v1/proxies")["items"] if p["name"] == "shop/server"
    ]
    assert "gRPC cannot enforce shop/claims[0]: every call is denied" in status["note"]


def test_another_identity_is_denied_and_learns_of_no_service(mesh: Mesh) -> None:
    mesh.policy(a_policy("/demo.Hello/Say"))
    mesh.entry("stranger")
    server = mesh.process("the-server", "server", "server.py", f"127.0.0.1:{mesh.port}")
    assert server.stdout is not None and server.stdout.readline() == b"started\n"
    client = mesh.process("the-client", "client", "client.py")
    answers(client, "/demo.Hello/Say", "hello you")
    stranger = mesh.process("the-stranger", "stranger", "client.py")
    # gRPC waits a while for what it was not told of
    assert call(stranger, "/demo.Hello/Say") in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    told = {p["name"]: p["configBytes"] for p in mesh.api.request("GET", "/pylis/v1/proxies")["items"]}
    assert told["shop/stranger"] == 0 < told["shop/client"]


def test_grpc_in_the_place_of_a_sidecar_is_refused(mesh: Mesh) -> None:
    mesh.policy(a_policy("/demo.Hello/Say"))
    mesh.entry("enveloped", '{"httpProxy": "127.0.0.1:1"}')
    client = mesh.process("the-client", "enveloped", "client.py")
    assert call(client, "/demo.Hello/Say") == "UNAVAILABLE"
    assert "not declared proxyless" in mesh.server_log.read_text()
