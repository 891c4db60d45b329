"""What an agent reports of the containers it found: a description, not a wish; the server decides what becomes of it.

A report is complete: what is not in it is not there any more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from ca.errors import NodeProtocolError

MAX_WORKLOADS: Final = 1000
PROTOCOLS: Final = ("HTTP", "HTTP2", "GRPC", "TCP")


@dataclass(frozen=True, slots=True)
class FoundPort:
    """`protocol` is one of PROTOCOLS."""

    number: int
    protocol: str


@dataclass(frozen=True, slots=True)
class FoundWorkload:
    """One container. `name` is unique on its node; `selectors` are what the engine says of it.

    `addresses`: its first is the one it is known by; `networks` (CIDR): those it is in. `observe`: nothing is
    refused yet. `passthrough`: what is meant for outside the mesh's networks may go there.
    """

    namespace: str
    service_account: str
    name: str
    hosts: tuple[str, ...]
    ports: tuple[FoundPort, ...]
    labels: Mapping[str, str]
    selectors: tuple[str, ...]
    addresses: tuple[str, ...]
    networks: tuple[str, ...]
    ipv6: bool = False
    passthrough: bool = False
    observe: bool = False


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A workload the server does not register, and why."""

    workload: str
    reason: str


def to_json(found: FoundWorkload) -> dict[str, Any]:
    return {
        "namespace": found.namespace, "serviceAccount": found.service_account, "name": found.name,
        "hosts": list(found.hosts), "ports": [[p.number, p.protocol] for p in found.ports],
        "labels": dict(found.labels), "selectors": list(found.selectors), "addresses": list(found.addresses),
        "networks": list(found.networks), "ipv6": found.ipv6, "passthrough": found.passthrough,
        "observe": found.observe,
    }  # fmt: skip


def from_json(value: Any) -> FoundWorkload:
    """Raises: NodeProtocolError."""
    f = _object(value)
    addresses, networks = _texts(f, "addresses"), _texts(f, "networks")
    try:
        for text in addresses:
            ipaddress.ip_address(text)
        for text in networks:
            ipaddress.ip_network(text)
    except ValueError as error:
        raise NodeProtocolError(str(error)) from error
    if not addresses or not networks:
        raise NodeProtocolError("a workload without an address or a network")
    return FoundWorkload(
        _text(f, "namespace"), _text(f, "serviceAccount"), _text(f, "name"), _texts(f, "hosts"), _ports(f),
        _labels(f), _texts(f, "selectors"), addresses, networks,
        _flag(f, "ipv6"), _flag(f, "passthrough"), _flag(f, "observe"),
    )  # fmt: skip


def _ports(fields: dict[str, Any]) -> tuple[FoundPort, ...]:
    found: list[FoundPort] = []
    for item in _list(fields, "ports"):
        pair = cast("list[Any]", item) if isinstance(item, list) else []
        if (
            len(pair) != 2
            or not isinstance(pair[0], int)
            or not 0 < pair[0] < 65536
            or pair[1] not in PROTOCOLS
        ):
            raise NodeProtocolError("ports is no list of numbers and protocols")
        found.append(FoundPort(pair[0], pair[1]))
    return tuple(found)


def _labels(fields: dict[str, Any]) -> dict[str, str]:
    labels = _object(fields.get("labels"))
    if not all(isinstance(value, str) for value in labels.values()):
        raise NodeProtocolError("labels is no object of texts")
    return labels


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NodeProtocolError("not an object")
    return cast("dict[str, Any]", value)


def _list(fields: dict[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list):
        raise NodeProtocolError(f"{name} is no list")
    return cast("list[Any]", value)


def _texts(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    items = _list(fields, name)
    if not all(isinstance(item, str) and item for item in items):
        raise NodeProtocolError(f"{name} is no list of texts")
    return tuple(cast("list[str]", items))


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise NodeProtocolError(f"{name} is no text")
    return value


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise NodeProtocolError(f"{name} is neither true nor false")
    return value
