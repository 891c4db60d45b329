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


def test_one_that_has_ended_is_nobody(listener: socket.socket) -> None:
    subprocess.run([sys.executable, "-c", CONNECT, listener.getsockname()], check=True)
    server, _ = listener.accept()
    with server:
        caller = caller_of(server)
        assert caller.pid != os.getpid()
        assert not caller.is_alive
        caller.close()


def test_closing_twice_closes_no_other_file(own: Caller) -> None:
    own.close()
    reader, writer = os.pipe()
    own.close()
    os.close(reader)
    os.close(writer)
    assert not own.is_alive


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
    assert not caller_of(OldKernel(os.getpid(), errno.ESRCH)).is_alive
