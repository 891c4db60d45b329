"""The server's end of the channel to one worker (an edge).

A worker is not believed more than its work needs: whose a stream is, the server reads from the certificate chain that
the worker hands on; it signs one certificate for each time it asked for a CSR; a frame that does not fit, a stream that
is not ended when it should be, or silence, and the worker is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog

from xds.desk import EXPIRED, Claim, MeshDesk, Session
from xds.errors import FrameError, Refusal, RefusedError
from xds.peer import Peer
from xds.stream import ORDER, Acked, Nacked
from xds.workers.frames import (
    FROM_WORKER,
    MAX_FROM_WORKER,
    Asked,
    Closed,
    Decoder,
    End,
    FromServer,
    Identity,
    Listening,
    Open,
    Ping,
    Pong,
    Refuse,
    Renew,
    Renewed,
    Said,
    Sent,
    Settled,
    encode,
)
from xds.workers.sharing import Shelf

BEAT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 30.0
END_SECONDS: Final = 15.0  # for a worker to end a stream it was told to end
RENEWED_SECONDS: Final = 30.0
MAX_STREAMS: Final = 50_000
_CHUNK: Final = 262_144
_TYPES: Final = frozenset(ORDER)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Certified:
    """PEM, leaf first; whom to believe, PEM; when to ask again."""

    chain: bytes
    roots: str
    renew_at: datetime


class Channel:
    """`serve` until the worker is gone; `changed` is called when it has begun to listen."""

    def __init__(
        self,
        writer: asyncio.StreamWriter,
        desk: MeshDesk,
        certify: Callable[[bytes], Certified],
        prove: Callable[[bytes], Peer | None],
        now: Callable[[], datetime],
        changed: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._desk = desk
        self._certify = certify
        self._prove = prove
        self._now = now
        self._changed = changed
        self._shelf = Shelf()
        self._sessions: dict[int, tuple[Session, asyncio.Task[None]]] = {}
        self._tasks: asyncio.TaskGroup
        self._renewing = asyncio.Lock()
        self._renewed = asyncio.Event()
        self._csr_wanted = False
        self._renew_at = now()
        self._heard = asyncio.Event()
        self._why = ""
        self.is_listening = False

    @property
    def streams(self) -> int:
        return len(self._sessions)

    async def serve(self, reader: asyncio.StreamReader) -> str:
        """Why it ended; "" when the worker closed the channel."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                steady = [self._tasks.create_task(work) for work in (self._keep_certified(), self._beat())]
                try:
                    await self._read(reader)
                except FrameError as error:
                    self._end(f"it broke the protocol: {error}")
                except ConnectionError as error:
                    self._end(str(error))
                for task in (*steady, *(task for _, task in self._sessions.values())):
                    task.cancel()
        finally:
            self.is_listening = False
            for session, _ in self._sessions.values():
                self._desk.close(session)
            self._sessions.clear()
        return self._why

    async def renew(self) -> None:
        """Afterwards it presents a new certificate. Raises: TimeoutError."""
        async with self._renewing:
            self._renewed.clear()
            self._csr_wanted = True
            self._send(Renew())
            async with asyncio.timeout(RENEWED_SECONDS):
                await self._renewed.wait()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decoder = Decoder(FROM_WORKER, MAX_FROM_WORKER)
        while data := await reader.read(_CHUNK):
            for frame in decoder.feed(data):
                self._take(frame)

    def _take(self, frame: Any) -> None:
        """Frames about a stream that was refused, or is closed, are late and mean nothing. Raises: FrameError."""
        match frame:
            case Asked(csr):
                self._sign(csr)
            case Listening(landlock):
                if landlock == 0:
                    log.warning("xds.worker_unconfined", why="the kernel has no Landlock")
                self.is_listening = True
                self._changed()
                self._renewed.set()
            case Renewed():
                self._renewed.set()
            case Pong():
                self._heard.set()
            case Open():
                self._open(frame)
            case Said(stream, type_url, message):
                if (session := self._session(stream)) is not None:
                    known = _known(type_url)
                    event = Acked(known, "") if message is None else Nacked(known, "", message)
                    self._desk.heard(session, event)
            case Settled(stream, count, refused):
                session = self._session(stream)
                if session is not None and not session.stale and count == self._shelf.count(stream):
                    self._desk.settled(session, {_known(type_url): () for type_url in refused})
            case Sent(type_url, responses, size):
                self._desk.sent(_known(type_url), size, responses)
            case Closed(stream):
                self._close(stream)
            case _:
                raise FrameError(f"a {type(frame).__name__} that was not to come")

    def _session(self, stream: int) -> Session | None:
        found = self._sessions.get(stream)
        return None if found is None else found[0]

    def _sign(self, csr: bytes) -> None:
        if not self._csr_wanted:
            raise FrameError("a CSR that nobody asked for")
        self._csr_wanted = False
        certified = self._certify(csr)
        self._renew_at = certified.renew_at
        self._send(Identity(certified.roots, certified.chain))

    def _open(self, frame: Open) -> None:
        if frame.stream in self._sessions:
            raise FrameError("a stream that is open was opened")
        try:
            session = self._admitted(frame)
        except RefusedError as error:
            self._send(Refuse(frame.stream, error.refusal.value, str(error)))
            return
        self._sessions[frame.stream] = session, self._tasks.create_task(self._follow(frame.stream, session))

    def _admitted(self, frame: Open) -> Session:
        peer = self._prove(frame.chain)
        if peer is None:
            raise RefusedError(Refusal.UNAUTHENTICATED, "this certificate is not believed")
        if len(self._sessions) >= MAX_STREAMS:
            raise RefusedError(Refusal.UNAVAILABLE, "too many streams here: connect again")
        return self._desk.admit(Claim(peer, frame.node_id, frame.user_agent, b""))

    def _close(self, stream: int) -> None:
        if (found := self._sessions.pop(stream, None)) is None:
            return
        session, task = found
        task.cancel()
        self._desk.close(session)
        for frame in self._shelf.close(stream):
            self._send(frame)

    async def _follow(self, stream: int, session: Session) -> None:
        """What the session should hold, each time that changes; then that it has to end."""
        left = max(0.0, (session.peer.expires - self._now()).total_seconds())
        expiry = asyncio.get_running_loop().call_later(left, session.end, EXPIRED)
        try:
            while not session.ending:
                if session.stale:
                    snapshot = await self._desk.newest(session)
                    if session.ending:
                        break
                    for frame in self._shelf.offer(stream, snapshot):
                        self._send(frame)
                    await self._writer.drain()
                await session.wake.wait()
                session.wake.clear()
        except ConnectionError:
            return  # the reader hears of it, too
        except Exception:  # our bug, in what this one proxy is told: the others go on
            log.exception("proxy.failed", node=session.node_id)
            session.ending = "this proxy's configuration cannot be made"
        finally:
            expiry.cancel()
        self._send(End(stream, session.ending))
        await asyncio.sleep(END_SECONDS)
        self._end("it does not end a stream")

    async def _keep_certified(self) -> None:
        while True:
            if self._now() >= self._renew_at:
                try:
                    await self.renew()
                except TimeoutError:
                    self._end("it does not renew its certificate")
                    return
            left = (self._renew_at - self._now()).total_seconds()
            await asyncio.sleep(max(1.0, min(left, 60.0)))

    async def _beat(self) -> None:
        while True:
            self._heard.clear()
            self._send(Ping())
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    await self._heard.wait()
            except TimeoutError:
                self._end("it does not answer")
                return
            await asyncio.sleep(BEAT_SECONDS)

    def _end(self, why: str) -> None:
        self._why = self._why or why
        self._writer.transport.abort()

    def _send(self, frame: FromServer) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(frame))


def _known(type_url: str) -> str:
    if type_url not in _TYPES:
        raise FrameError("a type that is not served")
    return type_url
