"""X5: two servers that push what they are told to, and nothing else, each in a process of its own.

    python -m bench.push_server DIRECTORY ours|bare

`ours` is the xDS port as it is: stream, ledger, meter, with a source whose snapshot is made already. `bare` is the
least a grpc.aio delta server can do: no subscriptions, no ledger, bytes that are made already. Same settings and mTLS.
It prints its port; each line on stdin pushes one listener of the size given there to every stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import structlog
import uvloop

from ca.spiffe_id import SpiffeId
from xds import schema
from xds.compile import Work
from xds.ledger import Ledger
from xds.port_credentials import ServerIdentity
from xds.serve import DELTA_ADS, OPTIONS, XdsServer, methods
from xds.snapshot import CLUSTER, LISTENER, Resource, Snapshot

_REQUEST = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
_RESPONSE = "envoy.service.discovery.v3.DeltaDiscoveryResponse"
_CLUSTER = Resource.of("a", schema.new("envoy.config.cluster.v3.Cluster", name="a"))


def listener(size: int) -> Resource:
    """A valid one of about `size` bytes that was never sent before."""
    filler = os.urandom(size // 2).hex()
    return Resource.of("a", schema.new("envoy.config.listener.v3.Listener", name="a", stat_prefix=filler))


class Source:
    """Everybody holds the same, and whoever has a certificate may."""

    def __init__(self) -> None:
        self.revision = 0
        self._snapshot = Snapshot()
        self.offer(0)

    def offer(self, size: int) -> None:
        self.revision += 1
        self._snapshot = Snapshot.of(
            [_CLUSTER, listener(size)], self._snapshot
        )  # shared as compiled ones are

    def admit(self, peer: SpiffeId, node_id: str) -> None: ...

    def is_proxyless(self, node_id: str) -> bool:
        return False

    def heavy(self, node_id: str) -> list[Work]:
        return []

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        return self.revision, self._snapshot


async def ours(identity: ServerIdentity) -> tuple[Any, int, Callable[[int], None]]:
    source = Source()
    server = XdsServer("127.0.0.1:0", lambda: identity, source, Ledger())
    await server.start()

    def push(size: int) -> None:
        source.offer(size)
        server.publish()

    return server, server.port, push


async def bare(identity: ServerIdentity) -> tuple[Any, int, Callable[[int], None]]:
    gc.set_threshold(100_000, 50, 1000)
    streams: set[asyncio.Queue[bytes]] = set()
    number = 0

    async def delta(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()

        async def read() -> None:
            first = {CLUSTER: _response(_CLUSTER, 0), LISTENER: _response(listener(0), 0)}
            async for body in requests:
                type_url: str = schema.decode(_REQUEST, body).type_url  # type: ignore[attr-defined]
                if type_url in first:
                    queue.put_nowait(first.pop(type_url))

        reader = asyncio.ensure_future(read())
        streams.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            streams.discard(queue)
            reader.cancel()

    def push(size: int) -> None:
        nonlocal number
        number += 1
        body = _response(listener(size), number)
        for queue in streams:
            queue.put_nowait(body)

    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((methods({DELTA_ADS: grpc.stream_stream_rpc_method_handler(delta)}),))
    pair = [(identity.key, identity.chain)]
    credentials = grpc.ssl_server_credentials(pair, identity.roots, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    return server, port, push


def _response(resource: Resource, number: int) -> bytes:
    body = {"type_url": resource.type_url, "value": resource.body}
    resources = [{"name": resource.name, "version": resource.version, "resource": body}]
    message = schema.new(_RESPONSE, type_url=resource.type_url, nonce=f"{number:x}", resources=resources)
    return schema.encode(message)


async def main(directory: Path, which: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    key, chain, roots = ((directory / name).read_bytes() for name in ("key.pem", "chain.pem", "roots.pem"))
    serving, port, push = await {"ours": ours, "bare": bare}[which](ServerIdentity(key, chain, roots))
    print(port, flush=True)
    loop, lines = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(0, "rb"))
    while size := (await lines.readline()).strip():
        push(int(size))
    await serving.stop(0)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(Path(sys.argv[1]), sys.argv[2]))
