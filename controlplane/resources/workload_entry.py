"""WorkloadEntry: one running workload, its address, its identity, and how its sidecar is laid out.

Without interception a sidecar cannot take the application's port, so the annotation `pylis.io/sidecar` says where
it listens and where the application is; `ports` then is where peers find the sidecar. `pylis.io/watched-by` names
an agent that says whether it is ready.
Source: istio.io WorkloadEntry reference; docs/reference/workload-entry.md
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ca.errors import SpiffeIdError
from ca.spiffe_id import check_path
from policies import codes
from policies.document import Document, Json
from policies.fields import TOP_LEVEL, Fields, read_metadata
from policies.problem import Problem
from xds.plan import Locality

SIDECAR: Final = "pylis.io/sidecar"
WATCHED_BY: Final = "pylis.io/watched-by"
_WHERE: Final = f'metadata.annotations["{SIDECAR}"]'


@dataclass(frozen=True, slots=True)
class UpstreamLayout:
    """`listen` is a loopback `host:port` that leads to `port` of `service`."""

    name: str
    service: str
    port: int
    listen: str


@dataclass(frozen=True, slots=True)
class InterceptionLayout:
    """All TCP of the workload is redirected to the sidecar, on these two ports.

    `addresses`: where else than at its `address` the workload is; `networks` (CIDR): those it is in.
    """

    inbound_port: int
    outbound_port: int
    ipv6: bool
    addresses: tuple[str, ...]
    networks: tuple[str, ...]
    passthrough: bool


@dataclass(frozen=True, slots=True)
class SidecarLayout:
    """`inbound`: port name → the application's `host:port` or `unix:///path`; `http_proxy` "" for none.

    `proxyless`: there is no sidecar; the application is a gRPC process with xDS of its own, where its ports say.
    """

    inbound: Mapping[str, str]
    http_proxy: str = ""
    upstreams: tuple[UpstreamLayout, ...] = ()
    interception: InterceptionLayout | None = None
    proxyless: bool = False


@dataclass(frozen=True, slots=True)
class WorkloadEntry:
    """`watched_by`: the agent without whose word it is no endpoint; "" for none."""

    namespace: str
    name: str
    address: str
    service_account: str
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    sidecar: SidecarLayout | None = None
    locality: Locality = Locality()
    watched_by: str = ""


def parse(document: Document) -> tuple[WorkloadEntry | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    spec = root.child("spec", required=True)
    spec.only("address", "ports", "labels", "serviceAccount", "locality")
    address = spec.text("address", required=True)
    if address and not _is_address(address):
        spec.add(codes.BAD_FORMAT, "address", f'"{address}" is no IP address')
    ports = spec.child("ports")
    numbers = {name: ports.integer(name, low=1, high=65535) for name in ports.value}
    account = spec.text("serviceAccount", "default")
    if _wrong_account(account):
        spec.add(codes.BAD_FORMAT, "serviceAccount", f'"{account}" cannot stand in a SPIFFE ID')
    entry = WorkloadEntry(
        metadata.namespace,
        metadata.name,
        address,
        account,
        numbers,
        spec.text_map("labels"),
        _sidecar(root, metadata.annotations.get(SIDECAR)),
        _locality(spec),
        metadata.annotations.get(WATCHED_BY, ""),
    )
    return (None if root.failed else entry), root.problems


def _locality(spec: Fields) -> Locality:
    text = spec.text("locality")
    parts = text.split("/")
    if text and (len(parts) > 3 or not all(parts)):
        hint = "write REGION, REGION/ZONE or REGION/ZONE/SUBZONE"
        spec.add(codes.BAD_FORMAT, "locality", f'"{text}" is no locality', hint)
        return Locality()
    return Locality(*parts)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _wrong_account(text: str) -> bool:
    try:
        check_path(text)
    except SpiffeIdError:
        return True
    return "/" in text


def _sidecar(root: Fields, text: str | None) -> SidecarLayout | None:
    if text is None:
        return None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        root.add(codes.BAD_FORMAT, _WHERE, "is no JSON object")
        return None
    layout = Fields(root.document, _WHERE, cast("dict[str, Json]", value), root.problems)
    layout.only("inbound", "httpProxy", "upstreams", "interception", "proxyless")
    proxyless = layout.boolean("proxyless")
    for name in ("inbound", "httpProxy", "upstreams", "interception"):
        if proxyless and name in layout:
            layout.add(
                codes.UNKNOWN_FIELD, name, "belongs to a sidecar, and this workload has none", "remove it"
            )
    inbound = layout.text_map("inbound")
    for name, target in inbound.items():
        if not target.startswith("unix:///"):
            _check(layout, f"inbound.{name}", target)
    proxy = layout.text("httpProxy")
    if proxy:
        _check(layout, "httpProxy", proxy)
    upstreams = tuple(_upstream(item) for item in layout.children("upstreams"))
    taken = layout.child("interception")
    return SidecarLayout(inbound, proxy, upstreams, _interception(taken) if taken.value else None, proxyless)


def _interception(item: Fields) -> InterceptionLayout:
    item.only("inboundPort", "outboundPort", "ipv6", "addresses", "networks", "passthrough")
    addresses, networks = item.texts("addresses"), item.texts("networks")
    for index, text in enumerate(addresses):
        if not _is_address(text):
            item.add(codes.BAD_FORMAT, f"addresses[{index}]", f'"{text}" is no IP address')
    for index, text in enumerate(networks):
        if not _is_network(text):
            item.add(codes.BAD_FORMAT, f"networks[{index}]", f'"{text}" is no network, like 172.18.0.0/16')
    if not networks:
        item.add(codes.EMPTY_LIST, "networks", "names no network", "for example [172.18.0.0/16]")
    return InterceptionLayout(
        item.integer("inboundPort", low=1, high=65535, required=True),
        item.integer("outboundPort", low=1, high=65535, required=True),
        item.boolean("ipv6"),
        addresses,
        networks,
        item.boolean("passthrough"),
    )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _upstream(item: Fields) -> UpstreamLayout:
    item.only("name", "service", "port", "listen")
    listen = item.text("listen", required=True)
    _check(item, "listen", listen)
    return UpstreamLayout(
        item.text("name", required=True),
        item.text("service", required=True),
        item.integer("port", low=1, high=65535, required=True),
        listen,
    )


def _check(fields: Fields, name: str, text: str) -> None:
    """The application's side of a sidecar is on loopback: nothing else may reach it in the clear."""
    host, _, port = text.rpartition(":")
    loopback = _is_address(host.strip("[]")) and ipaddress.ip_address(host.strip("[]")).is_loopback
    if not loopback or not port.isdigit() or not 0 < int(port) < 65536:
        fields.add(
            codes.BAD_FORMAT, name, f'"{text}" is no loopback address and port', "write 127.0.0.1:PORT"
        )
