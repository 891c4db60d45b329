"""Herds, crowds, clocks and the end of a server: over real mTLS, with simulated sidecars."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from bench.one_envoy import Source, identity, new_authority, until
from ca import keys
from controlplane.load.fleet import Connection, Fleet, Identity
from xds import schema
from xds.desk import CROWDED, MAX_STREAMS
from xds.ledger import Ledger, State
from xds.serve import STOPPING, STUCK_SECONDS, ServerIdentity, XdsServer
from xds.snapshot import Resource, Snapshot

NODES = tuple(f"shop/n{number:02}" for number in range(40))


class Clock:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Port:
    source: Source
    ledger: Ledger
    server: XdsServer
    fleet: Fleet
    clock: Clock
    identities: list[Identity]

    def offer(self, text: str, nodes: tuple[str, ...] = NODES) -> None:
        self.source.revision += 1
        self.source.snapshots |= dict.fromkeys(nodes, content(text))
        self.server.publish(nodes)

    async def hold(self, text: str, nodes: tuple[str, ...] = NODES) -> bool:
        wanted = content(text).resources("type.googleapis.com/envoy.config.cluster.v3.Cluster")["c"].version
        held = (self.fleet.sidecars[node].versions for node in nodes)
        everyone = list(held)
        return await self.fleet.until(lambda: all(wanted in v()[CLUSTER].values() for v in everyone), 20)


CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


def content(text: str) -> Snapshot:
    cluster = schema.new("envoy.config.cluster.v3.Cluster", name="c", alt_stat_name=text)
    listener = schema.new("envoy.config.listener.v3.Listener", name="l")
    return Snapshot.of([Resource.of("c", cluster), Resource.of("l", listener)])


@asynccontextmanager
async def listening(stuck_seconds: float = STUCK_SECONDS) -> AsyncIterator[Port]:
    authority, source, ledger, clock = new_authority(), Source(), Ledger(), Clock()
    source.identities = {node: f"spiffe://example.org/ns/shop/sa/{node[5:]}" for node in NODES}
    source.snapshots = dict.fromkeys(NODES, content("first"))
    key = keys.new_key()
    svid = authority.issue_server(keys.csr_for(key), (), ())
    own = ServerIdentity(keys.key_pem(key), svid.chain_pem.encode(), authority.bundle.to_pem().encode())
    server = XdsServer("127.0.0.1:0", lambda: own, source, ledger, now=clock, stuck_seconds=stuck_seconds)
    found = {node: identity(authority, who) for node, who in source.identities.items()}
    identities = [
        Identity(node, i.key_pem, i.svid.chain_pem.encode(), i.bundle_pem) for node, i in found.items()
    ]
    await server.start()
    fleet = Fleet(f"127.0.0.1:{server.port}", identities)
    try:
        yield Port(source, ledger, server, fleet, clock, identities)
    finally:
        fleet.disconnect()
        await server.stop(0.1)


@pytest.fixture
async def port() -> AsyncIterator[Port]:
    async with listening() as one:
        yield one


async def test_a_herd_is_let_in_whole_and_nobody_is_turned_away(port: Port) -> None:
    await port.fleet.connect()
    assert await port.fleet.complete(20)
    assert (port.fleet.refused, len(port.fleet.connections)) == (0, len(NODES))
    port.fleet.disconnect()
    await port.fleet.connect()
    port.offer("after the herd")
    assert await port.hold("after the herd")
    assert port.fleet.refused == 0


async def test_a_server_that_stops_says_so_on_every_stream_a_few_at_a_time(port: Port) -> None:
    await port.fleet.connect()
    assert await port.fleet.complete(20)
    connections = dict(port.fleet.connections)
    ended: dict[str, float] = {}

    async def watch() -> None:
        def all_over() -> bool:
            for node, connection in connections.items():
                if connection.ended is not None:
                    ended.setdefault(node, time.monotonic())
            return len(ended) == len(NODES)

        assert await port.fleet.until(all_over, 20)

    watching = asyncio.create_task(watch())
    await port.server.stop()
    await watching
    assert {(c.ended.status, c.ended.message) for c in connections.values() if c.ended} == {(14, STOPPING)}
    assert all(c.going_away for c in connections.values())
    assert len(set(ended.values())) > 3, "not all in one instant"
    assert list(ended) != sorted(ended), "in no order that would be the same each time"


async def test_the_oldest_stream_of_a_node_makes_room_for_the_newest(port: Port) -> None:
    crowd = [Fleet(f"127.0.0.1:{port.server.port}", port.identities[:1]) for _ in range(MAX_STREAMS + 3)]
    node = NODES[0]
    firsts: list[Connection] = []
    for one in crowd:
        await one.connect()
        firsts.append(one.connections[node])
        assert await one.complete(20)
    firsts, first = firsts[:3], crowd[0]
    assert await first.until(lambda: not first.connections, 20)
    assert await crowd[2].until(lambda: not crowd[2].connections, 20)
    assert all(one.connections for one in crowd[3:])
    await port.fleet.connect(NODES[1:2])
    port.offer("for all", (node, NODES[1]))
    assert await port.hold("for all", (NODES[1],)), "the crowd is nobody else's trouble"
    assert {c.ended.message for c in firsts if c.ended} == {CROWDED}
    for one in crowd:
        one.disconnect()


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400)], ids=["ahead", "back"])
async def test_a_clock_that_jumps_ends_no_stream_and_delays_no_push(port: Port, jump: timedelta) -> None:
    await port.fleet.connect(NODES[:5])
    assert await port.fleet.complete(20)
    port.clock.ahead = jump
    port.offer("after the jump")
    assert await port.hold("after the jump", NODES[:5])
    port.clock.ahead = timedelta()
    port.offer("set right again")
    assert await port.hold("set right again", NODES[:5])
    assert port.fleet.refused == 0
    await until(lambda: {s.state for s in port.ledger.status()} == {State.SYNCED})
    lines = list(port.server.meter.lines())
    total = next(float(line.split()[1]) for line in lines if line.startswith("pylis_xds_push_seconds_sum"))
    assert 0 < total < 60, "measured by a clock that does not jump"


async def test_a_stream_that_is_ended_and_does_not_take_even_that_is_cut() -> None:
    async with listening(stuck_seconds=0.1) as port:
        await port.fleet.connect(NODES[:2])
        assert await port.fleet.complete(20)
        port.fleet.connections[NODES[0]].pause()
        large = "x" * 40_000_000  # more than buffers hold
        port.offer(large, NODES[:2])
        assert await port.hold(large, NODES[1:2])
        port.server.close_streams(lambda peer: peer.identity.path.endswith("n00"), "cut off")
        states = lambda: {s.node_id: s.state for s in port.ledger.status()}  # noqa: E731
        await until(lambda: states()[NODES[0]] is State.LOST)
        assert states()[NODES[1]] is State.SYNCED
