"""The stream, against a real mTLS server that speaks as each test wants it to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from typing import Any

import grpc
import pytest

from agent.link import MAX_BATCH, Link
from agent.node_identity import NodeIdentity
from ca import keys, node_codec, node_protocol
from ca.bundle import TrustBundle
from ca.csr import prove
from ca.keystore import MemoryKeystore
from ca.node_protocol import Acknowledge, Authorized, FromServer, Hello, Refused, RenewAgent, Sign, Signed
from ca.rotation import Family
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain
from xds.errors import NotAuthorizedError
from xds.ledger import Ledger
from xds.serve import ServerIdentity, XdsServer, methods
from xds.snapshot import Snapshot


class Nothing:
    """A source of configuration for nobody."""

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        raise NotAuthorizedError(node_id)

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        return 0, Snapshot()


class ControlPlane:
    """Signs everything; `answer` may be replaced by a test. `frames` is what came in."""

    def __init__(self, mesh: Any) -> None:
        self.mesh = mesh
        self.entries: tuple[Any, ...] = ()
        self.frames: list[list[Any]] = []
        self.streams = 0
        self.answer: Callable[[Any], FromServer | None] = self.sign
        self.first: Callable[[], FromServer] = lambda: Authorized(self.entries, mesh.ca.bundle)
        self.server: XdsServer | None = None
        self.port = 0
        own = self.own_identity()
        self.identity: Callable[[], ServerIdentity] = lambda: own
        self._queues: set[asyncio.Queue[list[FromServer]]] = set()

    def own_identity(self) -> ServerIdentity:
        key = keys.new_key()
        svid = self.mesh.ca.issue_server(keys.csr_for(key), (), ())
        return self.as_server(key, svid)

    def as_server(self, key: keys.PrivateKey, svid: Any) -> ServerIdentity:
        roots = self.mesh.ca.bundle.to_pem().encode()
        return ServerIdentity(keys.key_pem(key), svid.chain_pem.encode(), roots)

    async def become(self, identity: ServerIdentity) -> None:
        self.identity = lambda: identity
        assert self.server is not None
        await self.server.refresh_identity()

    async def start(self) -> None:
        handler = grpc.stream_stream_rpc_method_handler(self._sync)
        own = methods({node_protocol.SYNC_METHOD: handler})
        address = f"127.0.0.1:{self.port}"
        self.server = XdsServer(address, lambda: self.identity(), Nothing(), Ledger(), (own,))
        await self.server.start()
        self.port = self.server.port

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(0.0)
            self.server = None

    def push(self) -> None:
        for queue in self._queues:
            queue.put_nowait([self.first()])

    def sign(self, message: Any) -> FromServer | None:
        match message:
            case Sign(id_, name, csr):
                entry = next(e for e in self.entries if e.name == name)
                ttl = timedelta(seconds=entry.ttl_seconds)
                svid = self.mesh.ca.issue_id(SpiffeId.parse(entry.spiffe_id), csr, ttl, ())
                return Signed(id_, svid.chain)
            case RenewAgent(id_, csr):
                return Signed(id_, self.mesh.ca.issue_agent("one", prove(csr)).chain)
            case _:
                return None

    def asked(self, kind: type[Any]) -> list[Any]:
        return [message for frame in self.frames for message in frame if isinstance(message, kind)]

    async def _sync(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        self.streams += 1
        queue = asyncio.Queue[list[FromServer]]()
        self._queues.add(queue)
        queue.put_nowait([self.first()])
        reader = asyncio.ensure_future(self._read(requests, queue))
        try:
            while True:
                if answers := await queue.get():
                    yield node_codec.encode(answers)
        finally:
            reader.cancel()
            self._queues.discard(queue)

    async def _read(self, requests: AsyncIterator[bytes], queue: asyncio.Queue[list[FromServer]]) -> None:
        async for body in requests:
            self.frames.append(list(node_codec.decode_from_agent(body)))
            answers = [self.answer(message) for message in self.frames[-1]]
            queue.put_nowait([a for a in answers if a is not None])


@pytest.fixture
async def plane(mesh: Any) -> AsyncIterator[ControlPlane]:
    one = ControlPlane(mesh)
    await one.start()
    yield one
    await one.stop()


class Agent:
    def __init__(self, mesh: Any, node: NodeIdentity) -> None:
        self.holdings = mesh.holdings
        self.saved: list[NodeIdentity] = []
        self.changes = 0
        self.link = Link(node, mesh.holdings, self.saved.append, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def holds(self, *names: str) -> bool:
        return set(self.holdings.held) == set(names)


@contextlib.asynccontextmanager
async def linked(mesh: Any, plane: ControlPlane, node: NodeIdentity | None = None) -> AsyncIterator[Agent]:
    agent = Agent(mesh, node or mesh.node(f"127.0.0.1:{plane.port}"))
    task = asyncio.ensure_future(agent.link.run())
    try:
        yield agent
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_it_has_a_certificate_signed_for_each_registration(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    plane.entries = (mesh.entry("shop/a"), mesh.entry("shop/b"))
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.holds("shop/a", "shop/b"))
        assert agent.link.is_connected
        assert agent.link.error is None
        (hello,) = plane.asked(Hello)
        assert hello.version == "1"
        assert len(hello.instance) == 32
        assert len(plane.asked(Sign)) == 2


async def test_what_is_registered_later_is_asked_for_and_what_is_removed_dropped(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.is_connected)
        plane.entries = (mesh.entry("shop/a"),)
        plane.push()
        await until(lambda: agent.holds("shop/a"))
        plane.entries = ()
        plane.push()
        await until(lambda: agent.holds())


async def test_an_svid_is_renewed_at_half_of_its_life_with_a_new_key(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.is_connected)
        mesh.age = timedelta(minutes=40)
        plane.entries = (mesh.entry("shop/a"),)
        plane.push()
        await until(lambda: agent.holds("shop/a"))
        first = agent.holdings.held["shop/a"]
        mesh.age = timedelta(0)
        await until(lambda: agent.holdings.held["shop/a"].not_after > first.not_after + timedelta(minutes=30))
        assert agent.holdings.held["shop/a"].key.private_numbers() != first.key.private_numbers()
        assert len(plane.asked(Sign)) >= 2  # the pause before each attempt is tested with the holdings


async def test_requests_are_batched_and_a_frame_has_an_end(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    plane.entries = tuple(mesh.entry(f"shop/w{i}") for i in range(2 * MAX_BATCH + 50))
    async with linked(mesh, plane) as agent:
        await until(lambda: len(agent.holdings.held) == len(plane.entries), 30.0)
    asked = [sum(isinstance(message, Sign) for message in frame) for frame in plane.frames]
    assert [count for count in asked if count] == [MAX_BATCH, MAX_BATCH, 50]


async def test_its_own_certificate_is_renewed_and_the_next_stream_uses_it(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    node = mesh.node(f"127.0.0.1:{plane.port}", age=timedelta(minutes=50))
    async with linked(mesh, plane, node) as agent:
        await until(lambda: plane.streams == 2 and agent.link.is_connected)
        assert len(plane.asked(RenewAgent)) == 1
        assert [n.lifetime.not_after > node.lifetime.not_after for n in agent.saved] == [True]


async def test_what_is_refused_is_not_asked_for_again_at_once(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    plane.entries = (mesh.entry("shop/a"),)
    plane.answer = lambda m: Refused(m.id, "no") if isinstance(m, Sign) else None
    async with linked(mesh, plane) as agent:
        await until(lambda: len(plane.asked(Sign)) == 1)
        plane.push()
        plane.push()
        await until(lambda: agent.holdings.version >= 3)
        assert len(plane.asked(Sign)) == 1
        assert agent.link.is_connected


async def test_a_control_plane_that_comes_back_is_found_and_nothing_is_lost(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    plane.entries = (mesh.entry("shop/a"),)
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.holds("shop/a"))
        held = agent.holdings.held["shop/a"]
        await plane.stop()
        await until(lambda: not agent.link.is_connected)
        assert agent.link.error is not None
        assert f"127.0.0.1:{plane.port}" in agent.link.error
        assert agent.holdings.held["shop/a"] is held
        await plane.start()
        await until(lambda: agent.link.is_connected)
        assert agent.link.error is None
        assert agent.holdings.held["shop/a"].key is held.key
        assert len(plane.asked(Sign)) == 1
        assert agent.changes >= 3


async def test_another_identity_of_the_same_mesh_is_not_the_control_plane(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    key = keys.new_key()
    svid = mesh.svid(mesh.entry("shop/thief"), key)
    await plane.become(plane.as_server(key, svid))
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.error is not None)
        assert "not that of spiffe://example.org/pylis/server" in agent.link.error
        assert plane.streams == 0


async def test_a_server_of_another_authority_is_not_believed(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    stranger = CertificateAuthority.open(TrustDomain.parse("example.org"), MemoryKeystore())
    key = keys.new_key()
    svid = stranger.issue_server(keys.csr_for(key), (), ())
    await plane.become(plane.as_server(key, svid))
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.error is not None)
        assert "certificate verify failed" in agent.link.error
        assert plane.streams == 0


async def test_an_agent_whose_identity_expired_says_that_it_needs_a_token(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    node = mesh.node(f"127.0.0.1:{plane.port}", age=timedelta(hours=2))
    async with linked(mesh, plane, node) as agent:
        await until(lambda: agent.link.error is not None)
        assert "expired" in agent.link.error
        assert "pylis token create" in agent.link.error


def _signed_as(chain: Iterable[bytes]) -> Callable[[Any], FromServer | None]:
    return lambda m: Signed(m.id, tuple(chain)) if isinstance(m, Sign) else None


@pytest.mark.parametrize("chain", [[], [b"no certificate"]])
async def test_an_answer_that_is_no_certificate_ends_the_stream_and_not_the_agent(
    mesh: Any, plane: ControlPlane, until: Any, chain: list[bytes]
) -> None:
    plane.entries = (mesh.entry("shop/a"),)
    plane.answer = _signed_as(chain)
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.error is not None)
        assert "certificate" in agent.link.error or "chain" in agent.link.error
        plane.answer = plane.sign
        await until(lambda: agent.holds("shop/a"))


async def test_a_certificate_for_another_key_is_not_taken(mesh: Any, plane: ControlPlane, until: Any) -> None:
    plane.entries = (mesh.entry("shop/a"),)
    plane.answer = _signed_as(mesh.svid(mesh.entry("shop/a"), keys.new_key()).chain)
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.error is not None and "another key" in agent.link.error)
        assert agent.holds()


async def test_an_answer_to_nothing_ends_the_stream(mesh: Any, plane: ControlPlane, until: Any) -> None:
    plane.answer = lambda m: Refused(77, "no") if isinstance(m, Hello) else None
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.error is not None and "an answer to nothing" in agent.link.error)


@pytest.mark.parametrize("kind", ["empty", "foreign"])
async def test_a_bundle_that_cannot_be_is_never_taken(
    mesh: Any, plane: ControlPlane, until: Any, kind: str
) -> None:
    wrong = {
        "empty": TrustBundle(mesh.domain, ()),
        "foreign": TrustBundle(TrustDomain.parse("other.org"), mesh.ca.bundle.x509_authorities),
    }
    plane.first = lambda: Authorized((), wrong[kind])
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.error is not None and "a bundle" in agent.link.error)
        assert agent.holdings.bundle is None
        assert agent.saved == []


async def test_a_new_bundle_is_kept_for_the_next_connection(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    other = CertificateAuthority.open(mesh.domain, MemoryKeystore())
    both = TrustBundle(mesh.domain, (*mesh.ca.bundle.x509_authorities, *other.bundle.x509_authorities), 2)
    plane.first = lambda: Authorized((), both)
    async with linked(mesh, plane) as agent:
        await until(lambda: agent.link.is_connected)
        assert [node.bundle.root_hashes for node in agent.saved] == [both.root_hashes]


async def test_a_bundle_is_acknowledged_when_it_is_in_force(
    mesh: Any, plane: ControlPlane, until: Any
) -> None:
    async with linked(mesh, plane) as agent:
        follower = agent.holdings.follow()
        await until(lambda: agent.holdings.is_initialised)
        sequence = mesh.ca.bundle.sequence
        agent.holdings.believes(follower, sequence)
        await until(lambda: [m.sequence for m in plane.asked(Acknowledge)] == [sequence])
        agent.holdings.believes(follower, 0)
        await mesh.ca.prepare(Family.X509)
        plane.push()
        await until(lambda: agent.holdings.bundle.sequence == sequence + 1)
        assert [m.sequence for m in plane.asked(Acknowledge)] == [sequence]
        agent.holdings.believes(follower, sequence + 1)
        await until(lambda: [m.sequence for m in plane.asked(Acknowledge)] == [sequence, sequence + 1])


@pytest.mark.parametrize("minutes", [10, -10])
async def test_clocks_that_are_ten_minutes_apart_cost_no_identity_and_make_no_loop(
    mesh: Any, plane: ControlPlane, until: Any, minutes: int
) -> None:
    """The server's clock is behind this machine's, or ahead of it; what it issues is as old, or not valid yet."""
    node = mesh.node(f"127.0.0.1:{plane.port}")
    mesh.age = timedelta(minutes=minutes)
    plane.entries = (mesh.entry("shop/a"), mesh.entry("shop/short", ttl=300))
    async with linked(mesh, plane, node) as agent:
        await until(lambda: agent.holds("shop/a", "shop/short"))
        # and it is told: the server's clock is behind by so much, so this one is ahead
        assert agent.link.clock_behind == pytest.approx(-60 * minutes, abs=30)
        chain = agent.holdings.held["shop/a"].chain
        for _ in range(20):
            plane.push()
        await until(lambda: agent.holdings.version >= 20)
        assert agent.holdings.held["shop/a"].chain == chain
        assert (
            len(plane.asked(Sign)) <= 4
        )  # what lives five minutes seems to have expired: a pause, then again
