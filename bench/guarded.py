"""One Envoy that guards many ports: plans in, real requests and their answers out.

For tests and benchmarks of what policy compiles to. Certificates carry whatever URI is asked for, and the check of
the trust domain in TLS is lifted: what is under test is authorization, and some test cases name principals that no
certificate authority of ours would issue. The application answers every request with 200 and echoes TCP bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.one_envoy import Source, envoy, identity, new_authority, until, xds_server
from xds import schema
from xds.compile import compile_plan
from xds.ledger import Ledger
from xds.plan import ProxyPlan, SocketAddress
from xds.snapshot import LISTENER, Resource, Snapshot

NODE = "shop/guard"
NODE_ID = "spiffe://example.org/ns/shop/sa/guard"
_TLS = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


class AnyIssuer:
    """A certificate authority without scruples."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        self._contexts: dict[tuple[str, ...], ssl.SSLContext] = {}
        self.root = self._sign(self._name, self._key.public_key(), [x509.BasicConstraints(True, None)])

    @property
    def root_pem(self) -> str:
        return self.root.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, *uris: str) -> tuple[bytes, bytes]:
        """Chain and key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        certificate = self._sign(x509.Name([]), key.public_key(), [names])
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), pem

    def client(self, *uris: str) -> ssl.SSLContext:
        """What a caller with these URIs in its certificate connects with; h2 is offered."""
        if uris not in self._contexts:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            chain, key = self.issue(*uris)
            path = Path(tempfile.mkstemp(dir=self._directory)[1])
            path.write_bytes(chain + key)
            context.load_cert_chain(path)
            self._contexts[uris] = context
        return self._contexts[uris]

    def _sign(self, subject: x509.Name, key: Any, extensions: Sequence[Any]) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(self._key, hashes.SHA256())


@dataclass(frozen=True)
class Call:
    """One request or TCP connection. `uris`: of the certificate; None is plaintext."""

    port: int
    uris: tuple[str, ...] | None = None
    method: str = "GET"
    path: str = "/"
    host: str = "b.shop"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    tcp: bool = False
    sni: str = ""
    source: str = ""
    destination: str = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """`allowed`: the application answered. `status` 0: closed or reset without an answer."""

    allowed: bool
    status: int = 0
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class Guarded:
    """Envoy is up; `offer` gives it other plans, `call` asks it."""

    def __init__(self, issuer: AnyIssuer, source: Source, server: Any, ledger: Ledger, log: Path) -> None:
        self.issuer = issuer
        self.log = log
        self._source = source
        self._server = server
        self._ledger = ledger
        self._sessions: dict[tuple[object, ...], _Session] = {}

    async def offer(self, plans: Iterable[ProxyPlan], *more: Resource, relaxed: bool = True) -> None:
        """Waits until Envoy has taken everything. Raises: AssertionError with Envoy's words when it refuses."""
        resources: dict[tuple[str, str], Resource] = {}
        for plan in plans:
            for found in compile_plan(plan).by_type.values():
                resources |= {(r.type_url, r.name): r for r in found.values()}
        resources |= {(r.type_url, r.name): r for r in more}
        kept = [relax(r) if relaxed and r.type_url == LISTENER else r for r in resources.values()]
        self._source.revision += 1
        self._source.snapshots[NODE] = Snapshot.of(kept)
        self._server.publish([NODE])
        await until(self._settled, 60)
        status = next(iter(self._ledger.status()))
        if str(status.state) != "synced":
            raise AssertionError(f"Envoy refused: {status.note}")

    def _settled(self) -> bool:
        status = next(iter(self._ledger.status()), None)
        if status is None or status.revision != self._source.revision:
            return False
        return str(status.state) in ("synced", "nacked")

    async def listening(self, ports: Iterable[int], host: str = "127.0.0.1") -> None:
        """Envoy's workers have the listeners a moment after it said so."""
        for port in ports:
            async with asyncio.timeout(20):
                while True:
                    try:
                        _, writer = await asyncio.open_connection(host, port)
                    except OSError:
                        await asyncio.sleep(0.02)
                        continue
                    writer.close()
                    break

    async def call(self, call: Call) -> Answer:
        """Raises: OSError where this machine cannot make such a connection."""
        key = (call.port, call.uris, call.sni, call.source, call.destination)
        if call.tcp:
            return await self._echo(call)
        session = self._sessions.get(key)
        if session is None or session.closed:
            reader, writer = await self._connect(call)
            session = self._sessions[key] = _Session(reader, writer)
        return await session.request(call)

    async def close(self) -> None:
        for session in self._sessions.values():
            session.writer.close()

    async def _connect(self, call: Call) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        options: dict[str, Any] = {"local_addr": (call.source, 0)} if call.source else {}
        if call.uris is not None:
            context = self.issuer.client(*call.uris)
            if not call.tcp:
                context.set_alpn_protocols(["h2"])
            options |= {"ssl": context, "server_hostname": call.sni or ""}
        return await asyncio.wait_for(asyncio.open_connection(call.destination, call.port, **options), 10)

    async def _echo(self, call: Call) -> Answer:
        try:
            reader, writer = await self._connect(call)
        except (ConnectionResetError, ssl.SSLError):
            return Answer(False)
        try:
            writer.write(b"ping\n")
            answer = await asyncio.wait_for(reader.read(5), 10)
        except (ConnectionError, ssl.SSLError):
            answer = b""
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
        return Answer(answer == b"ping\n")


