"""The desk as a worker has it: it asks the server, and tells it what proxies say (an edge).

Nothing is decided here: who may open a stream, and what it is told, the server says.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from xds.desk import STOPPING, Claim, Session
from xds.errors import Refusal, RefusedError
from xds.snapshot import Snapshot
from xds.stream import Event, Nacked
from xds.workers.frames import (
    MAX_FROM_WORKER,
    Closed,
    Drop,
    End,
    FromWorker,
    Offer,
    Open,
    Refuse,
    Said,
    Sent,
    Settled,
    Shelve,
)
from xds.workers.sharing import Copies

MAX_WORDS: Final = 16_384  # of a proxy's refusal


@dataclass(eq=False, slots=True)
class _Session(Session):
    stream: int = 0
    count: int = 0  # of the newest offer
    told: tuple[int, tuple[str, ...]] | None = (
        None  # what the server knows: the offer held, the types refused
    )


class WorkerDesk:
    """`send` takes frames in order. `take` is called with each of the server's."""

    def __init__(self, send: Callable[[FromWorker], None]) -> None:
        self._send = send
        self._copies = Copies()
        self._streams = 0
        self._opening: dict[int, asyncio.Future[None]] = {}
        self._sessions: dict[int, _Session] = {}
        self._sent: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))

    def take(self, frame: Shelve | Offer | Drop | Refuse | End) -> None:
        """Raises: FrameError."""
        match frame:
            case Shelve():
                self._copies.shelve(frame)
            case Drop():
                self._copies.drop(frame)
            case Offer():
                self._offered(frame)
            case Refuse():
                self._refuse(frame.stream, Refusal(frame.refusal), frame.reason)
            case End():
                self._refuse(frame.stream, Refusal.UNAVAILABLE, frame.reason)
                if (session := self._sessions.get(frame.stream)) is not None:
                    session.end(frame.reason)

    def stop(self) -> None:
        """Ends every stream."""
        for stream in list(self._opening):
            self._refuse(stream, Refusal.UNAVAILABLE, STOPPING)
        for session in self._sessions.values():
            session.end(STOPPING)

    async def open(self, claim: Claim) -> Session:
        if len(claim.chain) + 2 * len(claim.node_id) + 2 * len(claim.user_agent) > MAX_FROM_WORKER // 4:
            raise RefusedError(Refusal.PERMISSION_DENIED, "the node says more of itself than is read")
        self._streams += 1
        stream = self._streams
        answer = self._opening[stream] = asyncio.get_running_loop().create_future()
        session = self._sessions[stream] = _Session(claim.node_id, claim.peer, stream=stream)
        self._send(Open(stream, claim.node_id, claim.user_agent, claim.chain))
        try:
            await answer
        except RefusedError:
            del self._sessions[stream]
            raise
        except asyncio.CancelledError:
            self.close(session)
            raise
        finally:
            self._opening.pop(stream, None)
        return session

    async def newest(self, session: Session) -> Snapshot:
        session.stale = False
        return self._copies.snapshot(_ours(session).stream)

    def heard(self, session: Session, event: Event) -> None:
        ours = _ours(session)
        ours.told = None
        message = event.message[:MAX_WORDS] if isinstance(event, Nacked) else None
        self._send(Said(ours.stream, event.type_url, message))

    def sent(self, type_url: str, size: int) -> None:
        responses, bytes_ = self._sent[type_url]
        self._sent[type_url] = (responses + 1, bytes_ + size)

    def settled(self, session: Session, refused: Mapping[str, tuple[str, ...]]) -> None:
        ours = _ours(session)
        now = (ours.count, tuple(sorted(refused)))
        if ours.told != now:
            ours.told = now
            self._say_sent()
            self._send(Settled(ours.stream, *now))

    def close(self, session: Session) -> None:
        stream = _ours(session).stream
        del self._sessions[stream]
        self._copies.close(stream)
        self._say_sent()
        self._send(Closed(stream))

    def _offered(self, frame: Offer) -> None:
        session = self._sessions.get(frame.stream)
        if session is None:
            return  # closed here, which the server is about to hear
        self._copies.offer(frame)
        session.count = frame.count
        session.stale = True
        session.wake.set()
        if (answer := self._opening.get(frame.stream)) is not None and not answer.done():
            answer.set_result(None)

    def _refuse(self, stream: int, refusal: Refusal, reason: str) -> None:
        if (answer := self._opening.get(stream)) is not None and not answer.done():
            answer.set_exception(RefusedError(refusal, reason))

    def _say_sent(self) -> None:
        for type_url, (responses, size) in self._sent.items():
            self._send(Sent(type_url, responses, size))
        self._sent.clear()


def _ours(session: Session) -> _Session:
    assert isinstance(session, _Session)  # noqa: S101 - the port hands back what `open` gave it
    return session
