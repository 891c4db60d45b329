"""Many simulated sidecars over real mTLS connections (an edge). One loop, one process; best on a core of its own."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.load.http2 import Ended, GrpcStream, Received
from controlplane.load.sidecar import Sidecar

DELTA_ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
IN_FLIGHT: Final = 200  # connections being made at a time: an accept queue is shorter than a fleet


@dataclass(frozen=True, slots=True)
class Identity:
    """A node and what its connection presents; PEM."""

    node_id: str
    key: bytes
    chain: bytes
    roots: str

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["h2"])
        context.load_verify_locations(cadata=self.roots)
        descriptor = os.memfd_create("svid", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, self.chain + self.key)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context


class Connection(asyncio.Protocol):
    """One sidecar's stream. `news` is called after each response that was acknowledged, and at the end."""

    def __init__(
        self, sidecar: Sidecar, path: str, authority: str, news: Callable[[Connection], None]
    ) -> None:
        self.sidecar = sidecar
        self.ended: Ended | None = None
        self.last = 0.0  # time.perf_counter() of the last response
        self._news = news
        self._stream = GrpcStream(path, authority)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        for body in self.sidecar.open():
            self._stream.send(body)
        self._write()

    def data_received(self, data: bytes) -> None:
        heard = False
        for event in self._stream.receive(data):
            match event:
                case Received(body):
                    heard = True
                    for answer in self.sidecar.receive(body):
                        self._stream.send(answer)
                case Ended():
                    self._end(event)
        self._write()
        if heard:
            self.last = time.perf_counter()
            self._news(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(Ended(-1, f"the connection is gone: {exc}" if exc else "the connection was closed"))

    @property
    def going_away(self) -> bool:
        """Has the server said GOAWAY?"""
        return self._stream.going_away

    def close(self) -> None:
        """Without a word, as a process that dies."""
        if self._transport is not None:
            self.ended = self.ended or Ended(0, "closed by us")
            self._transport.abort()

    def pause(self) -> None:
        """Reads no more: the bytes stay with the server."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def _write(self) -> None:
        data = self._stream.outgoing()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _end(self, why: Ended) -> None:
        if self.ended is None:
            self.ended = why
            self._news(self)


class Fleet:
    """All sidecars of one run; those of them that are connected are in `connections`, by node."""

    def __init__(
        self,
        address: str,
        identities: Sequence[Identity],
        *,
        server_name: str = "server.pylis.internal",
        path: str = DELTA_ADS,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._where = (host.strip("[]"), int(port))
        self._server_name = server_name
        self._path = path
        self._contexts = {one.node_id: one.context() for one in identities}
        self.sidecars = {one.node_id: Sidecar(one.node_id) for one in identities}
        self.connections: dict[str, Connection] = {}
        self._changed = asyncio.Event()
        self._limit = asyncio.Semaphore(IN_FLIGHT)
        self.refused = 0  # streams that ended, or connections that failed, without our doing

    async def connect(self, nodes: Iterable[str] | None = None) -> None:
        """Opens a connection for each; counts those that fail. Does not wait for configuration."""
        chosen = list(self.sidecars if nodes is None else nodes)
        await asyncio.gather(*(self._connect(node) for node in chosen))

    async def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Waits for what answers bring about; False when it did not come true in time."""
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return true()
        return True

    async def complete(self, seconds: float) -> bool:
        """Until every connected sidecar holds all it asked for."""
        waiting = set(self.connections)

        def done() -> bool:
            for node in [n for n in waiting if self.sidecars[n].is_complete]:
                waiting.discard(node)
            return not waiting

        return await self.until(done, seconds)

    def disconnect(self, nodes: Iterable[str] | None = None) -> None:
        for node in list(self.connections if nodes is None else nodes):
            if (connection := self.connections.pop(node, None)) is not None:
                connection.close()

    def reset(self) -> None:
        for sidecar in self.sidecars.values():
            sidecar.reset()

    @property
    def last(self) -> float:
        return max((c.last for c in self.connections.values()), default=0.0)

    async def _connect(self, node: str) -> None:
        connection = Connection(self.sidecars[node], self._path, self._server_name, self._heard)
        async with self._limit:
            try:
                async with asyncio.timeout(30):
                    await asyncio.get_running_loop().create_connection(
                        lambda: connection,
                        *self._where,
                        ssl=self._contexts[node],
                        server_hostname=self._server_name,
                    )
            except (OSError, TimeoutError):
                self.refused += 1
                return
        self.connections[node] = connection
        if connection.ended is not None:  # it was refused before it was known here
            self._heard(connection)

    def _heard(self, connection: Connection) -> None:
        node = connection.sidecar.node_id
        if connection.ended is not None and self.connections.get(node) is connection:
            del self.connections[node]
            connection.close()
            self.refused += 1
        self._changed.set()
