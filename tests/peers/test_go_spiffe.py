"""go-spiffe against the agent: a Go client and a Go server get identities, rotate, talk; also through two Envoys."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from controlplane.cli.client import connect
from demo.mesh import DemoMesh

GO = shutil.which("go")
HERE = Path(__file__).parent
SECONDS = 120.0
DOMAIN = "peers.example"
pytestmark = pytest.mark.skipif(GO is None, reason="no Go on PATH: go-spiffe was not tried")


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built once."""
    binary = tmp_path_factory.mktemp("go") / "peer"
    subprocess.run([str(GO), "build", "-o", str(binary), "."], cwd=HERE / "go", check=True, timeout=900)
    return binary


def until(what: Callable[[], object], why: str) -> None:
    end = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < end, why
        time.sleep(0.05)


def a_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Log:
    """What a Go program said."""

    path: Path
    name: str = field(default="")

    def lines(self, kind: str) -> list[str]:
        with contextlib.suppress(OSError):
            return [line for line in self.path.read_text().splitlines() if line.startswith(f"{kind} ")]
        return []

    def serials(self) -> list[str]:
        return list(dict.fromkeys(line.split()[2] for line in self.lines("svid")))


@pytest.fixture(scope="module")
def mesh(peer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    """Two Go programs behind real Envoys, and two that speak mTLS by themselves."""
    directory = tmp_path_factory.mktemp("mesh")
    address = f"127.0.0.1:{a_port()}"
    workloads = {
        "server": {
            "namespace": "shop",
            "command": ["sh", "-c", f'exec {peer} serve 127.0.0.1:"$PORT"'],
            "env": {"PORT": "{port}"},
            "ports": {"http": 8080},
        },
        "client": {"namespace": "shop", "command": [str(peer), "call", "http://server.shop:8080/"]},
        "own-server": {
            "namespace": "shop",
            "command": [str(peer), "mtls-serve", address, f"spiffe://{DOMAIN}/ns/shop/sa/own-client"],
        },
        "own-client": {
            "namespace": "shop",
            "command": [str(peer), "mtls-call", address, f"spiffe://{DOMAIN}/ns/shop/sa/own-server"],
        },
        "stranger": {
            "namespace": "shop",
            "command": [str(peer), "mtls-call", address, f"spiffe://{DOMAIN}/ns/shop/sa/own-server"],
        },
    }
    file = directory / "mesh.yaml"
    file.write_text(yaml.safe_dump({"trustDomain": DOMAIN, "workloads": workloads}))
    with DemoMesh(directory / "state", file, quiet=True) as running:
        yield running


def log(mesh: DemoMesh, name: str) -> Log:
    return Log(mesh.state_dir / "logs" / f"shop-{name}.log", name)


def test_each_program_has_its_identity_and_tokens_that_go_spiffe_and_the_agent_believe(
    mesh: DemoMesh,
) -> None:
    for name in ("server", "client", "own-server", "own-client"):
        said, identity = log(mesh, name), f"spiffe://{DOMAIN}/ns/shop/sa/{name}"
        until(lambda said=said: said.lines("svid") and said.lines("jwt"), f"{name}: {said.path}")
        assert {line.split()[1] for line in (*said.lines("svid"), *said.lines("jwt"))} == {identity}


def test_they_talk_through_two_envoys_and_the_server_learns_who_calls(mesh: DemoMesh) -> None:
    said = log(mesh, "client")
    wanted = f"spiffe://{DOMAIN}/ns/shop/sa/server for "
    until(lambda: any(wanted in line for line in said.lines("answer 200")), str(said.path))
    answer = said.lines("answer 200")[-1]
    assert f"URI=spiffe://{DOMAIN}/ns/shop/sa/client" in answer


def test_they_talk_by_mtls_of_their_own_and_a_stranger_is_refused(mesh: DemoMesh) -> None:
    said, stranger = log(mesh, "own-client"), log(mesh, "stranger")
    until(lambda: said.lines("answer 200"), str(said.path))
    assert f"for spiffe://{DOMAIN}/ns/shop/sa/own-client" in said.lines("answer 200")[-1]
    until(lambda: stranger.lines("failed"), str(stranger.path))
    assert stranger.lines("answer") == []


def test_a_rotation_reaches_every_program_and_no_request_fails(mesh: DemoMesh) -> None:
    names = ("server", "client", "own-server", "own-client")
    before = {name: log(mesh, name).serials() for name in names}
    failed = len(log(mesh, "own-client").lines("failed"))
    through = len([line for line in log(mesh, "client").lines("answer") if not line.startswith("answer 200")])
    api = connect(mesh.kubeconfig)
    for name in names:
        path = f"/apis/pylis.io/v1alpha1/namespaces/shop/workloadregistrations/{name}"
        api.request("PATCH", path, {"spec": {"x509TTL": "2h"}}, content_type="application/merge-patch+json")
    for name in names:
        until(lambda name=name: log(mesh, name).serials() != before[name], f"{name} kept its certificate")
    calls = {name: len(log(mesh, name).lines("answer 200")) for name in ("client", "own-client")}
    for name, count in calls.items():
        until(lambda name=name, count=count: len(log(mesh, name).lines("answer 200")) > count + 20, name)
    assert len(log(mesh, "own-client").lines("failed")) == failed
    others = [line for line in log(mesh, "client").lines("answer") if not line.startswith("answer 200")]
    assert len(others) == through
