"""This process as the caller of a real socket; containers are in tests/integration/identity/test_workloads.py."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.caller import Caller, caller_of
from agent.workload_attestation import WorkloadAttestation

EXECUTABLE = Path(sys.executable).resolve()
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def nobody(_: int) -> None:
    return None


@pytest.fixture
def listener(short_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(short_dir / "s"))
        one.listen()
        yield one


@pytest.fixture
def own(listener: socket.socket) -> Iterator[Caller]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            caller = caller_of(server)
            yield caller
            caller.close()


async def found(caller: Caller, *wanted: str, sessions: Any = nobody) -> frozenset[str]:
    return await WorkloadAttestation(sessions, lambda: wanted).selectors(caller)


async def test_its_selectors_are_what_the_kernel_says(own: Caller) -> None:
    said = await found(own)
    assert {f"unix:uid:{os.getuid()}", f"unix:gid:{os.getgid()}"} <= said
    assert f"unix:path:{EXECUTABLE}" in said
    assert not any(selector.startswith(("supervised:", "unix:sha256:")) for selector in said)


async def test_a_process_of_a_session_the_agent_started_is_that_workload(own: Caller) -> None:
    sessions = {os.getsid(0): ("shop", "orders")}
    assert "supervised:workload:shop/orders" in await found(own, sessions=sessions.get)
    sessions = {os.getsid(0) + 1: ("shop", "orders")}
    assert "supervised:workload:shop/orders" not in await found(own, sessions=sessions.get)


async def test_what_runs_is_hashed_where_a_registration_asks_for_it(own: Caller) -> None:
    digest = (await asyncio.to_thread(hashlib.sha256, EXECUTABLE.read_bytes())).hexdigest()
    assert f"unix:sha256:{digest}" in await found(own, "unix:sha256:00")


async def test_one_that_has_ended_is_nobody(listener: socket.socket) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", CONNECT, listener.getsockname()], check=True
    )
    assert done.returncode == 0
    server, _ = listener.accept()
    with server:
        caller = caller_of(server)
        assert await found(caller, "unix:sha256:00", "docker:image:x") == frozenset()
        caller.close()


async def test_one_without_a_pid_here_is_nobody() -> None:
    assert await found(Caller(0, 0, 0, -1), sessions={0: ("shop", "orders")}.get) == frozenset()
