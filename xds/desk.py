"""Who is connected and what each is to be told, whichever connection or process brings its words (an edge).

The port (`serve`) runs the protocol of each stream and asks the desk: may it be opened, what is the newest for it;
and tells it what the proxy said. Who may be told what is the source's decision.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Final, Protocol

import structlog

from ca.spiffe_id import SpiffeId
from xds.compile import Work
from xds.errors import NotAuthorizedError, Refusal, RefusedError
from xds.ledger import Ledger
from xds.meter import Meter
from xds.peer import Peer
from xds.snapshot import Snapshot
from xds.stream import Acked, Event, Nacked
from xds.turns import Turns

_FOLLOWED: Final = 4
_TOLD_AT_ONCE: Final = 16  # proxies, in a turn of the event loop: more than a lone edit concerns; with four, such an edit took a sixth longer
MAX_STREAMS: Final = (
    32  # of one node: a stream for each type and protocol, and those a lost network left behind
)
SPREAD_SECONDS: Final = 2.0  # over which all streams are ended, where there are many
_APART_SECONDS: Final = 0.002  # at most, where there are few
GRPC_AGENT: Final = "gRPC"  # how every gRPC client begins its user_agent_name
NOT_PROXYLESS: Final = (
    "this node is registered with a sidecar, and gRPC would not enforce what is compiled for Envoy; "
    'say "proxyless": true in the annotation pylis.io/sidecar of its WorkloadEntry'
)
CROWDED: Final = f"a node may have {MAX_STREAMS} streams: the oldest goes"
EXPIRED: Final = "the certificate of this connection has expired"
STOPPING: Final = "the control plane is stopping"
REVOKED: Final = "quarantine: this identity or certificate is cut off"

log = structlog.get_logger()


class ConfigSource(Protocol):
    """Who supplies configuration."""

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        """Raises: NotAuthorizedError when `peer` may not claim `node_id`."""
        ...

    def is_proxyless(self, node_id: str) -> bool:
        """Is its snapshot made for a gRPC process?"""
        ...

    def heavy(self, node_id: str) -> list[Work]:
        """What takes long and should be done, in another thread, before `snapshot` is asked for."""
        ...

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        """The revision and what the node should hold now; empty for a node that is no longer registered."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """A stream that wants to be opened: `peer` is proven, `node_id` and `user_agent` are what it says.

    `chain` is what proves the peer: PEM, leaf first.
    """

    peer: Peer
    node_id: str
    user_agent: str
    chain: bytes = field(repr=False)


class Wake:
    """What `asyncio.Event` is, for one who waits: a tenth of its size, and there is one for each stream."""

    __slots__ = ("_is_set", "_waiter")

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        """At once, if it is set."""
        if not self._is_set:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


@dataclass(eq=False, slots=True)
class Session:
    """One open stream. Whoever sets `stale` or `ending` (why it has to end) wakes it.

    `when_ended` is set by who serves it: the stream may wait for its peer, and not for us.
    """

    node_id: str
    peer: Peer
    wake: Wake = field(default_factory=Wake)
    stale: bool = True  # the source has something newer
    ending: str = ""
    admitted: bool = False  # it had its turn among the newcomers
    when_ended: Callable[[], object] | None = None

    def end(self, reason: str) -> None:
        if not self.ending and self.when_ended is not None:
            self.when_ended()
        self.ending = reason
        self.wake.set()


class Desk(Protocol):
    """What the port asks and tells."""

    async def open(self, claim: Claim) -> Session:
        """To be closed again. Raises: RefusedError."""
        ...

    async def newest(self, session: Session) -> Snapshot:
        """What its proxy should hold; the session is not stale any more."""
        ...

    def heard(self, session: Session, event: Event) -> None: ...

    def sent(self, type_url: str, size: int) -> None:
        """A response of that many bytes."""
        ...

    def settled(self, session: Session, refused: Mapping[str, tuple[str, ...]]) -> None:
        """The proxy holds, or has refused, all of the newest."""
        ...

    def close(self, session: Session) -> None: ...


class Watcher(Protocol):
    """Who follows what becomes of an edit, proxy by proxy."""

    def compiled(self, node: str) -> None: ...

    def settled(self, node: str, refused: Mapping[str, tuple[str, ...]]) -> None: ...

    def gone(self, node: str) -> None: ...


class MeshDesk:
    """The desk beside the source; `publish` after that changed. `watcher` may be set before the first stream."""

    def __init__(
        self,
        source: ConfigSource,
        ledger: Ledger,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        is_revoked: Callable[[Peer], bool] = lambda _: False,
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._now = now
        self._is_revoked = is_revoked
        self._working: dict[Hashable, asyncio.Future[None]] = {}
        self._sessions: dict[str, dict[Session, None]] = {}  # of a node, oldest first
        self._newcomers, self._told = Turns(), Turns(_TOLD_AT_ONCE)
        self.meter = Meter()
        self.watcher: Watcher | None = None
        self.meter.newcomers = lambda: self._newcomers.waiting

    def publish(self, node_ids: Iterable[str] | None = None, since: float | None = None) -> None:
        """The source has news for these nodes (None: for all); `since` when, by the monotonic clock (None: now)."""
        since = monotonic() if since is None else since
        for node_id in list(self._sessions) if node_ids is None else node_ids:
            for session in self._sessions.get(node_id, ()):
                self.meter.waiting(node_id, since)
                session.stale = True
                session.wake.set()

    def connected(self, node_ids: Iterable[str]) -> list[str]:
        """Those of them that have a stream."""
        return [node_id for node_id in node_ids if node_id in self._sessions]

    @property
    def compiling(self) -> int:
        """Long compilations that are running."""
        return len(self._working)

    def end_revoked(self) -> None:
        """Ends the streams of those who are cut off by now; they are refused when they come again."""
        self.close_streams(self._is_revoked, REVOKED)

    def close_streams(self, which: Callable[[Peer], bool], reason: str) -> None:
        for sessions in self._sessions.values():
            for session in sessions:
                if which(session.peer):
                    session.end(reason)

    async def dismiss(self, reason: str) -> None:
        """Ends every stream; where there are many not in one instant, and in no order: whoever serves them next has an
        easier time."""
        sessions = [session for of_node in self._sessions.values() for session in of_node]
        random.shuffle(sessions)
        apart = min(_APART_SECONDS, SPREAD_SECONDS / max(1, len(sessions)))
        for session in sessions:
            session.end(reason)
            await asyncio.sleep(apart)

    async def open(self, claim: Claim) -> Session:
        return self.admit(claim)

    def admit(self, claim: Claim) -> Session:
        """Raises: RefusedError."""
        peer, node_id = claim.peer, claim.node_id
        if self._is_revoked(peer):
            log.warning("proxy.refused", peer=str(peer.identity), serial=peer.serial, reason="quarantine")
            raise RefusedError(Refusal.PERMISSION_DENIED, REVOKED)
        try:
            self._source.admit(peer.identity, node_id)
        except NotAuthorizedError as error:
            log.warning("proxy.refused", node=node_id, peer=str(peer.identity))
            text = "the certificate of this connection may not claim that node"
            raise RefusedError(Refusal.PERMISSION_DENIED, text) from error
        if claim.user_agent.startswith(GRPC_AGENT) and not self._source.is_proxyless(node_id):
            # gRPC acknowledges what is compiled for Envoy and would allow everything
            log.warning(
                "proxy.refused", node=node_id, peer=str(peer.identity), reason="not declared proxyless"
            )
            raise RefusedError(Refusal.FAILED_PRECONDITION, NOT_PROXYLESS)
        self._make_room(node_id)
        session = Session(node_id, peer)
        self._sessions.setdefault(node_id, {})[session] = None
        self.meter.streams += 1
        self._ledger.connected(node_id, str(peer.identity), peer.expires, self._now())
        log.info("proxy.connected", node=node_id, peer=str(peer.identity))
        return session

    def _make_room(self, node_id: str) -> None:
        """The oldest stream of a node makes room. Raises: RefusedError while too many that do not even end are left."""
        sessions = self._sessions.get(node_id, {})
        live = [session for session in sessions if not session.ending]
        if len(live) >= MAX_STREAMS:
            live[0].end(CROWDED)
        if len(sessions) >= 2 * MAX_STREAMS:
            raise RefusedError(Refusal.RESOURCE_EXHAUSTED, CROWDED)

    async def newest(self, session: Session) -> Snapshot:
        node_id = session.node_id
        if session.admitted:
            await self._told.enter(node_id)
        else:
            session.admitted = True
            await self._newcomers.enter(session.peer.identity)
        await self._prepare(node_id)
        session.stale = False
        revision, snapshot = self._source.snapshot(node_id)
        self._ledger.offered(node_id, revision, snapshot)
        if self.watcher is not None:
            self.watcher.compiled(node_id)
        return snapshot

    def heard(self, session: Session, event: Event) -> None:
        match event:
            case Acked(type_url, _):
                self._ledger.acked(session.node_id, type_url)
            case Nacked(type_url, _, message):
                self.meter.nacked(type_url)
                self._ledger.nacked(session.node_id, type_url, message, self._now())
                log.warning("proxy.nacked", node=session.node_id, type=type_url, message=message)

    def sent(self, type_url: str, size: int, responses: int = 1) -> None:
        self.meter.sent(type_url, size, responses)

    def settled(self, session: Session, refused: Mapping[str, tuple[str, ...]]) -> None:
        self.meter.settled(session.node_id, monotonic(), refused=bool(refused))
        self._ledger.settled(session.node_id, refused)
        if self.watcher is not None:
            self.watcher.settled(session.node_id, refused)

    def close(self, session: Session) -> None:
        node_id = session.node_id
        del self._sessions[node_id][session]
        self.meter.streams -= 1
        self.meter.disconnected(node_id)
        if not self._sessions[node_id]:
            del self._sessions[node_id]
            if self.watcher is not None:
                self.watcher.gone(node_id)
        self._ledger.disconnected(node_id, self._now())
        log.info("proxy.disconnected", node=node_id)

    async def _prepare(self, node_id: str) -> None:
        """Long compilations run beside the loop, each once for all who wait for it: nobody else is kept waiting.

        While they run the mesh may move on; it is followed a few times, then what is left is done here.
        """
        for _ in range(_FOLLOWED):
            work = self._source.heavy(node_id)
            if not work:
                return
            for one in work:
                if one.key not in self._working:
                    self._working[one.key] = asyncio.ensure_future(self._work(one))
                await asyncio.shield(self._working[one.key])

    async def _work(self, work: Work) -> None:
        try:
            work.keep(await asyncio.to_thread(work.run))
        finally:
            del self._working[work.key]
