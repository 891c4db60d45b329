"""Who is calling on the Unix socket: what the kernel says of the other end, as selectors.

Credentials are those at connect(). The pidfd keeps the pid from being somebody else's by the time /proc is
read: everything read counts only while the process still runs. A caller without a pid here (of another
namespace) is nobody.
Source: unix(7) SO_PEERCRED; SO_PEERPIDFD (Linux 6.5)
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agent.process import is_running
from ca.attest.unix import ProcessFacts

_SO_PEERPIDFD: Final = 77

# kernel session id → (namespace, name) of the workload the agent started as that session
Sessions = Callable[[int], tuple[str, str] | None]


@dataclass(slots=True)
class Caller:
    """Belongs to one connection; `close` when it ends."""

    pid: int
    uid: int
    gid: int
    pidfd: int
    container: tuple[str, frozenset[str]] | None = None  # its ID, and what the engine said of it

    @property
    def is_alive(self) -> bool:
        return self.pidfd >= 0 and is_running(self.pidfd)

    def facts(self) -> ProcessFacts:
        """What /proc says of the pid now: it counts only if the process `is_alive` afterwards."""
        return _facts(self.pid, self.uid, self.gid)

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def caller_of(sock: Any) -> Caller:
    """`sock`: a connected Unix socket (or asyncio's view of one)."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", credentials)
    return Caller(pid, uid, gid, _pidfd(sock, pid))


def _pidfd(sock: Any, pid: int) -> int:
    try:
        return struct.unpack("i", sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4))[0]
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT or pid <= 0:
            return -1  # the caller has ended: its pid may be another's by now
    with contextlib.suppress(OSError):  # before Linux 6.5: a gap between connect and here remains
        return os.pidfd_open(pid)
    return -1


def _facts(pid: int, uid: int, gid: int) -> ProcessFacts:
    path = ""
    with contextlib.suppress(OSError):
        path = str(Path(f"/proc/{pid}/exe").readlink())
    groups: tuple[int, ...] = ()
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Groups:"):
                groups = tuple(int(g) for g in line.split()[1:])
    user = group = ""
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(gid).gr_name
    return ProcessFacts(uid, gid, groups, path, user, group)
