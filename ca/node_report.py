"""What an agent reports of the containers it found: a description, not a wish; the server decides what becomes of it.

A report is complete: what is not in it is not there any more.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from ca.errors import NodeProtocolError
from ca.json_fields import read_flag, read_list, read_object, read_text, read_texts

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
    f = read_object(value)
    addresses, networks = read_texts(f, "addresses", empty=False), read_texts(f, "networks", empty=False)
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
        read_text(f, "namespace"), read_text(f, "serviceAccount"), read_text(f, "name"), read_texts(f, "hosts", empty=False), _ports(f),
        _labels(f), read_texts(f, "selectors", empty=False), addresses, networks,
        read_flag(f, "ipv6"), read_flag(f, "passthrough"), read_flag(f, "observe"),
    )  # fmt: skip


def _ports(fields: dict[str, Any]) -> tuple[FoundPort, ...]:
    found: list[FoundPort] = []
    for item in read_list(fields, "ports"):
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
    labels = read_object(fields.get("labels"))
    if not all(isinstance(value, str) for value in labels.values()):
        raise NodeProtocolError("labels is no object of texts")
    return labels
