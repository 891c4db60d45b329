"""Two servers behind one address: traffic between real Envoys does not notice that one is killed, nor the database's
restart, and an edit through the survivor reaches sidecars that had their configuration from the dead one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.one_envoy import free_ports
from controlplane.cli.client import Client
from controlplane.local import layout
from controlplane.local.mesh_file import parse
from demo.client import Http
from policies.document import Document
from tests.contract.database import a_server, fresh_database
from tests.integration.running_server import RunningServer

pytestmark = pytest.mark.envoy

MESH: dict[str, Any] = {
    "trustDomain": "example.org",
    "workloads": {
        "front": {"command": ["python", "-m", "http.server", "{port}"], "ports": {"http": 8080}},
        "back": {"command": ["python", "-m", "http.server", "{port}"], "ports": {"http": 8080}},
    },
}
POLICIES = "/apis/security.istio.io/v1/namespaces/default/authorizationpolicies"


class OneAddress:
    """Connections go on to the first of `targets` that takes them: what a load balancer, or DNS, does for servers."""

    def __init__(self, address: tuple[str, int], targets: list[tuple[str, int]]) -> None:
        self._address, self._targets = address, targets
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._done = asyncio.Event()
        server = await asyncio.start_server(self._relay, *self._address)
        await self._done.wait()
        server.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for target in self._targets:
            with contextlib.suppress(OSError):
                theirs = await asyncio.open_connection(*target)
                await asyncio.wait(
                    [
                        asyncio.ensure_future(_copy(reader, theirs[1])),
                        asyncio.ensure_future(_copy(theirs[0], writer)),
                    ]
                )
                return
        writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@dataclass
class Steady:
    """A request after the other on one connection, from the start of the block to its end."""

    new: Callable[[], Http]
    answers: list[str] = field(default_factory=list[str])
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Steady:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        connection = self.new()
        while not self._stop.is_set():
            outcome = connection.send("GET", "/")
            self.answers.append(outcome.actual if outcome.actual == "allow" else str(outcome))
        connection.close()


@dataclass
class HighlyAvailable:
    database: Any
    servers: list[RunningServer]
    front: Callable[[], Http]

    def api(self, server: int) -> Client:
        return self.servers[server].client()

    def synced(self, server: int) -> set[str]:
        items = self.api(server).request("GET", "/pylis/v1/proxies")["items"]
        return {item["name"] for item in items if item["state"] == "synced"}


def until(what: str, true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[HighlyAvailable]:
    [xds] = free_ports(1)
    with a_server() as database, contextlib.ExitStack() as stack:
        dsn = asyncio.run(fresh_database(database.get_uri()))
        common = [
            "--store",
            dsn,
            "--envelope-key-file",
            str(tmp_path / "envelope.key"),
            "--advertise",
            "127.0.0.1",
        ]
        hosts = ("127.0.0.2", "127.0.0.3")
        servers = [
            stack.enter_context(RunningServer(tmp_path, *common, "--xds", f"{host}:{xds}", data=host))
            for host in hosts
        ]
        stack.enter_context(OneAddress(("127.0.0.1", xds), [(host, xds) for host in hosts]))
        file, problems = parse(Document(MESH))
        assert file is not None, problems
        placed = layout.place(file, iter(free_ports(layout.ports_needed(file))), str(tmp_path))
        api = servers[0].client()
        for value in layout.resources(placed):
            plural = {"WorkloadEntry": "workloadentries", "ServiceEntry": "serviceentries"}.get(
                value["kind"], f"{value['kind'].lower()}s"
            )
            api.request("POST", f"/apis/{value['apiVersion']}/namespaces/default/{plural}", value)
        agent = tmp_path / "agent"
        agent.mkdir()
        body = layout.workloads_file(placed, sys.executable, str(tmp_path), str(tmp_path))
        (agent / "workloads.json").write_text(json.dumps(body))
        token = api.request("POST", "/pylis/v1/tokens", {"agent": layout.AGENT, "ttlSeconds": 60})["token"]
        stack.enter_context(_agent(agent, token, tmp_path / "agent.log"))
        found = HighlyAvailable(
            database,
            servers,
            lambda: Http(f"127.0.0.1:{placed[0].http_proxy}", "back.default:8080", proxy=True),
        )
        until("the sidecars", lambda: found.synced(0) == {"default/front", "default/back"})
        first = found.front()
        until("the first answer", lambda: first.send("GET", "/").actual == "allow")
        first.close()
        yield found


@contextlib.contextmanager
def _agent(directory: Path, token: str, log: Path) -> Iterator[None]:
    options = [
        "--data-dir",
        str(directory),
        "--workloads",
        str(directory / "workloads.json"),
        "--token",
        token,
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "controlplane.cli", "agent", "run", *options, "--drain-seconds", "0.2"],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_traffic_does_not_notice_and_the_survivor_is_obeyed(mesh: HighlyAvailable) -> None:
    live = mesh.front()
    assert live.send("GET", "/").actual == "allow"
    with Steady(mesh.front) as steady:
        mesh.servers[0].stop(signal.SIGKILL)
        until("the survivor to have the sidecars", lambda: len(mesh.synced(1)) == 2)
        mesh.database.stop()
        mesh.database.start()
        before = len(steady.answers)
        until("more answers", lambda: len(steady.answers) > before + 20)
    assert set(steady.answers) == {"allow"}
    deny = {
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "no"},
        "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]},
    }  # fmt: skip
    mesh.api(1).request("POST", POLICIES, deny)
    until("the denial on the live connection", lambda: live.send("GET", "/").actual == "deny", 20)
    live.close()
