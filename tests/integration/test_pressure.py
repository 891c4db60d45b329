"""What one proxy does, or fails to do, is no other proxy's trouble: over real mTLS, with simulated sidecars."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.one_envoy import Source, identity, new_authority, xds_server
from controlplane.load.fleet import Fleet, Identity
from xds import schema
from xds.compile import Work
from xds.ledger import Ledger, State
from xds.serve import XdsServer
from xds.snapshot import CLUSTER, Resource, Snapshot

BAD, GOOD = "shop/bad", "shop/good"


class Mesh:
    def __init__(self) -> None:
        self.source, self.ledger = Source(), Ledger()
        self.server: XdsServer
        self.fleet: Fleet

    def offer(self, text: str) -> str:
        """The same cluster to both; its version."""
        cluster = Resource.of(
            "c", schema.new("envoy.config.cluster.v3.Cluster", name="c", alt_stat_name=text)
        )
        listener = Resource.of("l", schema.new("envoy.config.listener.v3.Listener", name="l"))
        self.source.revision += 1
        self.source.snapshots = dict.fromkeys((BAD, GOOD), Snapshot.of([cluster, listener]))
        return cluster.version

    async def holds(self, node: str, version: str) -> bool:
        held = self.fleet.sidecars[node].versions
        return await self.fleet.until(lambda: held()[CLUSTER].get("c") == version, 30)


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    one, authority = Mesh(), new_authority()
    one.source.identities = {node: f"spiffe://example.org/ns/shop/sa/{node[5:]}" for node in (BAD, GOOD)}
    found = {node: identity(authority, who) for node, who in one.source.identities.items()}
    identities = [
        Identity(node, i.key_pem, i.svid.chain_pem.encode(), i.bundle_pem) for node, i in found.items()
    ]
    one.offer("first")
    async with xds_server(authority, one.source, one.ledger) as one.server:
        one.fleet = Fleet(f"127.0.0.1:{one.server.port}", identities)
        await one.fleet.connect()
        assert await one.fleet.complete(20)
        yield one
        one.fleet.disconnect()


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def test_a_proxy_that_never_reads_delays_nobody_and_nothing_piles_up_for_it(mesh: Mesh) -> None:
    mesh.fleet.connections[BAD].pause()
    mesh.fleet.reset()
    before, newest = resident_mb(), ""
    for number in range(40):  # 4 MB each
        newest = mesh.offer(f"{number:04}" * 1_000_000)
        mesh.server.publish()
        assert await mesh.holds(GOOD, newest)
    assert resident_mb() - before < 110  # not 40 times, 160 MB, what it does not take
    mesh.fleet.connections[BAD].resume()
    assert await mesh.holds(BAD, newest)
    assert mesh.fleet.sidecars[BAD].responses <= 3  # what was sent already, then the newest


async def test_a_proxy_that_refuses_for_ever_is_told_each_content_once(mesh: Mesh) -> None:
    mesh.fleet.reset()
    for number in range(30):
        mesh.fleet.sidecars[BAD].refuse = True
        version = mesh.offer(f"content {number}")
        mesh.server.publish()
        assert await mesh.holds(GOOD, version)
        assert await mesh.fleet.until(lambda n=number: mesh.fleet.sidecars[BAD].responses == n + 1, 30)
    states = {status.node_id: status.state for status in mesh.ledger.status()}
    assert states[BAD] is State.NACKED


async def test_a_proxy_that_comes_and_goes_delays_nobody(mesh: Mesh) -> None:
    for number in range(40):
        mesh.fleet.disconnect([BAD])
        version = mesh.offer(f"content {number}")
        mesh.server.publish()
        await mesh.fleet.connect([BAD])
        assert await mesh.holds(GOOD, version)
    assert await mesh.holds(BAD, version)
    assert len(mesh.ledger.status()) == 2


async def test_a_proxy_whose_configuration_takes_long_keeps_nobody_waiting(mesh: Mesh) -> None:
    may_end, done, begun = threading.Event(), list[Resource](), list[int]()

    def run() -> Resource:
        begun.append(1)
        assert may_end.wait(30)
        return Resource.of("c", schema.new("envoy.config.cluster.v3.Cluster", name="c"))

    work = Work("the same for all who wait", run, done.append)
    mesh.source.heavy = lambda node: [work] if node == BAD and not done else []  # type: ignore[method-assign]
    version = mesh.offer("second")
    mesh.server.publish()
    assert await mesh.holds(GOOD, version)
    newest = mesh.offer("third")
    mesh.server.publish()
    assert await mesh.holds(GOOD, newest)
    assert mesh.fleet.sidecars[BAD].versions()[CLUSTER]["c"] not in (version, newest)
    may_end.set()
    assert await mesh.holds(BAD, newest)
    assert (len(begun), len(done)) == (1, 1)
