"""The kernel's word about real connections: this process's own, and one of a process that ended."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.caller import Caller, caller_of

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


def test_it_is_the_process_that_connected(own: Caller) -> None:
    assert (own.pid, own.uid, own.gid, own.is_alive) == (os.getpid(), os.getuid(), os.getgid(), True)


def test_its_selectors_are_what_the_kernel_says(own: Caller) -> None:
    found = own.selectors(nobody)
    assert {f"unix:uid:{os.getuid()}", f"unix:gid:{os.getgid()}"} <= found
    assert f"unix:path:{os.path.realpath(sys.executable)}" in found
    assert not any(selector.startswith("supervised:") for selector in found)


def test_a_process_of_a_session_the_agent_started_is_that_workload(own: Caller) -> None:
    sessions = {os.getsid(0): ("shop", "orders")}
    assert "supervised:workload:shop/orders" in own.selectors(sessions.get)


def test_a_process_of_another_session_is_not(own: Caller) -> None:
    sessions = {os.getsid(0) + 1: ("shop", "orders")}
    assert "supervised:workload:shop/orders" not in own.selectors(sessions.get)


def test_one_that_has_ended_is_nobody(listener: socket.socket) -> None:
    subprocess.run([sys.executable, "-c", CONNECT, listener.getsockname()], check=True)
    server, _ = listener.accept()
    with server:
        caller = caller_of(server)
        assert caller.pid != os.getpid()
        assert not caller.is_alive
        assert caller.selectors(nobody) == frozenset()
        caller.close()


def test_one_without_a_pid_here_is_nobody() -> None:
    assert Caller(0, 0, 0, -1).selectors({0: ("shop", "orders")}.get) == frozenset()


def test_closing_twice_closes_no_other_file(own: Caller) -> None:
    own.close()
    reader, writer = os.pipe()
    own.close()
    os.close(reader)
    os.close(writer)
    assert own.selectors(nobody) == frozenset()


class OldKernel:
    """A socket of a kernel before 6.5, or one whose caller has ended."""

    def __init__(self, pid: int, errno: int) -> None:
        self.pid = pid
        self.errno = errno

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if option == socket.SO_PEERCRED:
            return b"".join(n.to_bytes(4, sys.byteorder) for n in (self.pid, 0, 0))
        raise OSError(self.errno, os.strerror(self.errno))


def test_an_older_kernel_is_asked_by_pid() -> None:
    caller: Any = caller_of(OldKernel(os.getpid(), errno.ENOPROTOOPT))
    assert caller.is_alive
    caller.close()


def test_a_pid_that_may_be_anothers_by_now_is_not_believed() -> None:
    assert caller_of(OldKernel(os.getpid(), errno.ESRCH)).selectors(nobody) == frozenset()
