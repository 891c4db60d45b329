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
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final, Protocol

import grpc
import structlog
from cryptography import x509

from ca.errors import SpiffeIdError
from ca.revocation import serial_text
from ca.spiffe_id import SpiffeId
from xds import health, schema
from xds.compile import Work
from xds.errors import NotAuthorizedError, ProtocolError, SchemaError
from xds.ledger import Ledger
from xds.meter import Meter
from xds.port_credentials import PortCredentials, ServerIdentity
from xds.services import DELTA_ADS, SERVICES, Service, Stream
from xds.snapshot import Snapshot
from xds.stream import Acked, Nacked

_FOLLOWED: Final = 4
_SWITCH_SECONDS: Final = 0.001  # how long a compilation in another thread may keep the loop waiting at a time
GRPC_AGENT: Final = "gRPC"  # how every gRPC client begins its user_agent_name
NOT_PROXYLESS: Final = (
    "this node is registered with a sidecar, and gRPC would not enforce what is compiled for Envoy; "
    'say "proxyless": true in the annotation pylis.io/sidecar of its WorkloadEntry'
)
REVOKED: Final = "quarantine: this identity or certificate is cut off"
OPTIONS: Final = (
    ("grpc.http2.bdp_probe", 0),  # measured: with the gc thresholds below half the CPU of a push
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.server.max_pending_requests", 20_000),  # a herd after a restart is not turned away
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),  # a taken port is an error, not a second server
)

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


class AddressInUseError(Exception):
    """The port is taken, or is none of this machine's."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The verified other end of a stream; `serial` of its certificate, as `ca.revocation` writes it."""

    identity: SpiffeId
    expires: datetime
    serial: str = ""


def peer_of(context: Any) -> Peer | None:
    """None when the connection's certificate carries no well-formed SPIFFE ID, or TLS is older than 1.3.

    grpcio has no setting for the least version, so an older one is refused here, before anything is told.
    """
    auth: dict[str, list[bytes]] = context.auth_context()
    ids, pem = auth.get("peer_spiffe_id", []), auth.get("x509_pem_cert", [])
    if len(ids) != 1 or not pem or auth.get("ssl_tls_version") != [b"TLSv1.3"]:
        return None
    try:
        identity = SpiffeId.parse(ids[0].decode("ascii"))
        leaf = x509.load_pem_x509_certificate(pem[0])
    except (SpiffeIdError, ValueError):
        return None
    return Peer(identity, leaf.not_valid_after_utc, serial_text(leaf.serial_number))


@dataclass(eq=False, slots=True)
class _Session:
    node_id: str
    peer: Peer
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    stale: bool = True  # the source has something newer
    ending: str = ""


