"""ServiceEntry: a name and ports, and the workloads behind them.

Served: internal services whose workloads a selector finds. Hosts outside the mesh are refused until egress exists.
Source: istio.io ServiceEntry reference
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, is_label, read_metadata
from policies.problem import Problem

_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_KNOWN: Final = ("hosts", "ports", "resolution", "location", "workloadSelector")


class PortProtocol(StrEnum):
    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    TCP = "TCP"


class Resolution(StrEnum):
    STATIC = "STATIC"


class Location(StrEnum):
    MESH_INTERNAL = "MESH_INTERNAL"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """`target_port` 0: the same as `number`."""

    number: int
    name: str
    protocol: PortProtocol
    target_port: int = 0


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    namespace: str
    name: str
    hosts: tuple[str, ...]
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str] = field(default_factory=dict[str, str])


def parse(document: Document) -> tuple[ServiceEntry | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    spec = root.child("spec", required=True)
    spec.only(*_KNOWN)
    spec.choice("resolution", Resolution.STATIC)
    spec.choice("location", Location.MESH_INTERNAL)
    hosts = spec.texts("hosts")
    if not hosts:
        spec.add(codes.EMPTY_LIST, "hosts", "needs at least one host")
    for index, host in enumerate(hosts):
        if len(host) > 253 or not _HOST.fullmatch(host):
            text = f'"{host}" is no lower-case DNS name without wildcards'
            spec.add(codes.BAD_FORMAT, f"hosts[{index}]", text)
    selector = spec.child("workloadSelector")
    selector.only("labels")
    labels = selector.text_map("labels")
    if not labels:
        selector.add(
            codes.MISSING, "labels", "is required: the workloads behind the service are found by labels"
        )
    entry = ServiceEntry(metadata.namespace, metadata.name, hosts, _ports(spec), labels)
    return (None if root.failed else entry), root.problems


def _ports(spec: Fields) -> tuple[ServicePort, ...]:
    result: list[ServicePort] = []
    for item in spec.children("ports"):
        item.only("number", "name", "protocol", "targetPort")
        name = item.text("name", required=True)
        if name and not is_label(name):
            item.add(
                codes.BAD_NAME, "name", f'"{name}" is no port name', "use lower-case letters, digits and -"
            )
        number = item.integer("number", low=1, high=65535, required=True)
        if any(number == other.number for other in result):
            item.add(codes.DEFINED_TWICE, "number", f"{number} is already the number of another port")
        if any(name == other.name for other in result):
            item.add(codes.DEFINED_TWICE, "name", f'"{name}" is already the name of another port')
        target = item.integer("targetPort", low=1, high=65535)
        result.append(ServicePort(number, name, item.choice("protocol", PortProtocol.HTTP), target))
    if not result:
        spec.add(codes.EMPTY_LIST, "ports", "needs at least one port")
    return tuple(result)
