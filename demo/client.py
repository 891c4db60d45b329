"""Sends the demo's requests: through a sidecar, around one, or as an attacker would. Standard library and grpc.

Every function returns an Outcome: what the caller saw. The rule that decided comes from the other sidecar's log.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
# grpc and http.client come without complete types

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`actual`: allow, deny or refused; `status` 0 where there is none; `request_id` finds the log line."""

    actual: str
    status: int = 0
    detail: str = ""
    request_id: str = ""
    local_port: int = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files as `pylis svid mint` writes them."""

    directory: Path

    def context(self, roots: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(roots or self.directory / "bundle.pem"))
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.directory / "svid.pem", self.directory / "key.pem")
        return context


@dataclass(slots=True)
class Http:
    """One keep-alive connection. `proxy`: absolute requests, as through HTTP_PROXY."""

    address: str
    host: str
    proxy: bool = False
    context: ssl.SSLContext | None = None
    _connection: Any = field(default=None, repr=False)

    def send(self, method: str, path: str, headers: dict[str, str] | None = None) -> Outcome:
        request_id = str(uuid.uuid4())
        target = f"http://{self.host}{path}" if self.proxy else path
        try:
            connection = self._connect()
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": self.host, "x-request-id": request_id, **(headers or {})}.items():
                connection.putheader(name, value)
            if method in ("POST", "PUT"):
                connection.putheader("Content-Length", "0")
            connection.endheaders()
            port = connection.sock.getsockname()[1] if connection.sock else 0
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Outcome("refused", 0, str(error), request_id)
        actual = (
            "allow"
            if response.status < 400
            else "deny"
            if response.status == 403
            else f"status {response.status}"
        )
        return Outcome(actual, response.status, body.strip(), request_id, port)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Any:
        if self._connection is None:
            host, _, port = self.address.rpartition(":")
            self._connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
            self._connection.connect()
            if self.context is not None:
                self._connection.sock = self.context.wrap_socket(self._connection.sock)
        return self._connection


def call_grpc(address: str, method: str) -> Outcome:
    request_id = str(uuid.uuid4())
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(method)
        try:
            answer = call(b"1 kg", timeout=TIMEOUT, metadata=(("x-request-id", request_id),))
        except grpc.RpcError as error:
            status = 403 if error.code() is grpc.StatusCode.PERMISSION_DENIED else 0
            return Outcome("deny" if status else "refused", status, error.code().name, request_id)
    return Outcome("allow", 200, answer.decode(), request_id)


def talk_tcp(address: str) -> Outcome:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), TIMEOUT) as connection:
        connection.sendall(b"10 EUR\n")
        answer = connection.recv(100)
        if answer:
            return Outcome("allow", 0, answer.decode().strip())
    return Outcome("deny", 0, "connection closed")


def ask_xds(address: str, who: Credentials, node_id: str) -> Outcome:
    """Asks for another workload's configuration with one's own certificate."""
    read = lambda name: (who.directory / name).read_bytes()  # noqa: E731 - three files
    credentials = grpc.ssl_channel_credentials(read("bundle.pem"), read("key.pem"), read("svid.pem"))
    options = [("grpc.ssl_target_name_override", "server.pylis.internal")]
    with grpc.secure_channel(address, credentials, options) as channel:
        call = channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        )
        try:
            answer = next(call(iter([_discovery_request(node_id)]), timeout=TIMEOUT))
        except grpc.RpcError as error:
            return Outcome("refused", 0, error.code().name)
    return Outcome("allow", 0, f"{len(answer)} bytes of somebody else's configuration")


def _discovery_request(node_id: str) -> bytes:
    """A DeltaDiscoveryRequest by hand: field 1 node {1: id}, field 2 type_url."""
    type_url = b"type.googleapis.com/envoy.config.cluster.v3.Cluster"
    node = b"\x0a" + bytes([len(node_id)]) + node_id.encode()
    return b"\x0a" + bytes([len(node)]) + node + b"\x12" + bytes([len(type_url)]) + type_url


def log_line(path: Path, request_id: str) -> dict[str, Any] | None:
    """The other sidecar's line for a request."""
    with contextlib.suppress(OSError):
        for line in reversed(path.read_text(errors="replace").splitlines()):
            if request_id in line:
                return json.loads(line)
    return None


def log_lines(path: Path) -> list[dict[str, Any]]:
    """All of a sidecar's lines so far, oldest first."""
    lines: list[dict[str, Any]] = []
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):  # its end is still being written
                lines.append(json.loads(line))
    return lines
