"""Which ports of this machine are free, and what listens."""

from __future__ import annotations

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """All bound at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        if address.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(address.removeprefix("unix://"))
            return True
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), 0.5):
            return True
    return False
