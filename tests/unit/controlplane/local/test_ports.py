from __future__ import annotations

import socket
from pathlib import Path

from controlplane.local.ports import answers, free_ports, is_free


def test_free_ports_differ() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20


def test_a_port_somebody_listens_on_is_not_free_and_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        assert answers(f"127.0.0.1:{port}")
    assert not answers(f"127.0.0.1:{port}")


def test_a_unix_socket_answers_while_somebody_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert not answers(f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert answers(f"unix://{path}")
