"""`pylis server --xds-workers 2`: what sidecars are told and what is known of them is as without workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from ca import node_protocol
from ca.service import XDS_DNS_NAME
from controlplane.load.fleet import Fleet, Identity
from controlplane.load.installation import Api
from controlplane.load.mesh import LoadMesh
from tests.integration.running_server import RunningServer
from xds import health

# asyncio leaves the socket of a TLS handshake to the collector where the other end is killed in the midst of it
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

LOAD = LoadMesh("cluster.local", 12, replicas=2)
ROOT = "istio-system"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    options = ("--store", "memory://", "--xds-workers", "2", "--sidecars", "127.0.0.1:0")
    with RunningServer(tmp_path_factory.mktemp("workers"), *options) as running:
        workers = running.children()
        assert len(workers) == 2
        yield running
        workers = running.children()
        running.stop(signal.SIGKILL)
    end = time.monotonic() + 30
    while any(map(_runs, workers)):  # they go when the server does, however it does
        assert time.monotonic() < end
        time.sleep(0.02)


@dataclass
class Mesh:
    server: RunningServer
    api: Api
    identities: list[Identity]
    fleet: Fleet

    async def text(self, path: str) -> str:
        context = ssl.create_default_context(cadata=self.server.ca_pem)
        headers = {"Authorization": f"Bearer {self.server.token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"https://{self.server.api}{path}", ssl=context) as response,
        ):
            return await response.text()

    async def worker_streams(self) -> list[int]:
        lines = (await self.text("/metrics")).splitlines()
        return [int(line.split()[-1]) for line in lines if line.startswith("pylis_xds_worker_streams{")]

    async def status(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """What `pylis proxy status` shows, by node, when it is `true`."""
        async with asyncio.timeout(60):
            while True:
                answer = await self.api.request("GET", "/pylis/v1/proxies")
                found = {one["name"]: one for one in answer["items"]}
                if true(found):
                    return found
                await asyncio.sleep(0.02)

    async def all_synced(self) -> None:
        await self.status(lambda found: {found[n]["state"] for n in self.fleet.connections} == {"synced"})

    async def all_hold(self, extension: str) -> None:
        """Every connected sidecar has taken something in since the last reset, and then nothing is left to say."""
        sidecars = [self.fleet.sidecars[node] for node in self.fleet.connections]
        assert await self.fleet.until(lambda: all(s.resources for s in sidecars), 60), extension
        await self.all_synced()


@pytest.fixture
async def mesh(server: RunningServer) -> AsyncIterator[Mesh]:
    context = ssl.create_default_context(cadata=server.ca_pem)
    async with Api(f"https://{server.api}", server.token, context) as api:
        await api.create([*LOAD.resources(), LOAD.mesh_wide(ROOT)])
        identities = await api.identities(list(LOAD.nodes()), 3600)
        fleet = Fleet(server.sidecars, identities, server_name=XDS_DNS_NAME)
        one = Mesh(server, api, identities, fleet)
        try:
            await fleet.connect()
            assert await fleet.complete(60)
            await one.all_synced()
            yield one
        finally:
            one.fleet.disconnect()


async def test_what_is_told_is_what_the_server_tells_itself_and_is_not_told_again(mesh: Mesh) -> None:
    itself = Fleet(mesh.server.xds, mesh.identities)
    await itself.connect()
    assert await itself.complete(60)
    assert {n: s.versions() for n, s in itself.sidecars.items()} == {
        n: s.versions() for n, s in mesh.fleet.sidecars.items()
    }
    itself.disconnect()
    mesh.fleet.disconnect()
    moved = Fleet(mesh.server.sidecars, mesh.identities, server_name=XDS_DNS_NAME)
    moved.sidecars, mesh.fleet = itself.sidecars, moved
    moved.reset()
    await moved.connect()
    await mesh.all_synced()
    assert sum(sidecar.resources for sidecar in moved.sidecars.values()) == 0
    moved.disconnect()


async def test_an_edit_reaches_the_sidecars_of_every_worker_and_is_acknowledged(mesh: Mesh) -> None:
    streams = await mesh.worker_streams()
    assert sum(streams) == len(mesh.identities)
    assert min(streams) > 0  # one in 8 million times the kernel gives all to one
    mesh.fleet.reset()
    await mesh.api.replace(LOAD.mesh_wide(ROOT, "/edited*"))
    await mesh.all_hold("/edited*")
    mesh.fleet.reset()
    await mesh.api.replace(LOAD.policy(3, "/one*"))
    edited = LOAD.replicas_of(3)
    assert await mesh.fleet.until(lambda: all(mesh.fleet.sidecars[n].resources for n in edited), 60)
    await mesh.all_synced()
    assert {n for n, s in mesh.fleet.sidecars.items() if s.responses} == edited  # and nobody else heard of it


async def test_a_refusal_is_known_in_the_proxys_words_until_it_is_mended(mesh: Mesh) -> None:
    (node, *_) = sorted(LOAD.replicas_of(5))
    mesh.fleet.sidecars[node].refuse = True
    await mesh.api.replace(LOAD.policy(5, "/refused*"))
    found = await mesh.status(lambda found: found[node]["state"] == "nacked")
    assert "refused on purpose" in found[node]["note"]
    assert found[node]["svidExpires"]
    await mesh.api.replace(LOAD.policy(5, "/mended*"))
    await mesh.all_synced()


async def test_a_worker_that_dies_is_replaced_and_its_proxies_are_told_nothing_again(mesh: Mesh) -> None:
    before = mesh.server.children()
    mesh.fleet.reset()
    os.kill(before[0], signal.SIGKILL)
    assert await mesh.fleet.until(lambda: len(mesh.fleet.connections) < len(mesh.identities), 60)
    async with asyncio.timeout(60):
        while len(mesh.fleet.connections) < len(mesh.identities):
            gone = [one.node_id for one in mesh.identities if one.node_id not in mesh.fleet.connections]
            await mesh.fleet.connect(gone)
            await mesh.fleet.until(lambda: False, 0.05)  # a connection may be to the one that just died
    await mesh.all_synced()
    assert sum(sidecar.resources for sidecar in mesh.fleet.sidecars.values()) == 0
    async with asyncio.timeout(60):
        while "pylis_xds_workers 2" not in await mesh.text("/metrics"):
            pass
    assert len(set(mesh.server.children()) - set(before)) == 1


async def test_a_quarantine_ends_the_streams_and_no_worker_lets_them_in_again(mesh: Mesh) -> None:
    cut_off = LOAD.replicas_of(7)
    (identity,) = {identity for node, identity in LOAD.nodes() if node in cut_off}
    quarantine = {
        "apiVersion": "pylis.io/v1alpha1", "kind": "Quarantine", "metadata": {"name": "stolen"},
        "spec": {"spiffeIDs": [identity]},
    }  # fmt: skip
    streams = {node: mesh.fleet.connections[node] for node in cut_off}
    await mesh.api.create([quarantine])
    try:
        assert await mesh.fleet.until(lambda: not cut_off & mesh.fleet.connections.keys(), 60)
        assert {"quarantine" in stream.ended.message for stream in streams.values() if stream.ended} == {True}
        for _ in range(4):  # whichever worker it is
            await mesh.fleet.connect(cut_off)
            assert await mesh.fleet.until(lambda: not cut_off & mesh.fleet.connections.keys(), 60)
        await mesh.all_synced()
    finally:
        await mesh.api.delete(quarantine)


async def test_another_authority_is_presented_by_every_worker_at_once(mesh: Mesh) -> None:
    path = "/pylis/v1/authorities"
    await mesh.api.request("POST", f"{path}/prepare", {"type": "x509"})
    answer = await mesh.api.request("GET", path)
    (made,) = [one["id"] for one in answer["x509"] if one["status"] == "prepared"]
    before = {_presented(mesh.server.sidecars, mesh.server.ca_pem) for _ in range(12)}
    await mesh.api.request("POST", f"{path}/activate", {"id": made})
    after = {_presented(mesh.server.sidecars, mesh.server.ca_pem) for _ in range(12)}
    assert not before & after


async def test_other_services_of_the_xds_port_are_the_servers_alone(mesh: Mesh) -> None:
    one = mesh.identities[0]
    credentials = grpc.ssl_channel_credentials(one.roots.encode(), one.key, one.chain)
    named = (("grpc.ssl_target_name_override", XDS_DNS_NAME),)
    async with grpc.aio.secure_channel(mesh.server.sidecars, credentials, named) as channel:
        assert await channel.unary_unary(health.CHECK)(b"", timeout=20) == health.SERVING
        # nothing is written: a write that meets the refusal would hide it
        silent = channel.stream_stream(node_protocol.SYNC_METHOD)(timeout=20)
        assert await silent.code() is grpc.StatusCode.UNIMPLEMENTED


def _runs(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _presented(address: str, roots: str) -> bytes:
    """The certificate (DER) of whichever worker answers."""
    context = ssl.create_default_context(cadata=roots)
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as opened:
        plain = opened.enter_context(socket.create_connection((host, int(port)), timeout=20))
        tls = opened.enter_context(context.wrap_socket(plain, server_hostname=XDS_DNS_NAME))
        return tls.getpeercert(binary_form=True) or b""
