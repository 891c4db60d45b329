"""A worker's process, run in this one: it answers, makes its key, listens, and ends with the channel."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain
from xds.errors import FrameError
from xds.workers import process
from xds.workers.frames import (
    FROM_WORKER,
    MAX_FROM_WORKER,
    Asked,
    Decoder,
    FromServer,
    Identity,
    Listening,
    Ping,
    Pong,
    Renew,
    Renewed,
    encode,
)


class Server:
    """The other end of its channel."""

    def __init__(self) -> None:
        self.authority = CertificateAuthority.open(TrustDomain("example.org"), MemoryKeystore())
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.worker: asyncio.Task[None]
        self._decoder = Decoder(FROM_WORKER, MAX_FROM_WORKER)

    async def asks(self, frame: FromServer) -> Any:
        self.writer.write(encode(frame))
        async with asyncio.timeout(30):
            while not (found := list(self._decoder.feed(await self.reader.read(65_536)))):
                pass
        (answer,) = found
        return answer

    async def certifies(self) -> Any:
        asked = await self.asks(Renew())
        assert isinstance(asked, Asked)
        svid = self.authority.issue_xds(asked.csr)
        return await self.asks(Identity(self.authority.bundle.to_pem(), svid.chain_pem.encode()))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    ours, theirs = socket.socketpair()
    one.reader, one.writer = await asyncio.open_connection(sock=ours)
    one.worker = asyncio.create_task(process.run(theirs, "127.0.0.1:0", 4))
    yield one
    one.writer.close()
    async with asyncio.timeout(30):
        await asyncio.wait([one.worker])


async def test_it_says_that_it_is_there(server: Server) -> None:
    assert await server.asks(Ping()) == Pong()


async def test_it_listens_once_it_is_certified_and_each_renewal_is_of_a_key_of_its_own(
    server: Server,
) -> None:
    assert await server.certifies() == Listening(4)
    assert await server.certifies() == Renewed()
    first, second = [await server.asks(Renew()) for _ in range(2)]
    keys = {x509.load_der_x509_csr(asked.csr).public_bytes(Encoding.DER) for asked in (first, second)}
    assert len(keys) == 2


async def test_it_ends_with_the_channel(server: Server) -> None:
    assert await server.certifies() == Listening(4)
    server.writer.close()
    async with asyncio.timeout(30):
        await server.worker


async def test_it_does_not_go_on_with_what_it_cannot_read(server: Server) -> None:
    server.writer.write(b"\xff" * 8)
    async with asyncio.timeout(30):
        with pytest.raises(ExceptionGroup) as ended:
            await server.worker
    assert ended.group_contains(FrameError)
