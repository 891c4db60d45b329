"""Against a socket that answers as engines do, and as they should not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.docker_engine import MAX_ANSWER, DockerEngine, EngineError


@contextlib.asynccontextmanager
async def engine(path: Path, answer: bytes) -> AsyncIterator[tuple[DockerEngine, list[bytes]]]:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path / "d"))
    async with server:
        yield DockerEngine(path / "d"), asked


async def test_it_is_asked_by_id(short_dir: Path) -> None:
    answer = b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"Id": "x"}'
    async with engine(short_dir, answer) as (one, asked):
        assert await one.container("ab") == {"Id": "x"}
        assert await one.image("sha256:cd") == {"Id": "x"}
    assert [line.split(b" ")[1] for line in asked] == [b"/containers/ab/json", b"/images/sha256:cd/json"]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.0 404 Not Found\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n{",
        b"nonsense\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.0 200 OK\r\n\r\n" + b" " * (MAX_ANSWER + 1),
    ],
    ids=["nothing", "not found", "no JSON", "no HTTP", "deep", "large"],
)
async def test_any_other_answer_is_an_error(short_dir: Path, answer: bytes) -> None:
    async with engine(short_dir, answer) as (one, _):
        with pytest.raises(EngineError):
            await one.container("ab")


async def test_no_engine_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError):
        await DockerEngine(tmp_path / "nothing").container("ab")