class XdsServer:
    """Serves one address; `publish` after the source changed."""

    def __init__(
        self,
        address: str,
        identity: Callable[[], ServerIdentity],
        source: ConfigSource,
        ledger: Ledger,
        extra_handlers: Sequence[grpc.GenericRpcHandler] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        is_revoked: Callable[[Peer], bool] = lambda _: False,
    ) -> None:
        self._address = address
        self._credentials = PortCredentials(identity)
        self._source = source
        self._ledger = ledger
        self._extra = extra_handlers
        self._now = now
        self._is_revoked = is_revoked
        self._working: dict[Hashable, asyncio.Future[None]] = {}
        self.meter = Meter()
        self._sessions: dict[str, set[_Session]] = {}
        self._server: Any = None
        self.port = 0

    async def start(self) -> None:
        """Raises: AddressInUseError."""
        gc.set_threshold(100_000, 50, 1000)
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._server = grpc.aio.server(options=OPTIONS)
        handlers = {
            method: self._handler(service) for method, service in SERVICES.items()
        } | health.handlers()
        self._server.add_generic_rpc_handlers((_Methods(handlers), *self._extra))
        try:
            self.port = self._server.add_secure_port(self._address, self._credentials.credentials())
        except RuntimeError as error:
            raise AddressInUseError(self._address) from error
        await self._server.start()
        host = self._address.rpartition(":")[0].strip("[]")
        self._credentials.serve_at({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), self.port)  # noqa: S104 - to reach it, not to bind it

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """Ends every stream with UNAVAILABLE, so that proxies reconnect elsewhere or later."""
        self.close_streams(lambda _: True, "the control plane is stopping")
        await self._credentials.stop()
        await self._server.stop(grace_seconds)

    async def refresh_identity(self) -> None:
        """Afterwards new handshakes use what `identity()` says now. Raises: OSError, TimeoutError."""
        await self._credentials.refresh()

    def publish(self, node_ids: Iterable[str] | None = None) -> None:
        """The source has news for these nodes (None: for all)."""
        for node_id in list(self._sessions) if node_ids is None else node_ids:
            for session in self._sessions.get(node_id, ()):
                self.meter.waiting(node_id, monotonic())
                session.stale = True
                session.wake.set()

    def end_revoked(self) -> None:
        """Ends the streams of those who are cut off by now; they are refused when they come again."""
        self.close_streams(self._is_revoked, REVOKED)

    def close_streams(self, which: Callable[[Peer], bool], reason: str) -> None:
        for sessions in self._sessions.values():
            for session in sessions:
                if which(session.peer):
                    session.ending = reason
                    session.wake.set()

    def _handler(self, service: Service) -> Any:
        async def handle(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for body in self._open(service, requests, context):
                yield body

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _open(
        self, service: Service, requests: AsyncIterator[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        peer = peer_of(context)
        if peer is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the certificate carries no SPIFFE ID")
            return
        try:
            first: Any = service.read(await anext(requests))
        except (StopAsyncIteration, SchemaError, ProtocolError):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no discovery request")
            return
        if self._is_revoked(peer):
            log.warning("proxy.refused", peer=str(peer.identity), serial=peer.serial, reason="quarantine")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, REVOKED)
            return
        node_id: str = first.node.id
        try:
            self._source.admit(peer.identity, node_id)
        except NotAuthorizedError:
            log.warning("proxy.refused", node=node_id, peer=str(peer.identity))
            text = "the certificate of this connection may not claim that node"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)
            return
        if first.node.user_agent_name.startswith(GRPC_AGENT) and not self._source.is_proxyless(node_id):
            # gRPC acknowledges what is compiled for Envoy and would allow everything
            log.warning(
                "proxy.refused", node=node_id, peer=str(peer.identity), reason="not declared proxyless"
            )
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, NOT_PROXYLESS)
            return
        stream = service.stream()
        try:
            stream.receive(first)
        except ProtocolError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            return
        async for body in self._serve(_Session(node_id, peer), service, stream, requests, context):
            yield body

    async def _serve(
        self,
        session: _Session,
        service: Service,
        stream: Stream,
        requests: AsyncIterator[bytes],
        context: Any,
    ) -> AsyncIterator[bytes]:
        """One reader task, one writer woken by an event; the newest snapshot wins, nothing queues up."""
        node_id = session.node_id
        self._sessions.setdefault(node_id, set()).add(session)
        self.meter.streams += 1
        self._ledger.connected(node_id, str(session.peer.identity), session.peer.expires, self._now())
        log.info("proxy.connected", node=node_id, peer=str(session.peer.identity))
        reader = asyncio.ensure_future(self._read(session, service, stream, requests))
        reader.add_done_callback(lambda _: session.wake.set())
        expiry = asyncio.get_running_loop().call_later(
            max(0.0, (session.peer.expires - self._now()).total_seconds()), self._expire, session
        )
        try:
            while True:
                if session.stale:
                    await self._prepare(node_id)
                    session.stale = False
                    revision, snapshot = self._source.snapshot(node_id)
                    stream.offer(snapshot.only(service.type_url) if service.type_url else snapshot)
                    self._ledger.offered(node_id, revision, snapshot)
                for response in stream.pending():
                    body = schema.encode(response)
                    self.meter.sent(response.type_url, len(body))  # pyright: ignore[reportAttributeAccessIssue] - upb
                    yield body
                if stream.is_settled and not session.stale:
                    self.meter.settled(node_id, monotonic())
                    self._ledger.settled(node_id, stream.refused)
                await session.wake.wait()
                session.wake.clear()
                if reader.done():
                    break
                if session.ending:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, session.ending)
            if (error := reader.exception()) is not None:
                if not isinstance(error, ProtocolError):
                    raise error
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            expiry.cancel()
            reader.cancel()
            self._sessions[node_id].discard(session)
            self.meter.streams -= 1
            self.meter.disconnected(node_id)
            if not self._sessions[node_id]:
                del self._sessions[node_id]
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

    async def _read(
        self, session: _Session, service: Service, stream: Stream, requests: AsyncIterator[bytes]
    ) -> None:
        async for body in requests:
            try:
                event = stream.receive(service.read(body))
            except SchemaError as error:
                raise ProtocolError("not a discovery request") from error
            match event:
                case Acked(type_url, _):
                    self._ledger.acked(session.node_id, type_url)
                case Nacked(type_url, _, message):
                    self.meter.nacked(type_url)
                    self._ledger.nacked(session.node_id, type_url, message, self._now())
                    log.warning("proxy.nacked", node=session.node_id, type=type_url, message=message)
                case None:
                    pass
            session.wake.set()

    def _expire(self, session: _Session) -> None:
        session.ending = "the certificate of this connection has expired"
        session.wake.set()


__all__ = [
    "DELTA_ADS",
    "AddressInUseError",
    "ConfigSource",
    "Peer",
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
