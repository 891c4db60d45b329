"""mesh.yaml: the workloads of a local mesh, as `pylis up` reads it. Pure.

    workloads:
      orders:
        namespace: shop
        command: [python, orders.py, --port, "{port}"]
        ports: {http: 8080}
        upstreams: {db: {service: ledger.shop, port: 7000}}
        readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 3}

A port's name says its protocol, as in Istio: http, http2, grpc, or one of these and a dash; anything else is TCP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ca.errors import SpiffeIdError
from ca.spiffe_id import TrustDomain
from policies import codes
from policies.document import Document, Json
from policies.fields import Fields, is_label
from policies.mesh_settings import read_settings
from policies.problem import Problem

_PROTOCOLS: Final = {"http": "HTTP", "http2": "HTTP2", "grpc": "GRPC"}


@dataclass(frozen=True, slots=True)
class Upstream:
    name: str
    service: str
    port: int


@dataclass(frozen=True, slots=True)
class ReadinessProbe:
    """Of the port with this name; `path` "": whether it takes connections. Times are seconds."""

    port: str
    path: str
    period: int
    timeout: int
    failure_threshold: int


@dataclass(frozen=True, slots=True)
class LocalWorkload:
    """`ports`: name → the service's port number, in the order of the file. `readiness` None: always ready."""

    namespace: str
    name: str
    service_account: str
    command: tuple[str, ...]
    ports: Mapping[str, int]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    upstreams: tuple[Upstream, ...]
    restart: bool
    readiness: ReadinessProbe | None = None

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def host(self) -> str:
        return f"{self.name}.{self.namespace}"


@dataclass(frozen=True, slots=True)
class MeshFile:
    """`policies`: files and directories, relative to the mesh file. `mesh_config`: settings as `pylis server` reads them."""

    trust_domain: str
    policies: tuple[str, ...]
    workloads: tuple[LocalWorkload, ...]
    mesh_config: Mapping[str, Json] = field(default_factory=dict[str, Json])


def parse(document: Document) -> tuple[MeshFile | None, list[Problem]]:
    root = Fields.of(document)
    root.only("trustDomain", "policies", "workloads", "meshConfig")
    settings = root.child("meshConfig")
    read_settings(settings)  # what is wrong with it is told with the rest
    domain = root.text("trustDomain", "example.org")
    try:
        TrustDomain.parse(domain)
    except SpiffeIdError as error:
        root.add(codes.BAD_FORMAT, "trustDomain", str(error))
    written = root.child("workloads", required=True)
    workloads = tuple(_workload(written.child(name), name) for name in written.value)
    if not workloads:
        root.add(codes.EMPTY_LIST, "workloads", "names no workload")
    _check_upstreams(root, workloads)
    mesh = MeshFile(domain, root.texts("policies"), workloads, settings.value)
    return (None if root.failed else mesh), root.problems


def protocol(port_name: str) -> str:
    return _PROTOCOLS.get(port_name.partition("-")[0], "TCP")


def _workload(fields: Fields, name: str) -> LocalWorkload:
    fields.only(
        "namespace", "serviceAccount", "command", "ports", "env", "labels", "upstreams", "restart", "readinessProbe"
    )  # fmt: skip
    namespace = fields.text("namespace", "default")
    for label, text in (("workload", name), ("namespace", namespace)):
        if not is_label(text):
            fields.add(
                codes.BAD_NAME, "", f'"{text}" is no {label} name', "lower case letters, digits and - only"
            )
    command = fields.texts("command")
    if not command:
        fields.add(codes.EMPTY_LIST, "command", "says nothing to run", "for example [python, app.py]")
    ports = fields.child("ports")
    for port_name in ports.value:
        if not is_label(port_name):
            ports.add(codes.BAD_NAME, port_name, f'"{port_name}" is no port name')
    upstreams = fields.child("upstreams")
    return LocalWorkload(
        namespace,
        name,
        fields.text("serviceAccount", name),
        command,
        {p: ports.integer(p, low=1, high=65535) for p in ports.value},
        fields.text_map("env"),
        {"app": name, **fields.text_map("labels")},
        tuple(_upstream(upstreams.child(u), u) for u in upstreams.value),
        fields.boolean("restart", default=True),
        _readiness(fields, tuple(ports.value)),
    )


def _readiness(fields: Fields, ports: tuple[str, ...]) -> ReadinessProbe | None:
    """As in Kubernetes; the port by its name."""
    probe = fields.child("readinessProbe")
    probe.only("httpGet", "tcpSocket", "periodSeconds", "timeoutSeconds", "failureThreshold")
    http, tcp = probe.child("httpGet"), probe.child("tcpSocket")
    http.only("path", "port")
    tcp.only("port")
    path = http.text("path", "/")
    period, timeout, failures = (
        probe.integer(name, low=1, high=3600, default=default)
        for name, default in (("periodSeconds", 1), ("timeoutSeconds", 1), ("failureThreshold", 3))
    )
    if "readinessProbe" not in fields:
        return None
    if ("httpGet" in probe) == ("tcpSocket" in probe):
        probe.add(codes.MISSING, "", "asks nothing, or two things", "give one of httpGet and tcpSocket")
        return None
    asked = http if "httpGet" in probe else tcp
    port = asked.text("port", required=True)
    if port and port not in ports:
        asked.add(
            codes.NOT_FOUND, "port", f'"{port}" is no port of the workload', f"known here: {', '.join(ports)}"
        )
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        http.add(codes.BAD_FORMAT, "path", f'"{path}" is no path')
    return ReadinessProbe(port, path if "httpGet" in probe else "", period, timeout, failures)


def _upstream(fields: Fields, name: str) -> Upstream:
    fields.only("service", "port")
    service = fields.text("service", required=True)
    return Upstream(name, service, fields.integer("port", low=1, high=65535, required=True))


def _check_upstreams(root: Fields, workloads: tuple[LocalWorkload, ...]) -> None:
    served = {(w.host, port) for w in workloads for port in w.ports.values()}
    for workload in workloads:
        for upstream in workload.upstreams:
            if upstream.service and upstream.port and (upstream.service, upstream.port) not in served:
                path = f"workloads.{workload.name}.upstreams.{upstream.name}"
                known = ", ".join(sorted(f"{host}:{port}" for host, port in served))
                text = f"{upstream.service}:{upstream.port} is served by no workload"
                root.add(codes.NOT_FOUND, path, text, f"known here: {known}")
