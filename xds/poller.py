"""gRPC's poller never waits for the event loop (an edge: it looks at this process's file descriptors).

For each event a thread of gRPC's queues it and writes a byte to a socket pair, which wakes the loop; the loop takes all
that is queued, but one byte a turn. With more events than turns the socket is full after some 280 bytes. Then the thread
waits in `write` and events come in one a turn of the loop, however short that is: under a flood of edits a push took
300 ms, 250 of 260 samples had the thread there, and nobody's edit was told in time (measured; grpcio 1.85, Linux 6).
Where the write does not wait, a byte that finds no room is not missed: those that are there wake the loop as well.
Source: grpcio, src/python/grpcio/grpc/_cython/_cygrpc/aio/completion_queue.pyx.pxi
"""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# grpc comes without complete types

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import grpc

_MOST: Final = 1024  # descriptors; a process that is about to listen has fewer


def server(options: Sequence[tuple[str, int]]) -> Any:
    """A `grpc.aio.server`; the first of a process makes the poller."""
    before = _sockets()
    made = grpc.aio.server(options=options)
    new = sorted(_sockets() - before)
    if len(new) == 2:  # the end that is written to is the second
        os.set_blocking(new[1], False)
    return made


def _sockets() -> set[int]:
    """Descriptors of sockets that are local and have no address, as a pair's are. A confined worker sees no /proc."""
    found = set[int]()
    for descriptor in range(_MOST):
        with suppress(OSError):  # it is none
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as one:
                    if one.family == socket.AF_UNIX and not one.getsockname():
                        found.add(descriptor)
    return found
