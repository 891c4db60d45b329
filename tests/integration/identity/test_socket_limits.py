"""What one process can take of the agent's socket, and that others go on."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

from agent.socket_server import MAX_PER_PROCESS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
PING = bytes([0, 0, 8, 6, 0]) + bytes(4) + b"pinging!"
PONG = bytes([0, 0, 8, 6, 1]) + bytes(4) + b"pinging!"
FETCH = """
import sys
from spiffe import WorkloadApiClient
print(WorkloadApiClient(f"unix://{sys.argv[1]}").fetch_x509_svid(timeout=20).spiffe_id)
"""


def is_open(connection: socket.socket) -> bool:
    """Is a ping answered?"""
    connection.settimeout(20)
    said = b""
    try:
        connection.sendall(PREFACE + PING)
        while PONG not in said:
            if not (more := connection.recv(4096)):
                return False
            said += more
    except ConnectionError:
        return False
    return True


def test_a_process_that_takes_all_connections_gets_its_share_and_no_more(control_plane: Any) -> None:
    control_plane.register("orders")
    agent = control_plane.join("one")
    control_plane.until(lambda: agent.status.get("identities"), "no identity")
    held: list[socket.socket] = []
    for _ in range(MAX_PER_PROCESS + 10):
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(agent.socket))
        held.append(one)
    assert [is_open(one) for one in held] == [True] * MAX_PER_PROCESS + [False] * 10
    other = subprocess.run(
        [sys.executable, "-c", FETCH, str(agent.socket)], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == "spiffe://example.org/ns/default/sa/orders"
    for one in held:
        one.close()
    again = socket.socket(socket.AF_UNIX)
    again.connect(str(agent.socket))
    assert is_open(again)
    again.close()
