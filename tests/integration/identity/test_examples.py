"""The programs in docs/examples, as they stand there, against a real agent."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
ME = "spiffe://example.org/ns/default/sa/both"


@pytest.fixture
def start(control_plane: Any, tmp_path: Path) -> Iterator[Any]:
    """start(program, *arguments): its output file. Server and client run as this user: one identity is both's."""
    control_plane.register("both")
    agent = control_plane.join("one")
    control_plane.until(lambda: agent.status.get("identities"), "no identity")
    running: list[subprocess.Popen[bytes]] = []

    def run(program: str, *arguments: str) -> Path:
        path = tmp_path / f"{len(running)}.log"
        env = {**os.environ, "SPIFFE_ENDPOINT_SOCKET": f"unix://{agent.socket}"}
        with path.open("wb") as log:
            command = [sys.executable, str(EXAMPLES / program), *arguments]
            running.append(subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=EXAMPLES))
        return path

    yield run
    for one in running:
        one.terminate()
        one.wait()


def a_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_server_and_client_talk_by_mutual_tls_and_follow_a_rotation(control_plane: Any, start: Any) -> None:
    port = a_port()
    start("aiohttp_server.py", str(port), ME)
    said = start("aiohttp_client.py", f"https://127.0.0.1:{port}/", ME)

    def serials() -> list[str]:
        lines = [line for line in said.read_text().splitlines() if line.startswith(f"200 hello {ME} ")]
        return list(dict.fromkeys(line.split()[-1] for line in lines))

    control_plane.until(lambda: len(serials()) == 1, said)
    control_plane.register("both", x509TTL="2h")
    control_plane.until(lambda: len(serials()) == 2, said)
    text = said.read_text()
    assert "failed" not in text[text.index("200 hello") :]


def test_neither_talks_to_anybody_else(control_plane: Any, start: Any) -> None:
    port, other = a_port(), ME.replace("both", "other")
    start("aiohttp_server.py", str(port), other)
    refused = start("aiohttp_client.py", f"https://127.0.0.1:{port}/", ME)
    wrong = start("aiohttp_client.py", f"https://127.0.0.1:{port}/", other)
    for said in (refused, wrong):
        control_plane.until(lambda said=said: said.read_text().count("failed") > 20, said)
        assert "200" not in [line.split()[0] for line in said.read_text().splitlines()]
    assert "none of those that may be there" in wrong.read_text()
