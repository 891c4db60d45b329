"""X5's baseline: the least a grpc.aio delta server can do. No policy, no plan, no ledger, no subscriptions: fixed bytes.

A process of its own: prints its port; each line on stdin pushes one resource of the size given there to every stream.
Same settings and mTLS as ours, so that what is left is what our server adds.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop

from xds import schema
from xds.serve import DELTA_ADS, OPTIONS, methods
from xds.snapshot import CLUSTER, EXTENSION, LISTENER

_REQUEST = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
_RESPONSE = "envoy.service.discovery.v3.DeltaDiscoveryResponse"
_STREAMS: set[asyncio.Queue[bytes]] = set()


def response(type_url: str, name: str, body: bytes, number: int) -> bytes:
    resource = {"name": name, "version": str(number), "resource": {"type_url": type_url, "value": body}}
    return schema.encode(schema.new(_RESPONSE, type_url=type_url, nonce=str(number), resources=[resource]))


async def delta(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    first = {CLUSTER: schema.encode(schema.new("envoy.config.cluster.v3.Cluster", name="a")),
             LISTENER: schema.encode(schema.new("envoy.config.listener.v3.Listener", name="a"))}  # fmt: skip

    async def read() -> None:
        asked: set[str] = set()
        async for body in requests:
            type_url: str = schema.decode(_REQUEST, body).type_url  # type: ignore[attr-defined]
            if type_url not in asked and type_url in first:
                asked.add(type_url)
                queue.put_nowait(response(type_url, "a", first[type_url], 0))

    reader = asyncio.ensure_future(read())
    _STREAMS.add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        _STREAMS.discard(queue)
        reader.cancel()


async def main() -> None:
    directory = Path(sys.argv[1])
    key, chain, roots = ((directory / name).read_bytes() for name in ("key.pem", "chain.pem", "roots.pem"))
    gc.set_threshold(100_000, 50, 1000)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((methods({DELTA_ADS: grpc.stream_stream_rpc_method_handler(delta)}),))
    credentials = grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(port, flush=True)
    loop, lines = asyncio.get_running_loop(), asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(0, "rb"))
    number = 0
    while size := (await lines.readline()).strip():
        number += 1
        for queue in _STREAMS:
            queue.put_nowait(response(EXTENSION, "rbac:http", os.urandom(int(size)), number))
    await server.stop(0)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
