"""The xDS port (an edge): gRPC over mTLS, delta ADS; who may be told what is the source's decision.

The SVID of the connection decides whose configuration a stream gets. Trust and certificate rotate without a
restart (`port_credentials`); a stream ends when the SVID it was opened with expires.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# grpc and upb come without complete types

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import grpc

from xds import health, poller
from xds.allocator import give_back, share_arenas
from xds.desk import EXPIRED, SPREAD_SECONDS, STOPPING, Claim, ConfigSource, Desk, MeshDesk, Session
from xds.errors import ProtocolError, RefusedError, SchemaError
from xds.ledger import Ledger
from xds.names import LISTENER_DRAIN_SECONDS
from xds.peer import Peer
from xds.port_credentials import PortCredentials, ServerIdentity
from xds.responses import Response
from xds.services import DELTA_ADS, SERVICES, Service, Stream
from xds.snapshot import Snapshot

_SWITCH_SECONDS: Final = 0.001  # how long a compilation in another thread may keep the loop waiting at a time
TIDY_SECONDS: Final = 30.0  # after streams ended, until what they were made of goes back to the system
# after a proxy has heard of a changed listener, until connections by the old one have ended
DRAINED_SECONDS: Final = LISTENER_DRAIN_SECONDS + 1.0
STUCK_SECONDS: Final = 5.0  # for a stream that is ended and whose peer does not take even that
OPTIONS: Final = (
    ("grpc.http2.bdp_probe", 0),  # measured: with the gc thresholds below half the CPU of a push
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_concurrent_streams", 100),  # of one connection
    ("grpc.server.max_pending_requests", 20_000),  # a herd after a restart is not turned away
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class AddressInUseError(Exception):
    """The port is taken, or is none of this machine's."""


def peer_of(context: Any) -> Peer | None:
    """None when the connection's certificate carries no well-formed SPIFFE ID, or TLS is older than 1.3.

    grpcio has no setting for the least version, so an older one is refused here, before anything is told.
    """
    auth: dict[str, list[bytes]] = context.auth_context()
    ids, pem = auth.get("peer_spiffe_id", []), auth.get("x509_pem_cert", [])
    if len(ids) != 1 or not pem or auth.get("ssl_tls_version") != [b"TLSv1.3"]:
        return None
    return Peer.read(ids[0].decode("ascii", "replace"), pem[0])


def _chain_of(context: Any) -> bytes:
    """PEM, leaf first: of a server's peers grpc keeps the leaf out of the chain."""
    auth: dict[str, list[bytes]] = context.auth_context()
    return b"".join((*auth["x509_pem_cert"], *auth.get("x509_pem_cert_chain", [])))


