from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from agent.readiness import Probe
from agent.watch import LEAVING, Told, Watch
from agent.workloads import WorkloadSpec


class Machine:
    """Two workloads' processes, and what was told of them."""

    def __init__(self) -> None:
        self.stopped: dict[str, str] = {}
        self.configured = True
        self.told: list[Told] = []
        self.news = asyncio.Event()
        self.watch = Watch(lambda spec: self.stopped.get(spec.name, ""), self._is_configured, self._tell)

    async def _is_configured(self, _: WorkloadSpec) -> bool:
        return self.configured

    def _tell(self, told: Told) -> None:
        self.told.append(told)
        self.news.set()

    async def until(self, name: str, reason: str) -> None:
        async with asyncio.timeout(10):
            while not self.told or (f"shop/{name}", reason) not in self.told[-1]:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    one = Machine()
    yield one
    await one.watch.stop()


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Of something that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def a_spec(name: str, address: str) -> WorkloadSpec:
    probe = Probe(address, period=0.01, failure_threshold=1)
    return WorkloadSpec("shop", name, name, True, (), {}, "", True, {}, probe)


async def test_ready_is_who_runs_is_configured_and_answers(machine: Machine, address: str) -> None:
    machine.stopped["a"], machine.configured = "its application does not run", False
    machine.watch.follow([a_spec("a", address)])
    await machine.until("a", "its application does not run")
    machine.stopped.clear()
    await machine.until("a", "its sidecar is not configured yet")
    machine.configured = True
    await machine.until("a", "")


async def test_a_process_that_ends_is_told_at_once(machine: Machine, address: str) -> None:
    machine.watch.follow([a_spec("a", address), a_spec("b", address)])
    await machine.until("a", "")
    await machine.until("b", "")
    machine.stopped["a"] = "its sidecar does not run"
    machine.watch.processes_changed()
    assert machine.told[-1] == (("shop/a", "its sidecar does not run"), ("shop/b", ""))


async def test_what_is_followed_no_more_is_not_told_of(machine: Machine, address: str) -> None:
    machine.watch.follow(
        [a_spec("a", address), a_spec("b", address), replace(a_spec("c", ""), readiness=None)]
    )
    await machine.until("a", "")
    machine.watch.follow([a_spec("b", address)])
    assert [name for name, _ in machine.told[-1]] == ["shop/b"]


async def test_before_a_stop_nothing_is_ready(machine: Machine, address: str) -> None:
    machine.watch.follow([a_spec("a", address)])
    await machine.until("a", "")
    machine.watch.leave()
    assert machine.told[-1] == (("shop/a", LEAVING),)


async def test_an_agent_that_watches_nobody_says_nothing(machine: Machine) -> None:
    machine.watch.follow([replace(a_spec("a", ""), readiness=None)])
    machine.watch.leave()
    assert machine.told == []
