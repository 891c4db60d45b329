"""Joining without a secret to carry: whoever can open this Unix socket gets a join token for one agent.

Who can open it is decided by whoever mounts it: in Docker a volume that only the control plane and the agent have.
A connection is answered with one line, the token (one use, a minute), and closed. Nothing lies in a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

log = structlog.get_logger()


class JoinSocket:
    """`token()` makes a join token. Enter to listen, leave to close."""

    def __init__(self, path: Path, token: Callable[[], Awaitable[str]]) -> None:
        self._path = path
        self._token = token
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> JoinSocket:
        """Takes the place of a stale socket. Raises: OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, str(self._path))
        os.chmod(self._path, 0o666)  # noqa: S103 - the volume is the door: who has it mounted may join
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(f"{await self._token()}\n".encode())
            await writer.drain()
        writer.close()
        log.info("join_socket.token_given")
