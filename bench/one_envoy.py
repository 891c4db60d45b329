"""A bench for one real Envoy: our CA, our xDS port, and its secrets on a Unix socket, all in this process.

The agent is not part of it: what is under test is what the compiler and the xDS server do to Envoy.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc

from ca import keys
from ca.issue import X509Svid
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain
from xds import names, schema
from xds.compile import Work
from xds.errors import NotAuthorizedError
from xds.ledger import Ledger
from xds.serve import ServerIdentity, XdsServer, methods
from xds.snapshot import Resource, Snapshot
from xds.stream import DeltaStream

DELTA_SECRETS = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
ENVOY = Path(sys.executable).with_name("envoy")


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last is found."""
    with ExitStack() as held:
        found: list[int] = []
        for _ in range(count):
            one = held.enter_context(socket.socket())
            one.bind(("0.0.0.0", 0))
            found.append(one.getsockname()[1])
        return found


@dataclass
class Identity:
    """A key with its SVID, for an Envoy, a client or an intruder."""

    svid: X509Svid
    key_pem: bytes
    bundle_pem: str

    def ssl_context(self, directory: Path, *, server: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.bundle_pem)
        path = Path(tempfile.mkstemp(dir=directory)[1])
        path.write_bytes(self.svid.chain_pem.encode() + self.key_pem)
        context.load_cert_chain(path)
        return context


def identity(
    authority: CertificateAuthority, spiffe_id: str, ttl: timedelta = timedelta(hours=1)
) -> Identity:
    key = keys.new_key()
    svid = authority.issue_id(SpiffeId.parse(spiffe_id), keys.csr_for(key), ttl, ())
    return Identity(svid, keys.key_pem(key), authority.bundle.to_pem())


def new_authority(trust_domain: str = "example.org") -> CertificateAuthority:
    return CertificateAuthority.open(TrustDomain.parse(trust_domain), MemoryKeystore())


class SecretServer:
    """SDS on a Unix socket for one identity."""

    def __init__(self, path: Path, who: Identity) -> None:
        self.path = path
        self._who = who
        self._server: Any = None

    async def start(self) -> None:
        self._server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(self._stream)
        self._server.add_generic_rpc_handlers((methods({DELTA_SECRETS: handler}),))
        self._server.add_insecure_port(f"unix:{self.path}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    def _snapshot(self) -> Snapshot:
        secret = "envoy.extensions.transport_sockets.tls.v3.Secret"
        certificate = {
            "certificate_chain": {"inline_string": self._who.svid.chain_pem},
            "private_key": {"inline_bytes": self._who.key_pem},
        }
        roots = {"trusted_ca": {"inline_string": self._who.bundle_pem}}
        svid = schema.new(secret, name=names.SVID_SECRET, tls_certificate=certificate)
        bundle = schema.new(secret, name=names.BUNDLE_SECRET, validation_context=roots)
        return Snapshot.of([Resource.of(names.SVID_SECRET, svid), Resource.of(names.BUNDLE_SECRET, bundle)])

    async def _stream(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        stream = DeltaStream()
        stream.offer(self._snapshot())
        async for body in requests:
            stream.receive(schema.decode("envoy.service.discovery.v3.DeltaDiscoveryRequest", body))
            for response in stream.pending():
                yield response.encode()


@dataclass
class Source:
    """Snapshots by node; `identities` says who may claim a node."""

    identities: dict[str, str] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    revision: int = 1

    def admit(self, peer: SpiffeId, node_id: str) -> None:
        if self.identities.get(node_id) != str(peer):
            raise NotAuthorizedError(node_id)

    def is_proxyless(self, node_id: str) -> bool:
        return False

    def heavy(self, node_id: str) -> list[Work]:
        return []

    def snapshot(self, node_id: str) -> tuple[int, Snapshot]:
        return self.revision, self.snapshots.get(node_id, Snapshot())


@asynccontextmanager
async def xds_server(
    authority: CertificateAuthority, source: Source, ledger: Ledger
) -> AsyncIterator[XdsServer]:
    key = keys.new_key()
    svid = authority.issue_server(keys.csr_for(key), (), ())
    roots = authority.bundle.to_pem().encode()
    server = XdsServer(
        "127.0.0.1:0",
        lambda: ServerIdentity(keys.key_pem(key), svid.chain_pem.encode(), roots),
        source,
        ledger,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0.1)


def bootstrap(node_id: str, xds_port: int, secrets: Path, admin: Path, trust_domain: str) -> dict[str, Any]:
    tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }

    def sds(name: str) -> dict[str, Any]:
        services = [{"envoy_grpc": {"cluster_name": names.AGENT_CLUSTER}}]
        api = {"api_type": "DELTA_GRPC", "transport_api_version": "V3", "grpc_services": services}
        return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": api}}

    def cluster(name: str, address: dict[str, Any], **more: Any) -> dict[str, Any]:
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        return {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "1s",
            "typed_extension_protocol_options": http2,
            "load_assignment": {"cluster_name": name, "endpoints": endpoints},
            **more,
        }

    server = {"san_type": "URI", "matcher": {"exact": f"spiffe://{trust_domain}/pylis/server"}}
    context = {
        "@type": tls,
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "tls_certificate_sds_secret_configs": [sds(names.SVID_SECRET)],
            "combined_validation_context": {
                "default_validation_context": {"match_typed_subject_alt_names": [server]},
                "validation_context_sds_secret_config": sds(names.BUNDLE_SECRET),
            },
        },
    }
    return {
        "node": {"id": node_id, "cluster": node_id},
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": names.XDS_CLUSTER}}],
            },
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {
            "clusters": [
                cluster(names.AGENT_CLUSTER, {"pipe": {"path": str(secrets)}}),
                cluster(
                    names.XDS_CLUSTER,
                    {"socket_address": {"address": "127.0.0.1", "port_value": xds_port}},
                    transport_socket={"name": "envoy.transport_sockets.tls", "typed_config": context},
                ),
            ]
        },
    }


@asynccontextmanager
async def envoy(
    directory: Path, node_id: str, who: Identity, xds_port: int, trust_domain: str = "example.org"
) -> AsyncIterator[Path]:
    """Runs an Envoy with its secrets; yields the file with its standard output (the access log)."""
    short = Path(tempfile.mkdtemp(prefix="pb"))  # a Unix socket's path has 107 bytes
    secrets = SecretServer(short / "sds", who)
    await secrets.start()
    config = bootstrap(node_id, xds_port, short / "sds", short / "admin", trust_domain)
    stem = node_id.replace("/", "-")
    (directory / f"{stem}.json").write_text(json.dumps(config))
    out = directory / f"{stem}.out"
    with out.open("wb") as stdout, (directory / f"{stem}.err").open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            str(ENVOY), "-c", str(directory / f"{stem}.json"), "--disable-hot-restart", "--concurrency", "1",
            "-l", "warning", "--file-flush-interval-msec", "100", stdout=stdout, stderr=stderr,
        )  # fmt: skip
        try:
            yield out
        finally:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)
            await process.wait()
            await secrets.stop()


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Waits until `condition()` holds; fails with a timeout otherwise."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is a log or another process
            await asyncio.sleep(0.02)
