"""Replicas behind real Envoys are called while they are ready, and no request fails when one is not any more."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from demo.mesh import DemoMesh

# answers with its name, and 503 to /ready while a file of that name lies beside it
APP = """
import http.server, pathlib, sys
name, port = sys.argv[1], int(sys.argv[2])
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        stopped = self.path == "/ready" and pathlib.Path(name).exists()
        body = name.encode()
        self.send_response(503 if stopped else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
MESH = """\
policies: []
workloads:
  web: {namespace: shop, command: [python, -c, "import time; time.sleep(1000)"]}
"""
REPLICA = """\
  %s:
    namespace: shop
    serviceAccount: orders
    labels: {app: orders}
    command: [python, app.py, %s, "{port}"]
    ports: {http: 8080}
    readinessProbe: {httpGet: {path: /ready, port: http}, failureThreshold: 1}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    directory = tmp_path_factory.mktemp("readiness")
    (directory / "app.py").write_text(APP)
    replicas = "".join(REPLICA % (name, name) for name in ("orders-a", "orders-b"))
    (directory / "mesh.yaml").write_text(MESH + replicas)
    with DemoMesh(directory / "state", file=directory / "mesh.yaml", quiet=True) as running:
        until("the service", lambda: ask(running).startswith("orders"))
        yield running


def ask(mesh: DemoMesh) -> str:
    """The name of who answered, or what went wrong; over the caller's sidecar."""
    connection = http.client.HTTPConnection(mesh.workload("shop/web")["httpProxy"], timeout=10)
    try:
        connection.request("GET", "http://orders-a.shop:8080/")
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    else:
        return text if response.status == 200 else f"{response.status} {text}"
    finally:
        connection.close()


class Caller(threading.Thread):
    """Calls the service without a pause, and keeps every answer."""

    def __init__(self, mesh: DemoMesh) -> None:
        super().__init__()
        self._mesh = mesh
        self._ended = threading.Event()
        self.answers: list[str] = []

    def run(self) -> None:
        while not self._ended.is_set():
            self.answers.append(ask(self._mesh))

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def until_only(self, *names: str) -> None:
        """The last twenty answers came from these, and from all of them."""
        until(f"answers of {names}", lambda: len(self.answers) > 20 and set(self.answers[-20:]) == set(names))


def until(what: str, true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def test_requests_go_to_those_that_are_ready_and_none_fails(mesh: DemoMesh) -> None:
    directory = mesh.file.parent
    caller = Caller(mesh)
    caller.start()
    try:
        caller.until_only("orders-a", "orders-b")
        (directory / "orders-b").touch()  # it serves on, and says that it is not ready
        caller.until_only("orders-a")
        (directory / "orders-b").unlink()
        caller.until_only("orders-a", "orders-b")
    finally:
        caller.stop()
    assert set(caller.answers) == {"orders-a", "orders-b"}


def test_no_request_fails_when_a_replica_is_stopped_in_order_and_started_again(mesh: DemoMesh) -> None:
    file = mesh.state_dir / "agent" / "workloads.json"
    agent = int(json.loads((mesh.state_dir / "mesh.json").read_text())["children"]["agent"])
    everything = json.loads(file.read_text())
    without = {"workloads": [w for w in everything["workloads"] if w["name"] != "orders-b"]}
    caller = Caller(mesh)
    caller.start()
    try:
        caller.until_only("orders-a", "orders-b")
        file.write_text(json.dumps(without))
        os.kill(agent, signal.SIGHUP)
        caller.until_only("orders-a")
        file.write_text(json.dumps(everything))
        os.kill(agent, signal.SIGHUP)
        caller.until_only("orders-a", "orders-b")
    finally:
        caller.stop()
    assert set(caller.answers) == {"orders-a", "orders-b"}
