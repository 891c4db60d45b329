"""The agent's Unix socket: grpclib, hardened. One socket serves SDS and the SPIFFE Workload API.

    trap in grpclib 0.4.9                             what is done here
    100 streams a connection, then silent waiting     256 are allowed, and said so
    a request reset at once leaks its stream          released when its task ends
    an unknown HTTP/2 frame ends the connection       passed over
    answers to PING and SETTINGS know no back-pressure  a peer that does not read is cut off at 1 MiB
    a message of any announced length is read         refused above 1 MiB
    handlers of ended connections are kept            forgotten with their last task
    connections are not counted                       128 a process, 4096 in all; more are closed at once
    close() says no GOAWAY and leaves clients hanging  `stop` ends streams with UNAVAILABLE, then says GOAWAY

All of it rests on private names: grpclib is pinned, and every row has a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Handler, Server
from h2.settings import SettingCodes

from agent.caller import Caller, caller_of

MAX_MESSAGE: Final = 1 << 20
MAX_UNREAD: Final = 1 << 20
MAX_STREAMS: Final = 256
MAX_PER_PROCESS: Final = 128  # connections: one process does not use up what all need
MAX_CONNECTIONS: Final = 4096
_PREFIX_BYTES: Final = 5


class Raw(CodecBase):
    """Messages stay bytes; the schema is the handlers' business."""

    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return message

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class _Handler(Handler):
    server: Any = None  # the SocketServer that keeps it until its last task has ended

    def accept(self, stream: Any, headers: Any, release_stream: Any) -> None:
        super().accept(stream, headers, release_stream)
        processor_streams = stream.connection.pylis_streams

        def done(task: Any) -> None:
            if stream.id in processor_streams:
                release_stream()
            self._tasks.pop(stream, None)
            self._cancelled.discard(task)
            if self.closing:
                self.server.forget(self)

        self._tasks[stream].add_done_callback(done)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return list(self._tasks.values())


class _Ignoring(dict[Any, Any]):
    """Frames nobody knows are passed over, as HTTP/2 asks."""

    def __missing__(self, _: Any) -> Any:
        return _pass_over


def _pass_over(*_: Any) -> None:
    pass


class _Protocol(H2Protocol):
    def __init__(self, server: SocketServer, handler: _Handler, config: Any, h2_config: Any) -> None:
        super().__init__(handler, config, h2_config)
        self._server = server
        self._own_handler = handler
        self._transport: Any = None
        self.caller: Caller | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._transport = transport
        connection: Any = self.connection
        connection._connection.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS})
        connection.flush()
        self.processor.processors = _Ignoring(self.processor.processors)
        self.caller = caller_of(transport.get_extra_info("socket"))
        connection.caller = self.caller
        connection.pylis_streams = self.processor.streams
        if self._server.has_too_many_of(self.caller.pid):
            transport.abort()
            return
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._transport.get_write_buffer_size() > MAX_UNREAD:
            self._transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._server.connections.discard(self)
        self._server.forget(self._own_handler)
        if self.caller is not None:
            self.caller.close()

    def say_goodbye(self) -> None:
        connection: Any = self.connection
        with contextlib.suppress(Exception):  # the other end may be gone in any state of its protocol
            connection._connection.close_connection()
            connection.flush()
        connection.close()


class SocketServer(Server):
    """Serves `handlers` on one Unix socket.

    On stop, `stopping` is set and `wake` called: handlers then end their streams with UNAVAILABLE.
    """

    def __init__(self, handlers: list[Any], stopping: asyncio.Event, wake: Callable[[], None]) -> None:
        config = Configuration(http2_stream_window_size=65_535, http2_connection_window_size=1 << 20)
        super().__init__(handlers, codec=Raw(), config=config)
        self.connections: set[_Protocol] = set()
        self._stopping = stopping
        self._wake = wake
        self._live: set[_Handler] = set()

    def _protocol_factory(self) -> _Protocol:
        handler = _Handler(self._mapping, self._codec, self._status_details_codec, self.__dispatch__)
        handler.server = self
        self._live.add(handler)
        return _Protocol(self, handler, self._config, self._h2_config)

    def forget(self, handler: _Handler) -> None:
        """Its connection is gone: nothing of it stays once its last task has ended."""
        if handler.check_closed():
            self._live.discard(handler)

    def has_too_many_of(self, pid: int) -> bool:
        """No room for one more connection of this process, or of anybody."""
        if len(self.connections) >= MAX_CONNECTIONS:
            return True
        own = sum(1 for one in self.connections if one.caller is not None and one.caller.pid == pid)
        return own >= MAX_PER_PROCESS

    @property
    def live_handlers(self) -> int:
        """One a connection."""
        return len(self._live)

    async def listen(self, path: Path) -> None:
        """Takes the place of a stale socket. Raises: OSError."""
        _clear(path)
        await self.start(path=str(path))
        os.chmod(path, 0o777)  # noqa: S103 - any process may ask; the kernel says who it is

    async def stop(self, seconds: float = 2.0) -> None:
        """Clients reconnect at once: their streams end with UNAVAILABLE, their connections with GOAWAY."""
        self._stopping.set()
        if self._server is not None:
            self._server.close()
        self._wake()
        tasks = [task for handler in self._live for task in handler.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for connection in list(self.connections):
            connection.say_goodbye()


def _clear(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    path.unlink(missing_ok=True)


async def receive(stream: Any) -> bytes | None:
    """The next message, None at the end. Raises: GRPCError: compressed, too large or cut off."""
    try:
        return await _receive(stream)
    except AssertionError as error:  # grpclib's word for an end inside a message
        raise GRPCError(Status.INTERNAL, "a message that is cut off") from error


async def _receive(stream: Any) -> bytes | None:
    head = await stream._stream.recv_data(_PREFIX_BYTES)
    if not head:
        return None
    if head[0]:
        raise GRPCError(Status.UNIMPLEMENTED, "compressed messages are not read")
    length = int.from_bytes(head[1:5], "big")
    if length > MAX_MESSAGE:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of more than {MAX_MESSAGE} bytes")
    return await stream._stream.recv_data(length) if length else b""


def caller(stream: Any) -> Caller:
    return stream._stream.connection.caller