class _Session:
    """An HTTP/2 connection on which one request follows the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.closed = reader, writer, False
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )  # fmt: skip
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._flush()

    def _flush(self) -> None:
        self.writer.write(self._h2.data_to_send())

    async def request(self, call: Call) -> Answer:
        stream = self._h2.get_next_available_stream_id()
        scheme = "http" if call.uris is None else "https"
        pseudo = [
            (":method", call.method),
            (":scheme", scheme),
            (":path", call.path),
            (":authority", call.host),
        ]
        self._h2.send_headers(stream, [*pseudo, *call.headers.items()], end_stream=True)
        self._flush()
        headers: dict[str, str] = {}
        body = b""
        while True:
            try:
                data = await asyncio.wait_for(self.reader.read(65536), 20)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                self.closed = True
                return Answer(False)
            for event in self._h2.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(stream_id=id_) if id_ == stream:
                        headers = {str(k): str(v) for k, v in event.headers or []}
                    case h2.events.DataReceived(stream_id=id_) if id_ == stream:
                        body += event.data or b""
                        self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                    case h2.events.StreamReset(stream_id=id_) if id_ == stream:
                        self._flush()
                        return Answer(False)
                    case h2.events.ConnectionTerminated():
                        self.closed = True
                        return Answer(False)
                    case h2.events.StreamEnded(stream_id=id_) if id_ == stream:
                        self._flush()
                        status = int(headers.get(":status", "0"))
                        return Answer(status == 200, status, body.decode(errors="replace"), headers)
                    case _:
                        pass
            self._flush()


def relax(resource: Resource) -> Resource:
    """The listener without the check of trust domains in TLS."""
    listener: Any = schema.decode("envoy.config.listener.v3.Listener", resource.body)
    for chain in listener.filter_chains:
        if chain.transport_socket.typed_config.type_url.endswith(_TLS):
            context: Any = schema.decode(_TLS, chain.transport_socket.typed_config.value)
            validation = context.common_tls_context.combined_validation_context.default_validation_context
            del validation.match_typed_subject_alt_names[:]
            chain.transport_socket.typed_config.CopyFrom(schema.pack(context))
    return Resource.of(resource.name, listener)


@asynccontextmanager
async def application() -> AsyncIterator[tuple[SocketAddress, SocketAddress]]:
    """Where HTTP is answered, and where TCP is echoed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode(errors="replace").split("\r\n")[1:]
                seen = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
                body = json.dumps(seen).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    servers = [await asyncio.start_server(handler, "127.0.0.1", 0) for handler in (answer, echo)]
    try:
        http, tcp = (SocketAddress("127.0.0.1", s.sockets[0].getsockname()[1]) for s in servers)
        yield http, tcp
    finally:
        for server in servers:
            server.close()


@asynccontextmanager
async def guarded() -> AsyncIterator[Guarded]:
    """An Envoy that waits for its first plans."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pylis-guarded-")))
        authority, issuer = new_authority(), AnyIssuer(directory)
        # callers are of the issuer, the xDS port of the authority: Envoy trusts both
        source, ledger = Source({NODE: NODE_ID}, {}, 0), Ledger()
        own = identity(authority, NODE_ID)
        own.bundle_pem += issuer.root_pem
        server = await stack.enter_async_context(xds_server(authority, source, ledger))
        log = await stack.enter_async_context(envoy(directory, NODE, own, server.port))
        one = Guarded(issuer, source, server, ledger, log)
        try:
            yield one
        finally:
            await one.close()
