"""K1 to K4 on a real engine, as JSON lines: `make bench-docker`. Root; brings the demo mesh up and takes it down.

K1  `up` (images built) → every expectation of the demo held
K2  added p50 and share of throughput, one keep-alive connection, against the same services unmeshed in the same network;
    with the access log a server has when it is not told (denied), and with the demo's (all)
K3  memory of a sidecar and of the agent: all that is resident, and what one more sidecar adds (the program is shared)
K4  catalog scaled 1 → 20: until all 20 serve by mutual TLS
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any

from demo.container_way import ContainerWay, expectations
from demo.containers import ContainerMesh, docker
from demo.run import Runner

PROJECT = "pylis-bench"
REPLICAS = 20
SECONDS = 120.0
LOAD = """
import http.client, json, sys, time
host, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
connection = http.client.HTTPConnection(host, timeout=10)
times = []
end = time.perf_counter() + seconds
while time.perf_counter() < end:
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"status {answer.status}")
    times.append(time.perf_counter() - began)
print(json.dumps(times))
"""


def line(id_: str, value: float, unit: str, target: float, *, more: bool = False, **extra: Any) -> None:
    ok = value >= target if more else value <= target
    print(
        json.dumps({"id": id_, "value": round(value, 3), "unit": unit, "target": target, "ok": ok, **extra}),
        flush=True,
    )


def call_for(container: str, host: str, seconds: float = 3.0) -> list[float]:
    return json.loads(docker("exec", container, "python3", "-c", LOAD, host, "/items", str(seconds)))


def k1(mesh: ContainerMesh, began: float) -> None:
    held = list(Runner(ContainerWay(mesh)).run(expectations()))
    failed = [h.expectation.id for h in held if not h.ok]
    line("K1", time.monotonic() - began, "s", 45, n=len(held), failed=failed)


def k2(mesh: ContainerMesh) -> None:
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("catalog")).strip()
    network, plain, caller = f"{PROJECT}_shop", f"{PROJECT}-plain", f"{PROJECT}-caller"
    common = ["run", "-d", "--network", network, "--no-healthcheck", "--entrypoint", "python3"]
    web = ["-m", "demo.services.web", "--name", "plain", "--host", "0.0.0.0", "--port", "8080"]
    try:
        docker(*common, "--name", plain, image, *web)
        docker(*common, "--name", caller, image, "-c", "import time; time.sleep(600)")
        time.sleep(2.0)
        _compare(mesh, caller, plain, "all")
        mesh.environment["PYLIS_ACCESS_LOG"] = "denied"
        mesh.run_compose("up", "-d", "--no-deps", "control-plane")
        mesh.wait_ready()
        _compare(mesh, caller, plain, "denied")
    finally:
        docker("rm", "-f", "-v", plain, caller, quiet=True)


def _compare(mesh: ContainerMesh, caller: str, plain: str, log: str) -> None:
    bare: list[float] = []
    meshed: list[float] = []
    for _ in range(3):  # turn and turn about, so that the machine's moods fall on both
        bare += call_for(caller, f"{plain}:8080")
        meshed += call_for(mesh.container("frontend"), "catalog.shop:8080")
    p50 = [statistics.median(times) * 1000 for times in (bare, meshed)]
    line(
        "K2", p50[1] - p50[0], "ms added p50", 0.6, baseline=f"{p50[0]:.3f} ms without a mesh", n=len(meshed),
        access_log=log,
    )  # fmt: skip
    share = (len(meshed) / sum(meshed)) / (len(bare) / sum(bare))
    line("K2", share, "share of throughput", 0.35, more=True, n=len(meshed), access_log=log)


def k3(mesh: ContainerMesh) -> None:
    services = ("catalog", "orders", "pricing", "payments", "ledger", "frontend", "intruder")
    sidecars = [_megabytes(mesh.sidecar(service)) for service in services]
    own = max(_megabytes(mesh.sidecar(service), "RssAnon") for service in services)
    share = statistics.median(_share(mesh.sidecar(service)) for service in services)
    line(
        "K3",
        max(sidecars),
        "MB, largest sidecar",
        60,
        p50=statistics.median(sidecars),
        own=round(own, 1),
        proportional=round(share, 1),
        n=len(sidecars),
    )
    line("K3", _megabytes(mesh.container("agent")), "MB, agent", 60, n=1)


def _megabytes(container: str, what: str = "VmRSS") -> float:
    """Of the container's first process: all that is resident, or (RssAnon) what it shares with nobody. Source: proc(5)"""
    pid = docker("inspect", "-f", "{{.State.Pid}}", container).strip()
    with open(f"/proc/{pid}/status") as status:
        return next(int(one.split()[1]) for one in status if one.startswith(what)) / 1024


def _share(container: str) -> float:
    """What is its own, and its part of what it shares. Source: proc(5), smaps_rollup"""
    pid = docker("inspect", "-f", "{{.State.Pid}}", container).strip()
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(one.split()[1]) for one in rollup if one.startswith("Pss:")) / 1024


def k4(mesh: ContainerMesh) -> None:
    began = time.monotonic()
    mesh.run_compose("up", "-d", "--no-recreate", "--scale", f"catalog={REPLICAS}", seconds=600)
    while time.monotonic() - began < SECONDS:
        proxies = json.loads(mesh.pylis("proxy", "status", "-o", "json"))["items"]
        ready = [p for p in proxies if "catalog" in p["name"] and p["state"] == "synced"]
        if len(ready) == REPLICAS:
            break
        time.sleep(0.2)
    line("K4", time.monotonic() - began, "s", 30, n=REPLICAS)


def main() -> None:
    environment = {
        "PYLIS_IMAGE": os.environ.get("PYLIS_IMAGE", "pylis:latest"),
        "PYLIS_AGENT_IMAGE": os.environ.get("PYLIS_AGENT_IMAGE", "pylis-agent:latest"),
    }
    began = time.monotonic()
    with ContainerMesh(PROJECT, build=False, environment=environment) as mesh:
        k1(mesh, began)
        k3(mesh)
        k2(mesh)
        k4(mesh)


if __name__ == "__main__":
    sys.exit(main())
