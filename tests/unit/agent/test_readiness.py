from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.readiness import Health, Probe, probe


def test_a_workload_is_ready_at_its_first_success() -> None:
    health = Health(3)
    assert health.reason
    health.answered("answers 503")
    assert health.reason == "answers 503"
    health.answered("")
    assert not health.reason


def test_a_ready_workload_may_fail_now_and_then() -> None:
    health = Health(3)
    health.answered("")
    for found in ("x", "x", "", "x", "x"):
        health.answered(found)
        assert not health.reason
    health.answered("y")
    assert health.reason == "y"


def test_a_process_that_ended_is_not_forgiven() -> None:
    health = Health(3)
    health.answered("")
    health.stopped("its application does not run")
    assert health.reason == "its application does not run"


@asynccontextmanager
async def answering(answer: bytes, where: Path | None = None) -> AsyncIterator[str]:
    """An address that answers each request so; b"": that never answers."""

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n") if answer else await reader.read()
            writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    if where is not None:
        server: asyncio.Server = await asyncio.start_unix_server(serve, str(where))
        address = f"unix://{where}"
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield address
    await asyncio.gather(*serving)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 302 Found\r\n\r\n", ""),
        (b"HTTP/1.1 503 No\r\n\r\n", "answers 503"),
        (b"HTTP/1.1 404 No\r\n\r\n", "answers 404"),
        (b"SSH-2.0-x\r\n", "answers something that is no HTTP"),
    ],
)
async def test_http_is_ready_when_it_answers_well(answer: bytes, problem: str) -> None:
    async with answering(answer) as address:
        assert await probe(Probe(address, "/ready")) == problem


async def test_tcp_is_ready_when_it_takes_connections(tmp_path: Path) -> None:
    async with answering(b"x") as address:
        assert await probe(Probe(address)) == ""
    assert "cannot be reached" in await probe(Probe(address))
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n", tmp_path / "app.sock") as address:
        assert await probe(Probe(address, "/")) == ""
    assert "cannot be reached" in await probe(Probe(f"unix://{tmp_path}/none"))


async def test_an_application_that_says_nothing_is_not_waited_for() -> None:
    async with answering(b"") as address:
        assert await probe(Probe(address, "/ready", timeout=0.05)) == "no answer within 0.05 s"
