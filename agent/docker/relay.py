"""A Unix socket that leads to the control plane's xDS port: bytes, unread.

Sidecars live in networks that need not lead to the control plane (internal ones, none at all, several); through
the agent's socket every one of them reaches it. TLS is between Envoy and the control plane: nothing is seen here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CHUNK: Final = 65_536
_CONNECT_SECONDS: Final = 5.0
MAX_CONNECTIONS: Final = 2_000


class Relay:
    """`target()` is the `host:port` in force at each new connection."""

    def __init__(self, path: Path, target: Callable[[], str]) -> None:
        self._path = path
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Takes the place of a stale socket. Raises: OSError."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, str(self._path))
        os.chmod(self._path, 0o777)  # noqa: S103 - whoever comes has to show the control plane a certificate

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open.add(task)
        try:
            await self._join(reader, writer)
        except asyncio.CancelledError:
            return  # the agent is stopping
        finally:
            self._open.discard(task)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target().rpartition(":")
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError):
            return
        pumps = [asyncio.ensure_future(_pump(*pair)) for pair in ((reader, far_writer), (far_reader, writer))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            far_writer.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
