"""How the container agent joins: by a real Unix socket that a control plane listens on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent import node_identity
from agent.attest import AttestError
from agent.docker.run import DockerConfig, ask_join_socket, fresh, join, put_gate
from ca.attest.join_token import JoinToken

TOKEN = JoinToken("127.0.0.1:1", "127.0.0.1:2", "example.org", "0" * 64, "docker", "secret")


def config(tmp_path: Path, join_socket: Path | None = None) -> DockerConfig:
    return DockerConfig(tmp_path / "data", tmp_path / "run", tmp_path / "gate", "envoy", join_socket, None)


@asynccontextmanager
async def saying(path: Path, text: bytes) -> AsyncIterator[Path]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        writer.close()

    async with await asyncio.start_unix_server(answer, str(path)):
        yield path


async def test_the_token_comes_from_the_socket(short_dir: Path) -> None:
    async with saying(short_dir / "s", TOKEN.encode().encode() + b"\n") as path:
        assert await ask_join_socket(path) == TOKEN


@pytest.mark.parametrize("text", [b"", b"hello\n", b"\xff\xfe\n", b"pylis1.x\n"])
async def test_what_is_no_token_is_told_without_repeating_it(short_dir: Path, text: bytes) -> None:
    async with saying(short_dir / "s", text) as path:
        with pytest.raises(AttestError, match="no join token from") as told:
            await ask_join_socket(path)
    assert not told.value.final  # the control plane may still be starting
    assert "hello" not in str(told.value)


async def test_a_socket_that_is_not_there_is_asked_again(short_dir: Path) -> None:
    with pytest.raises(AttestError) as told:
        await ask_join_socket(short_dir / "nothing")
    assert not told.value.final


async def test_without_a_token_and_a_socket_it_ends_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AttestError, match="--join-socket or a join token") as told:
        await fresh(config(tmp_path))
    assert told.value.final
    with pytest.raises(AttestError):
        await join(config(tmp_path))


async def test_who_has_joined_does_not_join_again(tmp_path: Path, mesh: Any) -> None:
    settings = config(tmp_path)
    settings.data_dir.mkdir()
    node = mesh.node()
    node_identity.save(node, settings.data_dir)
    assert (await join(settings)).agent == node.agent


async def test_an_identity_that_has_ended_is_not_taken(tmp_path: Path, mesh: Any) -> None:
    settings = config(tmp_path)
    settings.data_dir.mkdir()
    node_identity.save(mesh.node(age=timedelta(hours=2)), settings.data_dir)
    with pytest.raises(AttestError, match="has not joined"):
        await join(settings)


def test_the_gate_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    gate, target = tmp_path / "pylis-gate", tmp_path / "volume"
    put_gate(target, gate)
    assert not target.exists()  # an agent without one, as on a laptop
    for text in ("old", "new"):
        gate.write_text(text)
        gate.chmod(0o755)
        put_gate(target, gate)
    assert (target / "pylis-gate").read_text() == "new"
    assert (target / "pylis-gate").stat().st_mode & 0o111
    assert [one.name for one in target.iterdir()] == ["pylis-gate"]


def test_a_directory_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    gate = tmp_path / "pylis-gate"
    gate.write_text("x")
    (tmp_path / "file").write_text("")
    put_gate(tmp_path / "file" / "below", gate)
