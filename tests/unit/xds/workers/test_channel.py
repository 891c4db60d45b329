"""The server's end of a channel, with this test as the worker: what a stolen worker could do, and what it cannot."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ca import keys
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain, server_id, workload_id
from controlplane.svid_callers import SvidCallers
from xds.compile import Work
from xds.desk import REVOKED, MeshDesk
from xds.errors import NotAuthorizedError
from xds.ledger import Ledger, State
from xds.peer import Peer
from xds.snapshot import CLUSTER, Resource, Snapshot
from xds.workers.channel import Certified, Channel
from xds.workers.frames import (
    FROM_SERVER,
    MAX_FROM_SERVER,
    Asked,
    Closed,
    Decoder,
    End,
    FromWorker,
    Identity,
    Listening,
    Offer,
    Open,
    Pong,
    Refuse,
    Renew,
    Renewed,
    Said,
    Sent,
    Settled,
    Shelve,
    encode,
)

DOMAIN = TrustDomain("example.org")
WEB, OTHER = (workload_id(DOMAIN, "shop", name) for name in ("web", "other"))
NODE = "shop/web"
CONTENT = Snapshot.of([Resource(CLUSTER, "a", b"secret of web", "1")])


class Source:
    content = CONTENT

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        if (peer, node_id) != (WEB, NODE):
            raise NotAuthorizedError(node_id)

    def is_proxyless(self, node_id: str) -> bool:
        return False

    def heavy(self, node_id: str) -> list[Work]:
        return []

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        return 1, self.content


class Stolen:
    """The far end of a channel, in the hands of whoever took the worker over."""

    def __init__(self) -> None:
        self.authority = CertificateAuthority.open(DOMAIN, MemoryKeystore())
        self.svids = SvidCallers(self.authority, lambda _identity, _serial: False)
        self.ledger, self.source, self.revoked = Ledger(), Source(), set[SpiffeId]()
        self.desk = MeshDesk(self.source, self.ledger, is_revoked=lambda peer: peer.identity in self.revoked)
        self.signed: list[bytes] = []
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.serving: asyncio.Task[str]
        self._decoder = Decoder(FROM_SERVER, MAX_FROM_SERVER)
        self._read: list[Any] = []

    def certify(self, csr: bytes) -> Certified:
        svid = self.authority.issue_xds(csr)
        self.signed.append(svid.chain_pem.encode())
        return Certified(self.signed[-1], self.authority.bundle.to_pem(), svid.not_after)

    def chain(self, identity: SpiffeId) -> bytes:
        csr = keys.csr_for(keys.new_key())
        return self.authority.issue_id(identity, csr, timedelta(hours=1), ()).chain_pem.encode()

    def say(self, *frames: FromWorker) -> None:
        self.writer.write(b"".join(map(encode, frames)))

    async def hears(self, kind: type[Any]) -> Any:
        """The next frame of that kind."""
        async with asyncio.timeout(20):
            while True:
                while self._read:
                    if isinstance(found := self._read.pop(0), kind):
                        return found
                data = await self.reader.read(65_536)
                assert data, await self.serving
                self._read += self._decoder.feed(data)

    async def hears_no_more(self) -> str:
        """Why the server ended it."""
        async with asyncio.timeout(20):
            return await self.serving


@pytest.fixture
async def stolen() -> AsyncIterator[Stolen]:
    one = Stolen()
    ours, theirs = socket.socketpair()
    near, writer = await asyncio.open_connection(sock=ours)
    one.reader, one.writer = await asyncio.open_connection(sock=theirs)
    channel = Channel(writer, one.desk, one.certify, one.svids.peer, lambda: datetime.now(UTC), lambda: None)
    one.serving = asyncio.create_task(channel.serve(near))
    await one.hears(Renew)
    one.say(Asked(keys.csr_for(keys.new_key())))
    await one.hears(Identity)
    one.say(Listening(1))
    yield one
    one.writer.close()
    await one.hears_no_more()
    writer.close()
    assert one.desk.meter.streams == 0


async def opened(stolen: Stolen) -> None:
    stolen.say(Open(1, NODE, "envoy", stolen.chain(WEB)))
    assert (await stolen.hears(Shelve)).body == b"secret of web"
    assert await stolen.hears(Offer) == Offer(1, 1, {CLUSTER: (1,)}, ())


async def test_its_work_a_proxy_that_came_is_told_and_heard(stolen: Stolen) -> None:
    await opened(stolen)
    stolen.say(Said(1, CLUSTER, "no such thing"), Sent(CLUSTER, 1, 20), Settled(1, 1, (CLUSTER,)), Asked(b""))
    await stolen.hears_no_more()  # by which time all that was said before has been taken in
    status = stolen.ledger.status()[0]
    assert (status.identity, status.note) == (str(WEB), "keeps serving 0")
    assert 'pylis_xds_nacks_total{type="Cluster"} 1' in list(stolen.desk.meter.lines())


async def test_a_proxy_settles_what_it_was_offered_and_not_what_it_was_offered_before(stolen: Stolen) -> None:
    await opened(stolen)
    stolen.source.content = Snapshot.of([Resource(CLUSTER, "a", b"new", "2")])
    stolen.desk.publish([NODE])
    assert (await stolen.hears(Offer)).count == 2
    stolen.say(Settled(1, 1, ()), Pong(), Open(2, NODE, "envoy", b""))
    await stolen.hears(Refuse)
    assert stolen.ledger.status()[0].state is State.PENDING
    stolen.say(Settled(1, 2, ()), Open(2, NODE, "envoy", b""))
    await stolen.hears(Refuse)
    assert stolen.ledger.status()[0].state is State.SYNCED


async def test_it_cannot_be_another_than_a_certificate_says(stolen: Stolen) -> None:
    """Not by words alone: the server reads whose a stream is from a chain that its own authority signed."""
    stranger = CertificateAuthority.open(DOMAIN, MemoryKeystore())
    forged = stranger.issue_id(WEB, keys.csr_for(keys.new_key()), timedelta(hours=1), ()).chain_pem.encode()
    for number, chain in enumerate((b"", b"no certificate", forged, stolen.signed[0])):
        stolen.say(Open(number, NODE, "envoy", chain))
        refused = await stolen.hears(Refuse)
        assert refused.refusal in ("UNAUTHENTICATED", "PERMISSION_DENIED")
    stolen.say(Open(9, NODE, "envoy", stolen.chain(OTHER)))
    assert (await stolen.hears(Refuse)).refusal == "PERMISSION_DENIED"
    assert stolen.ledger.status() == []


async def test_its_own_certificate_is_neither_the_servers_nor_a_caller(stolen: Stolen) -> None:
    peer = Peer.read("spiffe://example.org/pylis/xds", stolen.signed[0])
    assert peer is not None
    assert peer.identity != server_id(DOMAIN)
    assert stolen.svids.peer(stolen.signed[0]) == peer  # a valid SVID of this mesh, and yet
    assert stolen.svids.caller(peer.identity, peer.serial) is None


async def test_it_is_signed_no_second_certificate(stolen: Stolen) -> None:
    stolen.say(Asked(keys.csr_for(keys.new_key())))
    assert "nobody asked for" in await stolen.hears_no_more()
    assert len(stolen.signed) == 1


async def test_a_quarantine_ends_a_stream_and_refuses_it_even_when_the_chain_is_kept(stolen: Stolen) -> None:
    await opened(stolen)
    stolen.revoked.add(WEB)
    stolen.desk.end_revoked()
    assert await stolen.hears(End) == End(1, REVOKED)
    stolen.desk.publish([NODE])
    stolen.say(Closed(1), Open(2, NODE, "envoy", stolen.chain(WEB)))
    assert await stolen.hears(Refuse) == Refuse(2, "PERMISSION_DENIED", REVOKED)
    assert stolen.ledger.status()[0].state is State.LOST


@pytest.mark.parametrize(
    "frame",
    [Said(1, "type.googleapis.com/made.Up", None), Sent("made up", 1, 1), Open(1, NODE, "envoy", b"")],
)
async def test_what_cannot_be_ends_it_and_its_streams(stolen: Stolen, frame: FromWorker) -> None:
    await opened(stolen)
    stolen.say(frame)
    assert "broke the protocol" in await stolen.hears_no_more()
    assert stolen.ledger.status()[0].state is State.LOST


async def test_it_says_that_it_is_there_and_that_it_renewed(stolen: Stolen) -> None:
    stolen.say(Renewed(), Closed(77), Settled(77, 1, ()), Said(77, CLUSTER, None))  # late ones mean nothing
    await opened(stolen)
    assert not stolen.serving.done()
