"""The Docker engine's socket, as far as attestation needs it: two GETs, bounded in time and size (an edge)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

SOCKET: Final = Path("/var/run/docker.sock")
ASK_SECONDS: Final = 5.0
MAX_ANSWER: Final = 4 * 1024 * 1024


class EngineError(Exception):
    """The engine cannot be asked, or does not know what it is asked about."""


class DockerEngine:
    def __init__(self, socket: Path = SOCKET) -> None:
        self._socket = socket

    async def container(self, container_id: str) -> Any:
        """Raises: EngineError."""
        return await self._get(f"/containers/{container_id}/json")

    async def image(self, image_id: str) -> Any:
        """Raises: EngineError."""
        return await self._get(f"/images/{image_id}/json")

    async def _get(self, path: str) -> Any:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                status, body = await self._ask(path)
        except (OSError, TimeoutError, ValueError, IndexError) as error:
            raise EngineError(f"{self._socket}: {error or type(error).__name__}") from error
        if status != 200:
            raise EngineError(f"{path}: status {status}")
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise EngineError(f"{path}: no JSON") from error

    async def _ask(self, path: str) -> tuple[int, bytes]:
        """HTTP/1.0: the answer ends with the connection."""
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nhost: docker\r\n\r\n".encode("ascii"))
            await writer.drain()
            answer = b""
            while len(answer) <= MAX_ANSWER and (more := await reader.read(1 << 16)):
                answer += more
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body
