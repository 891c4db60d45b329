"""What is done for each container, in order, whatever fails: against an engine's API on a real Unix socket."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.docker.container import AGENT, SIDECAR_OF
from agent.docker.engine import EngineReplacedError
from agent.docker.mesher import Mesher, status
from agent.docker.namespace import NamespaceError
from agent.docker.sidecar import Node
from ca.node_report import FoundWorkload
from tests.unit.agent.docker.builders import IDS, inspected
from tests.unit.agent.docker.engine_server import EngineServer

NODE = Node("docker", "example.org", "envoyproxy/envoy:v1.40.0", "run")
Until = Callable[[Callable[[], bool]], Any]


class Running:
    """A mesher over an engine; `done` is what happened, in order."""

    def __init__(self, server: EngineServer, mesh: Any) -> None:
        self.server, self.mesh = server, mesh
        self.done: list[str] = []
        self.reported: tuple[FoundWorkload, ...] = ()
        self.fails = ""
        self.grants = True
        self.engine = server.connect()
        self.mesher = Mesher(self.engine, NODE, mesh.holdings, self.report, lambda: None, self.load)

    def load(self, pid: int, address: str) -> None:
        if self.fails:
            raise NamespaceError(self.fails)
        self.done.append(f"rules {pid} {address}")

    def report(self, found: tuple[FoundWorkload, ...]) -> None:
        self.reported = found
        self.done.append(f"report {len(found)}")
        if found and self.grants:
            self.grant()

    def grant(self) -> None:
        """What the control plane does with a report."""
        entry = self.mesh.entry("shop/web", "docker:container:web")
        self.mesh.authorize(entry)
        self.mesh.hold(entry)

    def sidecars(self) -> list[dict[str, Any]]:
        return [c for c in self.server.containers.values() if SIDECAR_OF in c["Config"]["Labels"]]

    def is_meshed(self) -> bool:
        """One app, behind one sidecar that runs."""
        return self.problems() == [""] and [c["State"]["Running"] for c in self.sidecars()] == [True]

    def problems(self) -> list[str]:
        return [one["problem"] for one in status(self.mesher)["containers"]]


@asynccontextmanager
async def running(
    tmp_path: Path, mesh: Any, *containers: dict[str, Any], fails: str = "", grants: bool = True
) -> AsyncIterator[Running]:
    with EngineServer(tmp_path / "s") as server:
        for one in containers:
            server.put(one)
        found = Running(server, mesh)
        found.fails, found.grants = fails, grants
        task = asyncio.create_task(found.mesher.run())
        try:
            yield found
        finally:
            task.cancel()
            await asyncio.wait([task])
            await asyncio.get_running_loop().shutdown_default_executor()  # what is asked has been answered
    for thread in threading.enumerate():
        if thread.name == "engine-events":
            thread.join(10)
    found.engine.close()


async def test_rules_then_report_then_the_sidecar(short_dir: Path, mesh: Any, until: Until) -> None:
    async with running(short_dir, mesh, inspected("web")) as found:
        await until(lambda: bool(found.sidecars()) and found.sidecars()[0]["State"]["Running"])
        assert found.done[:2] == ["rules 42 172.18.0.2", "report 1"]
        [sidecar] = found.sidecars()
        assert sidecar["Config"]["Labels"][SIDECAR_OF] == IDS["web"]
        assert sidecar["HostConfig"]["NetworkMode"] == f"container:{IDS['web']}"
        # its sidecar is known by what the engine says of the app, and nobody else is
        assert found.mesher.selectors_of(sidecar["Id"]) == found.mesher.selectors_of(IDS["web"])
        assert found.mesher.selectors_of("e5" * 32) == frozenset()
        await until(found.is_meshed)


async def test_without_rules_there_is_no_sidecar_that_would_open_the_gate(
    short_dir: Path, mesh: Any, until: Until
) -> None:
    async with running(short_dir, mesh, inspected("web"), fails="nft: no") as found:
        await until(lambda: found.problems() == ["nft: no"])
        assert not found.sidecars()
        found.fails = ""
        await until(lambda: bool(found.sidecars()))  # it tries again by itself


async def test_a_new_life_has_rules_and_a_sidecar_of_its_own(
    short_dir: Path, mesh: Any, until: Until
) -> None:
    async with running(short_dir, mesh, inspected("web")) as found:
        await until(found.is_meshed)
        old = found.sidecars()[0]["Id"]
        again = inspected("web", started="t9")
        found.server.put(again)
        found.server.happened("start", again)
        await until(
            lambda: [one["Id"] for one in found.sidecars() if one["State"]["Running"]] not in ([], [old])
        )
        assert found.done.count("rules 42 172.18.0.2") == 2


async def test_what_is_gone_loses_its_sidecar(short_dir: Path, mesh: Any, until: Until) -> None:
    async with running(short_dir, mesh, inspected("web")) as found:
        await until(found.is_meshed)
        gone = found.server.containers.pop(IDS["web"])
        found.server.happened("die", gone)
        await until(lambda: not found.sidecars())
        assert found.reported == ()


async def test_a_container_that_cannot_be_meshed_is_named_and_the_others_are_meshed(
    short_dir: Path, mesh: Any, until: Until
) -> None:
    host = {**inspected("db", mode="host"), "Name": "/db"}
    async with running(short_dir, mesh, inspected("web"), host) as found:
        await until(lambda: len(found.sidecars()) == 1)
        [unfit] = status(found.mesher)["unfit"]
        assert unfit["name"] == "db"
        assert "network mode host" in unfit["problem"]


async def test_a_sidecar_that_cannot_be_made_is_a_problem_and_is_tried_again(
    short_dir: Path, mesh: Any, until: Until
) -> None:
    async with running(short_dir, mesh, inspected("web")) as found:
        found.server.refuse = "no space left on device"
        await until(lambda: "no space left" in "".join(found.problems()) or bool(found.sidecars()))
        found.server.refuse = ""
        await until(lambda: bool(found.sidecars()))


async def test_another_agents_sidecar_is_not_replaced(short_dir: Path, mesh: Any, until: Until) -> None:
    labels = {SIDECAR_OF: IDS["web"], AGENT: "example.org/other@elsewhere", "pylis.io/app-started": "t0"}
    theirs = {**inspected("sidecar"), "Name": f"/pylis-sidecar-{IDS['web'][:12]}"}
    theirs["Config"] = {**theirs["Config"], "Labels": labels}
    async with running(short_dir, mesh, inspected("web"), theirs) as found:
        await until(lambda: "another agent" in "".join(found.problems()))
        assert [one["Id"] for one in found.sidecars()] == [IDS["sidecar"]]


async def test_at_the_end_only_what_has_no_app_goes(short_dir: Path, mesh: Any, until: Until) -> None:
    async with running(short_dir, mesh, inspected("web")) as found:
        await until(found.is_meshed)
        await found.mesher.settle()
        assert found.is_meshed()
        del found.server.containers[IDS["web"]]
        await found.mesher.settle()
        assert not found.sidecars()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_where_the_engines_socket_was_replaced_it_ends_at_once(short_dir: Path, mesh: Any) -> None:
    with EngineServer(short_dir / "s") as server, server.replaced() as engine:
        mesher = Mesher(engine, NODE, mesh.holdings, lambda _: None, lambda: None, lambda *_: None)
        async with asyncio.timeout(4):  # less than it waits for one that comes back
            with pytest.raises(EngineReplacedError):
                await mesher.run()
            await mesher.settle()
        await asyncio.get_running_loop().shutdown_default_executor()
    for thread in threading.enumerate():
        if thread.name == "engine-events":
            thread.join(10)
    gc.collect()


async def test_who_has_no_identity_yet_has_no_sidecar(short_dir: Path, mesh: Any, until: Until) -> None:
    """Its gate stays closed: an Envoy without an identity could serve nobody."""
    async with running(short_dir, mesh, inspected("web"), grants=False) as found:
        await until(lambda: bool(found.reported))
        assert not found.sidecars()
        found.grant()
        await until(found.is_meshed)
