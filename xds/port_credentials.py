"""The xDS port's certificate and trust, replaced while the port serves (an edge: grpc's threads call in).

grpc asks for a new configuration before each handshake, and frees the old one when nothing holds it: a second
handshake that has just looked it up then uses freed memory, and the process is gone. So a configuration is
handed over only when it has changed, and only while a handshake of our own, begun and left unfinished, holds
the old one.
Source: grpc's issue 36693, and docs/adr/0007-one-handshake-holds-the-old-certificate.md
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

HANDSHAKE_SECONDS: Final = 10.0
_CHUNK: Final = 65_536
_END: Final = "-----END CERTIFICATE-----"
HOLD_SECONDS: Final = 5.0  # far longer than a handshake takes to get from looking up to holding


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What a handshake presents and believes; PEM. `roots` holds every authority a peer may chain to."""

    key: bytes = field(repr=False)
    chain: bytes
    roots: bytes


class PortCredentials:
    """`credentials` for grpc; `serve_at` once the port is bound; `refresh` makes a new identity the one in force.

    A handshake that meets a changed `identity()` starts a refresh by itself.
    """

    def __init__(self, identity: Callable[[], ServerIdentity], *, is_shared: bool = False) -> None:
        """`is_shared`: other processes answer at the same address, each by a certificate of its own."""
        self._identity = identity
        self._is_shared = is_shared
        self._given = identity()
        self._next: ServerIdentity | None = None
        self._lock = threading.Lock()
        self._address: tuple[str, int] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refreshing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()

    def credentials(self) -> Any:
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._given), self._fetch, require_client_authentication=True
        )

    def serve_at(self, host: str, port: int) -> None:
        """To be called on the event loop, with an address that reaches the port from here."""
        self._address, self._loop = (host, port), asyncio.get_running_loop()

    async def refresh(self) -> None:
        """Afterwards every new handshake presents and believes what `identity()` said when this was called.

        Raises: OSError, TimeoutError when the port does not answer; the old identity stays in force.
        """
        async with self._refreshing:
            wanted = self._identity()
            if wanted == self._given:
                return
            holding = await self._begin_handshake()
            with self._lock:
                self._next = wanted
            try:
                self._end(await self._begin_handshake())  # whoever comes first takes the new one over
            finally:
                asyncio.get_running_loop().call_later(HOLD_SECONDS, self._end, holding)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        writers = list(self._open)
        for writer in writers:
            self._end(writer)
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    def _fetch(self) -> Any:
        """On one of grpc's threads, before each handshake. None: nothing has changed."""
        with self._lock:
            taken, self._next = self._next, None
            if taken is not None:
                self._given = taken
                return _configuration(taken)
        if self._loop is not None and self._identity() != self._given:
            with contextlib.suppress(RuntimeError):  # the loop has ended: so will this port
                self._loop.call_soon_threadsafe(self._start_refresh)
        return None

    def _start_refresh(self) -> None:
        if not self._tasks:
            task = asyncio.ensure_future(self._refresh_quietly())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _refresh_quietly(self) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # the next handshake tries again
            await self.refresh()

    async def _begin_handshake(self) -> asyncio.StreamWriter:
        """A connection to our own port whose handshake has been answered and is not finished.

        Where the port is shared, the kernel chooses who answers: it is tried until that is us.
        """
        if self._address is None:
            raise OSError("the port is not bound")
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            while True:
                writer, presented = await self._greet(*self._address)
                if not self._is_shared or presented in map(
                    _leaf, (self._given.chain, self._identity().chain)
                ):
                    return writer
                self._end(writer)

    async def _greet(self, host: str, port: int) -> tuple[asyncio.StreamWriter, bytes]:
        """And the certificate (DER) that was presented; none is read where the port is ours alone."""
        reader, writer = await asyncio.open_connection(host, port)
        self._open.add(writer)
        connection, incoming, outgoing = _client()
        answered, presented = False, b""
        try:
            writer.write(outgoing.read())
            while data := await reader.read(_CHUNK if self._is_shared else 1):
                answered = True
                if not self._is_shared:
                    break
                incoming.write(data)
                # what this adds to `outgoing` is never sent: the handshake stays unfinished
                with contextlib.suppress(ssl.SSLWantReadError):
                    connection.do_handshake()
                    presented = connection.getpeercert(binary_form=True) or b""
                    break
        finally:
            if not answered:
                self._end(writer)
        if not answered:
            raise ConnectionResetError("the port closed the connection")
        return writer, presented

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.close()


def _client() -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """One that has said hello: to what goes in, and from what is to be sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent or believed: the handshake ends here
    context.set_alpn_protocols(["h2"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return connection, incoming, outgoing


def _leaf(chain: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(chain.decode("ascii").partition(_END)[0] + _END)


def _configuration(identity: ServerIdentity) -> Any:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.chain)], identity.roots)
