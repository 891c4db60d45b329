"""A worker's process: it holds connections, the server decides (an edge). `python -m xds.workers FD HOST:PORT`.

It ends when the server does: the channel they share is a pair of sockets that nobody else has. Signals that are meant
for both are the server's to follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from typing import Any

from ca import keys
from ca.keys import PrivateKey
from xds.port_credentials import ServerIdentity
from xds.serve import Port
from xds.workers.confine import confine
from xds.workers.desk import WorkerDesk
from xds.workers.frames import (
    FROM_SERVER,
    MAX_FROM_SERVER,
    Asked,
    Decoder,
    FromWorker,
    Identity,
    Listening,
    Ping,
    Pong,
    Renew,
    Renewed,
    encode,
)

_CHUNK = 262_144
_AGAIN_SECONDS = 1.0


def main() -> None:
    import uvloop

    descriptor, address = int(sys.argv[1]), sys.argv[2]
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    landlock = confine(int(address.rpartition(":")[2]))
    uvloop.run(run(socket.socket(fileno=descriptor), address, landlock))


async def run(channel: socket.socket, address: str, landlock: int) -> None:
    """Until the server closes the channel. Raises: FrameError; AddressInUseError."""
    reader, writer = await asyncio.open_connection(sock=channel)
    worker = _Worker(writer, address, landlock)
    decoder = Decoder(FROM_SERVER, MAX_FROM_SERVER)
    try:
        async with asyncio.TaskGroup() as tasks:
            with contextlib.suppress(ConnectionError):  # the server is gone
                while data := await reader.read(_CHUNK):
                    for frame in decoder.feed(data):
                        await worker.take(frame, tasks)
            worker.refreshing.cancel()
    finally:
        await worker.stop()
        writer.close()


class _Worker:
    def __init__(self, writer: asyncio.StreamWriter, address: str, landlock: int) -> None:
        self._writer = writer
        self._address = address
        self._landlock = landlock
        self._desk = WorkerDesk(self._send)
        self._key: PrivateKey = keys.new_key()
        self._identity: ServerIdentity
        self._port: Port | None = None
        self.refreshing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def take(self, frame: Any, tasks: asyncio.TaskGroup) -> None:
        match frame:
            case Ping():
                self._send(Pong())
            case Renew():
                self._key = keys.new_key()
                self._send(Asked(keys.csr_for(self._key)))
            case Identity(roots, chain):
                self._identity = ServerIdentity(keys.key_pem(self._key), chain, roots.encode())
                if self._port is None:
                    self._port = Port(self._address, lambda: self._identity, self._desk, is_shared=True)
                    await self._port.start()
                    self._send(Listening(self._landlock))
                else:
                    self.refreshing.cancel()
                    self.refreshing = tasks.create_task(self._refresh(self._port))
            case _:
                self._desk.take(frame)

    async def stop(self) -> None:
        self._desk.stop()
        if self._port is not None:
            await self._port.stop()

    async def _refresh(self, port: Port) -> None:
        while True:
            try:
                await port.refresh_identity()
            except (OSError, TimeoutError):
                await asyncio.sleep(_AGAIN_SECONDS)
            else:
                self._send(Renewed())
                return

    def _send(self, frame: FromWorker) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(frame))