class Port:
    """One address, where streams are opened for what a desk says."""

    def __init__(
        self,
        address: str,
        identity: Callable[[], ServerIdentity],
        desk: Desk,
        extra_handlers: Sequence[grpc.GenericRpcHandler] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        stuck_seconds: float = STUCK_SECONDS,
        drained_seconds: float = DRAINED_SECONDS,
        *,
        is_shared: bool = False,
    ) -> None:
        """`is_shared`: other processes may listen at the same address."""
        self._stuck_seconds = stuck_seconds
        self._drained_seconds = drained_seconds
        self._address = address
        self._credentials = PortCredentials(identity, is_shared=is_shared)
        # a taken port is an error, not a second server
        self._options = (*OPTIONS, ("grpc.so_reuseport", int(is_shared)))
        self._desk = desk
        self._extra = extra_handlers
        self._now = now
        self._server: Any = None
        self._tidying: asyncio.Future[None] | None = None
        self._ended = 0  # streams, since memory was given back
        self.port = 0

    async def start(self) -> None:
        """Raises: AddressInUseError."""
        share_arenas()
        gc.set_threshold(100_000, 50, 1000)
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._server = poller.server(self._options)
        handlers = {
            method: self._handler(service) for method, service in SERVICES.items()
        } | health.handlers()
        self._server.add_generic_rpc_handlers((_Methods(handlers), *self._extra))
        try:
            self.port = self._server.add_secure_port(self._address, self._credentials.credentials())
        except RuntimeError as error:
            raise AddressInUseError(self._address) from error
        await self._server.start()
        self._tidying = asyncio.ensure_future(self._tidy())
        host = self._address.rpartition(":")[0].strip("[]")
        self._credentials.serve_at({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), self.port)  # noqa: S104 - to reach it, not to bind it

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """Says GOAWAY on every connection; streams that the desk has not ended by then end with the grace."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait([self._tidying])
        await self._credentials.stop()
        await self._server.stop(grace_seconds)

    async def refresh_identity(self) -> None:
        """Afterwards new handshakes use what `identity()` says now. Raises: OSError, TimeoutError."""
        await self._credentials.refresh()

    def _handler(self, service: Service) -> Any:
        async def handle(_: object, context: Any) -> None:
            await self._open(service, context)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _open(self, service: Service, context: Any) -> None:
        peer = peer_of(context)
        if peer is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the certificate carries no SPIFFE ID")
            return
        try:
            first: Any = await _first(service, context)
        except (SchemaError, ProtocolError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no discovery request")
            return
        stream = service.stream()
        claim = Claim(peer, first.node.id, first.node.user_agent_name, _chain_of(context))
        try:
            session = await self._desk.open(claim)
        except RefusedError as error:
            await context.abort(grpc.StatusCode[error.refusal], str(error))
            return
        try:
            stream.receive(first)
            del first, claim  # a stream lives long
            await self._serve(_Talk(service, stream, session, self._desk, self._drained_seconds), context)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self._ended += 1
            self._desk.close(session)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            if self._ended:
                self._ended = 0
                await asyncio.to_thread(give_back)

    async def _serve(self, talk: _Talk, context: Any) -> None:
        """One reader task, one writer woken by an event; the newest snapshot wins, nothing queues up.

        Raises: ProtocolError.
        """
        session = talk.session
        reader = asyncio.ensure_future(_read(talk, context))
        reader.add_done_callback(lambda _: session.wake.set())
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        expiry = loop.call_later(
            max(0.0, (session.peer.expires - self._now()).total_seconds()), session.end, EXPIRED
        )
        if task is not None:
            session.when_ended = lambda: loop.call_later(self._stuck_seconds, task.cancel)
        try:
            while not reader.done():
                if session.ending:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, session.ending)
                if session.stale:
                    talk.offer(await self._desk.newest(session))
                talk.go_on()
                while talk.waiting:
                    await context.write(talk.next_body())
                await session.wake.wait()
                session.wake.clear()
            reader.result()
        finally:
            session.when_ended = None
            expiry.cancel()
            talk.end()
            reader.cancel()


class _Talk:
    """One stream: what its proxy says goes to the state machine, and what that answers waits for the writer."""

    __slots__ = ("_desk", "_drained_seconds", "_draining", "_service", "_stream", "session", "waiting")

    def __init__(
        self, service: Service, stream: Stream, session: Session, desk: Desk, drained_seconds: float
    ) -> None:
        self._service, self._stream, self._desk = service, stream, desk
        self.session = session
        self._drained_seconds = drained_seconds
        self._draining: asyncio.TimerHandle | None = None
        self.waiting: list[
            Response
        ] = []  # at most one of a type: no more is answered before that is acknowledged

    def offer(self, snapshot: Snapshot) -> None:
        one_type = self._service.type_url
        self._stream.offer(snapshot.only(one_type) if one_type else snapshot)

    def receive(self, body: bytes) -> None:
        """Most of what comes is an acknowledgement that calls for no answer: the writer sleeps on. Raises: ProtocolError."""
        try:
            event = self._stream.receive(self._service.read(body))
        except SchemaError as error:
            raise ProtocolError("not a discovery request") from error
        if event is not None:
            self._desk.heard(self.session, event)
        self.go_on()
        if self.waiting:
            self.session.wake.set()

    def go_on(self) -> None:
        self.waiting += self._stream.pending()
        drains = self._stream.drains
        if self._draining is None and drains.is_under_way:
            loop = asyncio.get_running_loop()
            self._draining = loop.call_later(self._drained_seconds, self._drained, drains.begun)
        if not self.waiting and not self.session.stale and self._stream.is_settled:
            self._desk.settled(self.session, self._stream.refused)

    def end(self) -> None:
        if self._draining is not None:
            self._draining.cancel()

    def _drained(self, drain: int) -> None:
        self._draining = None
        self._stream.drains.end(drain)
        self.go_on()
        if self.waiting:
            self.session.wake.set()

    def next_body(self) -> bytes:
        response = self.waiting.pop(0)
        body = response.encode()
        self._desk.sent(response.type_url, len(body))
        return body


async def _first(service: Service, context: Any) -> Any:
    """Raises: SchemaError; ProtocolError."""
    body = await context.read()
    if not isinstance(body, bytes):  # grpc says EOF by an object of its own
        raise ProtocolError("no request")
    return service.read(body)


async def _read(talk: _Talk, context: Any) -> None:
    while isinstance(body := await context.read(), bytes):
        talk.receive(body)


class XdsServer(Port):
    """A port whose desk stands beside the source; `publish` after that changed."""

    def __init__(
        self,
        address: str,
        identity: Callable[[], ServerIdentity],
        source: ConfigSource,
        ledger: Ledger,
        extra_handlers: Sequence[grpc.GenericRpcHandler] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        is_revoked: Callable[[Peer], bool] = lambda _: False,
        stuck_seconds: float = STUCK_SECONDS,
        drained_seconds: float = DRAINED_SECONDS,
    ) -> None:
        self.desk = MeshDesk(source, ledger, now, is_revoked)
        super().__init__(address, identity, self.desk, extra_handlers, now, stuck_seconds, drained_seconds)
        self.meter = self.desk.meter
        self.publish = self.desk.publish
        self.end_revoked = self.desk.end_revoked
        self.close_streams = self.desk.close_streams

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """GOAWAY on every connection, then every stream ends with UNAVAILABLE: proxies go elsewhere, or come later."""
        dismissing = asyncio.ensure_future(self.desk.dismiss(STOPPING))
        try:
            await super().stop(SPREAD_SECONDS + grace_seconds)
        finally:
            await dismissing


__all__ = [
    "DELTA_ADS",
    "AddressInUseError",
    "ConfigSource",
    "Peer",
    "Port",
    "ServerIdentity",
    "XdsServer",
    "methods",
    "peer_of",
]


class _Methods(grpc.GenericRpcHandler):
    """Handlers by full method name; messages stay bytes."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)


def methods(handlers: dict[str, Any]) -> grpc.GenericRpcHandler:
    """A generic handler for `extra_handlers`."""
    return _Methods(handlers)
