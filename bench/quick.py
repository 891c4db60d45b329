"""`make bench`: the goals of this version, one JSON line each. Figures are of this machine, in this run.

S1 server start, S2 the demo once, S3 edit to enforced on a live connection, S4 idle memory, D1 the start of two
sidecars, R1 to R4 the cost of authorization in Envoy, P1 its compilation, P3 and P4 the policy tools, P2 and X1 to X8 in small
(make bench-scale: at full size). A goal in several parts has a line each, told apart by `part`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import structlog

from bench import as_users, policy, policy_tools, xds
from bench.figures import line
from bench.sidecar_start import start_ratios
from controlplane.cli.client import RefusedError, connect
from demo.client import Http
from demo.mesh import DemoMesh

FREEZE = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "freeze", "namespace": "shop"},
    "spec": {
        "selector": {"matchLabels": {"app": "catalog"}},
        "action": "DENY",
        "rules": [{"to": [{"operation": {"paths": ["/items"]}}]}],
    },
}


def server_start() -> float:
    """exec → the line that says both ports serve; an empty store."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        arguments = ["server", "--data-dir", directory, "--api", "127.0.0.1:0", "--xds", "127.0.0.1:0"]
        child = subprocess.Popen(
            [sys.executable, "-m", "controlplane.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if child.stdout is None:
            raise RuntimeError("the server has no output")
        child.stdout.readline()
        taken = time.perf_counter() - began
        child.terminate()
        child.wait()
        return taken


def demo_once() -> float:
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "controlplane.cli", "demo", "--once"],
            cwd=directory, check=True, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return time.perf_counter() - began


def edits(mesh: DemoMesh, rounds: int) -> list[float]:
    """The API has accepted an edit → a request on a connection that was open before is denied; ms."""
    client = connect(mesh.kubeconfig)
    live = Http(mesh.workload("shop/frontend")["httpProxy"], "catalog.shop:8080", proxy=True)
    path = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies"
    taken: list[float] = []
    for _ in range(rounds):
        while live.send("GET", "/items").actual != "allow":
            pass
        client.request("POST", path, FREEZE)
        began = time.perf_counter()
        while live.send("GET", "/items").actual != "deny":
            pass
        taken.append((time.perf_counter() - began) * 1000)
        try:
            client.request("DELETE", f"{path}/freeze")
        except RefusedError as error:
            raise RuntimeError("the policy of this benchmark is gone") from error
    return taken


def resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def idle_memory() -> dict[str, float]:
    """MB of a server with an empty store, and of an agent that has joined it and has nothing to do."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        state = Path(directory)
        server = stack.enter_context(
            _running(state, "server", "--data-dir", "s", "--api", "127.0.0.1:0", "--xds", "127.0.0.1:0")
        )
        kubeconfig = state / "s" / "kubeconfig"
        _until(kubeconfig.exists)
        token = connect(kubeconfig).request("POST", "/pylis/v1/tokens", {"agent": "idle", "ttlSeconds": 60})[
            "token"
        ]
        agent = stack.enter_context(
            _running(state, "agent", "run", "--data-dir", "a", "--no-envoy", "--token", token)
        )
        status = state / "a" / "status.json"
        _until(lambda: status.exists() and json.loads(status.read_text())["connected"])
        time.sleep(1)  # what it does on its way there is not idling
        return {"server": resident(server.pid), "agent": resident(agent.pid)}


@contextmanager
def _running(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A pylis process as users run it."""
    child = subprocess.Popen(
        [sys.executable, "-m", "controlplane.cli", *arguments], cwd=directory, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=as_users.environment(directory),
    )  # fmt: skip
    try:
        yield child
    finally:
        child.terminate()
        child.wait()


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("waited 30 s")
        time.sleep(0.02)


def main() -> None:
    line("S1", [server_start() for _ in range(10)], "s", 0.8, "istiod 0.10, kuma-cp 1.6, spire-server 0.08")
    line("S2", [demo_once()], "s", 20, "none")
    with tempfile.TemporaryDirectory() as directory, DemoMesh(Path(directory) / "state", quiet=True) as mesh:
        line(
            "S3",
            edits(mesh, 30),
            "ms",
            10,
            "Envoy's own part 2.2; Istio: not before the drain; Kuma about 1 s",
        )
    idle = [idle_memory() for _ in range(3)]
    for part, target, peers in (
        ("server", 90, "istiod 94, kuma-cp 98, spire-server 91"), ("agent", 50, "spire-agent 55"),
    ):  # fmt: skip
        line("S4", [memory[part] for memory in idle], "MB", target, peers, part=part)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    ratios, by_xds, static = asyncio.run(start_ratios())
    line("D1", ratios, "x", 1.3, f"the same configuration, static: {static:.0f} ms; by xDS {by_xds:.0f} ms")
    policy.compiler()
    policy_tools.main()
    policy.data_plane()
    asyncio.run(xds.measured(sidecars=200, edits=20, growing=False))


if __name__ == "__main__":
    main()
