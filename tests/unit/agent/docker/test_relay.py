from __future__ import annotations

import asyncio
from pathlib import Path

from agent.docker.relay import Relay


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


async def test_bytes_go_both_ways_and_an_end_is_passed_on(tmp_path: Path) -> None:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    relay = Relay(tmp_path / "x.sock", lambda: f"127.0.0.1:{port}")
    await relay.listen()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "x.sock"))
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"HELLO"
    writer.close()
    await relay.close()
    server.close()
    assert await reader.read() == b""


async def test_a_control_plane_that_is_away_ends_the_connection(tmp_path: Path) -> None:
    relay = Relay(tmp_path / "x.sock", lambda: "127.0.0.1:1")
    await relay.listen()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "x.sock"))
    assert await reader.read() == b""
    writer.close()
    await relay.close()
