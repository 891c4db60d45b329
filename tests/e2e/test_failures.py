"""What happens when a part is killed: traffic goes on, denied stays denied, and the part comes back."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.client import Http
from demo.mesh import DemoMesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    with DemoMesh(tmp_path_factory.mktemp("mesh") / "state", quiet=True) as running:
        yield running


def _connection(mesh: DemoMesh) -> Http:
    return Http(mesh.workload("shop/frontend")["httpProxy"], "catalog.shop:8080", proxy=True)


def _ask(mesh: DemoMesh, path: str) -> str:
    connection = _connection(mesh)
    try:
        return connection.send("GET", path).actual
    finally:
        connection.close()


def _child(mesh: DemoMesh, name: str) -> int:
    return int(json.loads((mesh.state_dir / "mesh.json").read_text())["children"][name])


def _envoy(mesh: DemoMesh, workload: str) -> int:
    processes = json.loads((mesh.state_dir / "agent" / "processes.json").read_text())
    found = [int(pid) for key, (pid, _) in processes.items() if key.startswith(f"{workload}:envoy:")]
    return found[0] if found else 0


def _until(what: str, condition: object, seconds: float) -> float:
    began = time.monotonic()
    while not condition():  # type: ignore[operator]
        assert time.monotonic() - began < seconds, f"waited {seconds} s for {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_killed_envoy_is_back_within_two_seconds(mesh: DemoMesh) -> None:
    before = _envoy(mesh, "shop/catalog")
    assert before > 1
    os.kill(before, signal.SIGKILL)
    _until("another Envoy", lambda: _envoy(mesh, "shop/catalog") not in (0, before), 2)
    _until("traffic", lambda: _ask(mesh, "/items") == "allow", 2)


def test_envoys_outlive_the_agent_and_are_taken_over(mesh: DemoMesh) -> None:
    envoy, agent = _envoy(mesh, "shop/catalog"), _child(mesh, "agent")
    live = _connection(mesh)
    assert live.send("GET", "/items").actual == "allow"
    os.kill(agent, signal.SIGKILL)
    assert live.send("GET", "/items").actual == "allow"
    _until("another agent", lambda: _child(mesh, "agent") != agent, 5)
    log = mesh.state_dir / "logs" / "agent.log"
    _until("the take-over", lambda: log.read_text().count("process.adopted") >= 14, 10)
    assert _envoy(mesh, "shop/catalog") == envoy
    assert live.send("GET", "/items").actual == "allow"
    live.close()


def test_traffic_goes_on_without_the_control_plane_and_all_sync_again(mesh: DemoMesh) -> None:
    server = _child(mesh, "server")
    live = _connection(mesh)
    first = live.send("GET", "/items")
    os.kill(server, signal.SIGKILL)
    assert live.send("GET", "/items").actual == "allow"
    assert live.send("GET", "/admin").actual == "deny"
    _until("another server", lambda: _child(mesh, "server") != server, 5)

    def synced() -> bool:
        try:
            answer = json.loads(mesh.pylis("proxy", "status", "-o", "json"))
        except Exception:  # the API is not there yet
            return False
        return [i["state"] for i in answer["items"]].count("synced") == 7

    _until("all proxies to be in sync", synced, 30)
    last = live.send("GET", "/items")
    assert (last.actual, last.local_port) == ("allow", first.local_port)
    live.close()
    assert _ask(mesh, "/admin") == "deny"


def test_envoy_holds_what_the_control_plane_says_it_was_told(mesh: DemoMesh) -> None:
    (admin,) = (mesh.state_dir / "agent" / "run").glob("*catalog*.admin")
    told = json.loads(mesh.pylis("proxy", "config", "shop/catalog", "-o", "json"))
    assert {"Cluster", "Listener", "TypedExtensionConfig"} <= {r["type"] for r in told["resources"]}
    said = json.loads(
        mesh.pylis("proxy", "config", "shop/catalog", "--diff", "--admin", str(admin), "-o", "json")
    )
    assert said["differences"] == []


def test_a_second_mesh_in_the_same_place_is_refused(mesh: DemoMesh) -> None:
    other = DemoMesh(Path(mesh.state_dir), quiet=True)
    with pytest.raises(Exception, match="a mesh is running already"):
        other.__enter__()
    assert mesh.pylis("proxy", "status", "-o", "json")
    assert _child(mesh, "server") > 0  # the refused one took nothing away from the first


def test_two_meshes_that_start_at_once_both_find_ports(tmp_path: Path) -> None:
    """Whoever is second finds the usual ports taken, be it only after it has looked."""
    file = tmp_path / "mesh.yaml"
    file.write_text(
        'workloads:\n  web:\n    command: [python, -m, http.server, "{port}"]\n    ports: {http: 8080}\n'
    )
    meshes = [DemoMesh(tmp_path / name, file, quiet=True) for name in ("one", "two", "three")]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(DemoMesh.__enter__, meshes))
        assert len({one.xds for one in meshes}) == len(meshes)
        for one in meshes:
            assert json.loads(one.pylis("proxy", "status", "-o", "json"))["items"][0]["state"] == "synced"
    finally:
        for one in meshes:
            one.close()
