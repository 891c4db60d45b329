"""The xDS port over real mTLS: who gets in, what they are told, and that nothing is left when it stops."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from structlog.testing import capture_logs

from ca import keys
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain, workload_id
from xds import health, schema
from xds.compile import Work
from xds.errors import NotAuthorizedError
from xds.ledger import Ledger, ProxyStatus, State
from xds.serve import DELTA_ADS, AddressInUseError, ServerIdentity, XdsServer, methods, peer_of
from xds.snapshot import CLUSTER, LISTENER, Resource, Snapshot

DOMAIN = TrustDomain("example.org")
NODE = "shop/web"
WEB = workload_id(DOMAIN, "shop", "web")
OTHER = workload_id(DOMAIN, "shop", "other")
REQUEST = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
RESPONSE = "envoy.service.discovery.v3.DeltaDiscoveryResponse"


class Authority:
    """A CA that also makes keys for those it certifies."""

    def __init__(self, domain: TrustDomain = DOMAIN) -> None:
        self.ca = CertificateAuthority.open(domain, MemoryKeystore())

    @property
    def roots(self) -> bytes:
        return self.ca.bundle.to_pem().encode()

    def server(self, roots: bytes) -> ServerIdentity:
        key = keys.new_key()
        svid = self.ca.issue_server(keys.csr_for(key), (), ())
        return ServerIdentity(keys.key_pem(key), svid.chain_pem.encode(), roots)

    def client(self, identity: SpiffeId, ttl: timedelta = timedelta(hours=1)) -> tuple[bytes, bytes]:
        key = keys.new_key()
        svid = self.ca.issue_id(identity, keys.csr_for(key), ttl, ())
        return keys.key_pem(key), svid.chain_pem.encode()


class Source:
    """One node, which one identity may claim."""

    def __init__(self) -> None:
        self.revision = 1
        self.content = Snapshot.of([a_cluster("a")])

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        if (peer, node_id) != (WEB, NODE):
            raise NotAuthorizedError(f"{peer} may not claim {node_id}: it belongs to someone secret")

    def is_proxyless(self, node_id: str) -> bool:
        return False

    def heavy(self, node_id: str) -> list[Work]:
        return []

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        assert node_id == NODE
        return self.revision, self.content

    def change(self, *resources: Resource) -> None:
        self.revision += 1
        self.content = Snapshot.of(resources)


class Running:
    """A started server with all that a test turns."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.identity = self.authority.server(self.authority.roots)
        self.source = Source()
        self.ledger = Ledger()
        handlers = {"/test.Extra/Echo": grpc.unary_unary_rpc_method_handler(_echo)}
        self.server = XdsServer(
            "127.0.0.1:0",
            lambda: self.identity,
            self.source,
            self.ledger,
            [methods(handlers)],
            drained_seconds=0.2,
        )

    async def trust(self, roots: bytes) -> None:
        self.identity = self.authority.server(roots)
        await self.server.refresh_identity()

    @property
    def status(self) -> ProxyStatus:
        (status,) = self.ledger.status()
        return status


class Stream:
    """A delta ADS client that answers only when it is told to."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def say(self, type_url: str, **fields: object) -> None:
        await self.call.write(schema.encode(schema.new(REQUEST, type_url=type_url, **fields)))

    async def hear(self) -> Any:
        body = await asyncio.wait_for(self.call.read(), 5)
        assert body is not grpc.aio.EOF, f"the stream ended: {await self.call.code()}"
        return schema.decode(RESPONSE, body)

    async def end(self) -> tuple[grpc.StatusCode, str]:
        return await asyncio.wait_for(_status(self.call), 5)


async def _status(call: Any) -> tuple[grpc.StatusCode, str]:
    return await call.code(), await call.details()


async def _echo(request: bytes, _: Any) -> bytes:
    return request


def a_cluster(name: str, **fields: object) -> Resource:
    return Resource.of(name, schema.new("envoy.config.cluster.v3.Cluster", name=name, **fields))


async def until(true: Callable[[], bool]) -> None:
    """Lets the server run until something it does on its own is seen."""
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - the server's own progress has no event to wait for
            await asyncio.sleep(0.005)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    one = Running()
    await one.server.start()
    yield one
    await one.server.stop()


Connect = Callable[..., Awaitable[Any]]


@pytest.fixture
async def connect(running: Running) -> AsyncIterator[Connect]:
    """connect(identity=…, authority=…, ttl=…): a channel with that client's certificate."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_channel(
            identity: SpiffeId = WEB, authority: Authority | None = None, ttl: timedelta = timedelta(hours=1)
        ) -> Any:
            key, chain = (authority or running.authority).client(identity, ttl)
            credentials = grpc.ssl_channel_credentials(running.authority.roots, key, chain)
            options = [("grpc.use_local_subchannel_pool", 1)]
            address = f"127.0.0.1:{running.server.port}"
            return await stack.enter_async_context(grpc.aio.secure_channel(address, credentials, options))

        yield open_channel


