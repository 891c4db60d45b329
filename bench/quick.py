"""`make bench`: the goals of this version, one JSON line each. Figures are of this machine, in this run.

S1 server start, S2 the demo once, S3 edit to enforced on a live connection, S4 idle memory, R1 the cost of authorization in Envoy.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from bench.data_plane import cost_ratios
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


def line(id_: str, values: Sequence[float], unit: str, target: float, baseline: str) -> None:
    ordered = sorted(values)
    p50, p99 = statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    body = {
        "id": id_, "value": round(p50, 3), "unit": unit, "target": target, "baseline": baseline, "ok": p50 <= target,
        "n": len(ordered), "p50": round(p50, 3), "p99": round(p99, 3),
    }  # fmt: skip
    print(json.dumps(body), flush=True)


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
    from controlplane.cli.client import RefusedError, connect

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
        children = mesh.info["children"]
        line("S4-server", [resident(children["server"])], "MB", 90, "istiod 94, kuma-cp 98, spire-server 91")
        line("S4-agent", [resident(children["agent"])], "MB", 50, "spire-agent 55")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for principals, target in ((1_000, 1.15), (10_000, 1.25)):
        ratios = asyncio.run(cost_ratios(principals))
        line(
            f"R1-{principals}", ratios, "x", target, "Istio's linear list 5.6 and 43; prototype 1.03 and 1.13"
        )


if __name__ == "__main__":
    main()