async def a_stream(channel: Any, node_id: str = NODE, type_url: str = CLUSTER) -> Stream:
    stream = Stream(channel.stream_stream(DELTA_ADS)())
    await stream.say(type_url, node={"id": node_id})
    return stream


async def refusal(channel: Any) -> grpc.StatusCode:
    """How a connection fails that never gets to say anything."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Extra/Echo")(b"", timeout=5)
    return caught.value.code()


async def is_heard(channel: Any) -> bool:
    with contextlib.suppress(grpc.aio.AioRpcError):
        return await channel.unary_unary("/test.Extra/Echo")(b"yes", timeout=5) == b"yes"
    return False


async def test_a_proxy_is_told_its_configuration_and_the_ledger_knows(
    running: Running, connect: Connect
) -> None:
    stream = await a_stream(await connect())
    response = await stream.hear()
    assert [resource.name for resource in response.resources] == ["a"]
    assert running.status.state is State.PENDING
    await stream.say(CLUSTER, response_nonce=response.nonce)
    await until(lambda: running.status.state is State.SYNCED)
    status = running.status
    assert (status.node_id, status.identity, status.synced_revision) == (NODE, str(WEB), 1)
    assert status.config_bytes == running.source.content.size_bytes
    expires = status.svid_expires
    assert expires is not None
    assert timedelta(minutes=59) < expires - datetime.now(UTC) <= timedelta(hours=1)


async def test_a_change_reaches_a_live_stream_as_a_difference(running: Running, connect: Connect) -> None:
    stream = await a_stream(await connect())
    first = await stream.hear()
    await stream.say(CLUSTER, response_nonce=first.nonce)
    running.source.change(a_cluster("a"), a_cluster("b"))
    running.server.publish([NODE, "shop/never-connected"])
    response = await stream.hear()
    assert [resource.name for resource in response.resources] == ["b"]
    await stream.say(CLUSTER, response_nonce=response.nonce)
    await until(lambda: running.status.synced_revision == 2)


async def test_a_change_for_everyone_reaches_everyone(running: Running, connect: Connect) -> None:
    streams = [await a_stream(await connect()) for _ in range(3)]
    for stream in streams:
        await stream.say(CLUSTER, response_nonce=(await stream.hear()).nonce)
    running.source.change(a_cluster("b"))
    running.server.publish()
    for stream in streams:
        assert [resource.name for resource in (await stream.hear()).resources] == ["b"]


async def test_a_nack_is_kept_in_the_proxys_words_until_it_is_mended(
    running: Running, connect: Connect
) -> None:
    stream = await a_stream(await connect())
    response = await stream.hear()
    with capture_logs() as logs:
        error = {"code": 13, "message": "no such cluster type"}
        await stream.say(CLUSTER, response_nonce=response.nonce, error_detail=error)
        await until(lambda: running.status.state is State.NACKED)
    assert running.status.note == "Cluster: no such cluster type"
    assert running.status.synced_revision == 0
    (event,) = [entry for entry in logs if entry["event"] == "proxy.nacked"]
    assert (event["node"], event["message"]) == (NODE, "no such cluster type")
    running.source.change(a_cluster("a", alt_stat_name="mended"))
    running.server.publish()
    mended = await stream.hear()
    await stream.say(CLUSTER, response_nonce=mended.nonce)
    await until(lambda: running.status.state is State.SYNCED)


async def test_a_reconnecting_proxy_is_not_sent_what_it_holds(running: Running, connect: Connect) -> None:
    held = {"a": running.source.content.resources(CLUSTER)["a"].version}
    running.source.change(a_cluster("a"), a_cluster("b"))
    stream = Stream((await connect()).stream_stream(DELTA_ADS)())
    await stream.say(CLUSTER, node={"id": NODE}, initial_resource_versions=held)
    assert [resource.name for resource in (await stream.hear()).resources] == ["b"]


async def test_a_stolen_node_id_is_worth_nothing(running: Running, connect: Connect) -> None:
    with capture_logs() as logs:
        stream = await a_stream(await connect(OTHER))
        code, details = await stream.end()
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "secret" not in details and NODE not in details and str(WEB) not in details
    assert running.ledger.status() == []
    assert [(entry["event"], entry["peer"]) for entry in logs] == [("proxy.refused", str(OTHER))]


async def test_an_identity_may_not_claim_another_node(connect: Connect) -> None:
    code, _ = await (await a_stream(await connect(), node_id="shop/ledger")).end()
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_later_node_id_changes_nothing(running: Running, connect: Connect) -> None:
    stream = await a_stream(await connect())
    await stream.hear()
    await stream.say(LISTENER, node={"id": "shop/ledger"})
    running.source.change(a_cluster("a"), Resource(LISTENER, "l", b"", "1"))
    running.server.publish([NODE])
    assert (await stream.hear()).type_url == LISTENER
    assert [status.node_id for status in running.ledger.status()] == [NODE]


async def test_a_cluster_goes_when_the_listener_that_used_it_has_drained(
    running: Running, connect: Connect
) -> None:
    cluster = a_cluster("a")
    running.source.change(cluster, Resource(LISTENER, "l", b"", "1"))
    stream = await a_stream(await connect())
    for said in (CLUSTER, LISTENER):
        await stream.say(said, response_nonce=(await stream.hear()).nonce)
        await stream.say(LISTENER)
    running.source.change()
    running.server.publish([NODE])
    listener = await stream.hear()
    assert (listener.type_url, list(listener.removed_resources)) == (LISTENER, ["l"])
    began = time.monotonic()
    await stream.say(LISTENER, response_nonce=listener.nonce)
    await until(lambda: running.status.state is State.SYNCED)
    clusters = await stream.hear()
    assert (clusters.type_url, list(clusters.removed_resources)) == (CLUSTER, ["a"])
    assert time.monotonic() - began >= 0.2
    await stream.say(CLUSTER, response_nonce=clusters.nonce)


async def test_a_certificate_of_a_foreign_ca_with_the_right_id_is_refused(
    running: Running, connect: Connect
) -> None:
    assert await refusal(await connect(WEB, Authority())) is grpc.StatusCode.UNAVAILABLE
    assert running.ledger.status() == []


async def test_an_expired_certificate_is_refused(connect: Connect) -> None:
    assert await refusal(await connect(ttl=timedelta(seconds=-1))) is grpc.StatusCode.UNAVAILABLE


async def test_a_client_without_a_certificate_is_refused(running: Running) -> None:
    credentials = grpc.ssl_channel_credentials(running.authority.roots)
    async with grpc.aio.secure_channel(f"127.0.0.1:{running.server.port}", credentials) as channel:
        assert await refusal(channel) is grpc.StatusCode.UNAVAILABLE


async def test_the_trust_bundle_rotates_without_a_restart(running: Running, connect: Connect) -> None:
    new = Authority()
    assert await refusal(await connect(WEB, new)) is grpc.StatusCode.UNAVAILABLE
    await running.trust(running.authority.roots + new.roots)
    stream = await a_stream(await connect(WEB, new))
    assert (await stream.hear()).type_url == CLUSTER
    await running.trust(new.roots)
    assert await refusal(await connect(WEB)) is grpc.StatusCode.UNAVAILABLE


async def test_a_changed_identity_is_taken_up_by_itself(running: Running, connect: Connect) -> None:
    new = Authority()
    running.identity = running.authority.server(running.authority.roots + new.roots)
    async with asyncio.timeout(20):
        while not await is_heard(await connect(WEB, new)):
            pass


async def test_handshakes_go_on_while_the_certificate_rotates(running: Running) -> None:
    """grpc frees the old configuration at once: a handshake that still wanted it took the process down."""
    presented = set[bytes]()

    async def knock() -> None:
        context = ssl.create_default_context(cadata=running.authority.roots.decode())
        key, chain = running.authority.client(WEB)
        with tempfile.NamedTemporaryFile() as file:
            file.write(chain + key)
            file.flush()
            context.load_cert_chain(file.name)
        context.set_alpn_protocols(["h2"])
        for _ in range(20):
            _, writer = await asyncio.open_connection("localhost", running.server.port, ssl=context)
            presented.add(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def rotate() -> None:
        for _ in range(5):
            await running.trust(running.authority.roots)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(rotate())
        for _ in range(10):
            tasks.create_task(knock())
    assert len(presented) > 1


async def test_a_stream_does_not_outlive_the_certificate_it_was_opened_with(
    running: Running, connect: Connect
) -> None:
    stream = await a_stream(await connect(ttl=timedelta(seconds=2)))
    await stream.hear()
    code, details = await stream.end()
    assert (code, "expired" in details) == (grpc.StatusCode.UNAVAILABLE, True)
    await until(lambda: running.status.state is State.LOST)


async def test_revocation_ends_the_streams_of_one_identity(running: Running, connect: Connect) -> None:
    stream = await a_stream(await connect())
    await stream.hear()
    running.server.close_streams(lambda peer: peer.identity == OTHER, "not this one")
    running.source.change(a_cluster("b"))
    await stream.say(CLUSTER)  # still alive
    running.server.close_streams(lambda peer: peer.identity == WEB, "the identity was revoked")
    assert await stream.end() == (grpc.StatusCode.UNAVAILABLE, "the identity was revoked")


@pytest.mark.parametrize("body", [b"\xff\xff", b"\x0a\x05ab"])
async def test_bytes_that_are_no_request_end_the_stream(connect: Connect, body: bytes) -> None:
    first = Stream((await connect()).stream_stream(DELTA_ADS)())
    await first.call.write(body)
    assert (await first.end())[0] is grpc.StatusCode.INVALID_ARGUMENT
    later = await a_stream(await connect())
    await later.hear()
    await later.call.write(body)
    assert (await later.end())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_type_that_is_not_served_ends_the_stream(connect: Connect) -> None:
    stream = await a_stream(await connect())
    await stream.hear()
    await stream.say("type.googleapis.com/envoy.config.trace.v3.Tracing")
    assert (await stream.end())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_first_request_of_a_type_that_is_not_served_ends_the_stream(connect: Connect) -> None:
    stream = await a_stream(await connect(), type_url="type.googleapis.com/envoy.config.trace.v3.Tracing")
    assert (await stream.end())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_tls_older_than_1_3_is_told_nothing(running: Running) -> None:
    class Context:
        """What grpcio says of a connection that was negotiated down."""

        def __init__(self, version: bytes) -> None:
            pem = running.authority.client(WEB)[1]
            self.auth = {
                "peer_spiffe_id": [str(WEB).encode()],
                "x509_pem_cert": [pem],
                "ssl_tls_version": [version],
            }

        def auth_context(self) -> dict[str, list[bytes]]:
            return self.auth

    assert peer_of(Context(b"TLSv1.2")) is None
    newest = peer_of(Context(b"TLSv1.3"))
    assert newest is not None and newest.identity == WEB


async def test_a_request_too_large_ends_the_stream(connect: Connect) -> None:
    stream = await a_stream(await connect())
    await stream.hear()
    with contextlib.suppress(asyncio.InvalidStateError):  # it may end before all is written
        await stream.call.write(b"\0" * (5 * 1024 * 1024))
    assert (await stream.end())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_other_services_share_the_port(connect: Connect) -> None:
    assert await (await connect()).unary_unary("/test.Extra/Echo")(b"hello", timeout=5) == b"hello"


async def test_a_taken_port_is_said(running: Running) -> None:
    address = f"127.0.0.1:{running.server.port}"
    second = XdsServer(address, lambda: running.authority.server(b""), running.source, Ledger())
    with pytest.raises(AddressInUseError, match=address):
        await second.start()


async def test_a_proxy_that_hangs_up_is_lost(running: Running, connect: Connect) -> None:
    stream = await a_stream(await connect())
    await stream.hear()
    stream.call.cancel()
    await until(lambda: running.status.state is State.LOST)


async def test_stopping_ends_the_streams_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    one = Running()
    await one.server.start()
    key, chain = one.authority.client(WEB)
    credentials = grpc.ssl_channel_credentials(one.authority.roots, key, chain)
    async with grpc.aio.secure_channel(f"127.0.0.1:{one.server.port}", credentials) as channel:
        streams = [await a_stream(channel) for _ in range(3)]
        for stream in streams:
            await stream.hear()
        await one.server.stop()
        for stream in streams:
            assert (await stream.end())[0] is grpc.StatusCode.UNAVAILABLE
    assert one.status.state is State.LOST
    await until(lambda: asyncio.all_tasks() <= before)


async def test_the_port_says_that_it_serves(connect: Connect) -> None:
    check = (await connect()).unary_unary(health.CHECK)
    assert await check(b"", timeout=5) == health.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(b"\x0a\x01x", timeout=5)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_pushes_are_measured(running: Running, connect: Connect) -> None:
    stream = await a_stream(await connect())
    await stream.say(CLUSTER, response_nonce=(await stream.hear()).nonce)
    running.source.change(a_cluster("b"))
    running.server.publish()
    changed = await stream.hear()
    await stream.say(CLUSTER, response_nonce=changed.nonce)
    # a is to go, and goes after b is there
    await until(lambda: "pylis_xds_push_seconds_count 1" in list(running.server.meter.lines()))
    lines = list(running.server.meter.lines())
    assert "pylis_xds_streams 1" in lines and "pylis_xds_waiting 0" in lines
    stream.call.cancel()
    await until(lambda: "pylis_xds_streams 0" in list(running.server.meter.lines()))
