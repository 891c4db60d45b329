"""Sidecar: narrows what sidecars are told of. It never widens: policy and declared upstreams are the most there is.

Which one holds for a workload: the oldest of its namespace that selects it by labels, else the oldest of its
namespace without a selector, else the oldest of the root namespace without one.
Source: istio.io Sidecar reference
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from controlplane.resources.destination_rule import HOST
from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, is_label, read_metadata
from policies.problem import Problem
from policies.selector import selects

_NOBODY: Final = "~"
_REFUSED: Final = {
    "ingress": "a WorkloadEntry says where its sidecar listens",
    "inboundConnectionPool": "limits are set where a service is called, by DestinationRule",
}
_OF_LISTENER: Final = ("port", "bind", "captureMode")


class OutboundMode(StrEnum):
    ALLOW_ANY = "ALLOW_ANY"
    REGISTRY_ONLY = "REGISTRY_ONLY"


@dataclass(frozen=True, slots=True)
class Egress:
    """`namespace`: a name, `.` the workload's own, `*` any, `~` none; `host`: exact, `*.suffix` or `*`."""

    namespace: str
    host: str


@dataclass(frozen=True, slots=True)
class Sidecar:
    """`egress` None: all that policy and declarations let through. `closed`: what is no service is not passed on."""

    namespace: str
    name: str
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    egress: tuple[Egress, ...] | None = None
    closed: bool = False


def sidecar_of(
    found: Iterable[Sidecar], namespace: str, labels: Mapping[str, str], root: str
) -> Sidecar | None:
    """`found`: oldest first; those of other namespaces are passed over."""
    known = list(found)
    own = [s for s in known if s.namespace == namespace and selects(s.selector, labels)]
    rest = [s for s in (*own, *(s for s in known if s.namespace == root)) if not s.selector]
    return next((s for s in own if s.selector), next(iter(rest), None))


def admits(
    egress: tuple[Egress, ...] | None, caller_namespace: str, service_namespace: str, host: str
) -> bool:
    """May a sidecar be told of this host of a service?"""
    if egress is None:
        return True
    return any(
        _is_in(one, caller_namespace, service_namespace) and _is_host(one.host, host) for one in egress
    )


def _is_in(one: Egress, caller: str, service: str) -> bool:
    return service == (caller if one.namespace == "." else one.namespace) or one.namespace == "*"


def _is_host(pattern: str, host: str) -> bool:
    return pattern == host or (pattern.startswith("*") and host.endswith(pattern[1:]))


def parse(document: Document) -> tuple[Sidecar | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    spec = root.child("spec", required=True)
    spec.only("workloadSelector", "egress", "outboundTrafficPolicy", *_REFUSED)
    for name, why in _REFUSED.items():
        if name in spec:
            spec.add(codes.NOT_BUILT, name, f"not supported: {why}", "remove it")
    selector = spec.child("workloadSelector")
    selector.only("labels")
    labels = selector.text_map("labels")
    if "workloadSelector" in spec and not labels:
        selector.add(
            codes.MISSING, "labels", "is required", "or remove workloadSelector: the whole namespace"
        )
    egress = tuple(one for item in spec.children("egress") for one in _egress(item))
    if spec.value.get("egress") == []:
        hint = 'hosts: ["~/*"] for no service; remove the field for all'
        spec.add(codes.EMPTY_LIST, "egress", "has no entry", hint)
    outbound = spec.child("outboundTrafficPolicy")
    outbound.only("mode", "egressProxy")
    if "egressProxy" in outbound:
        outbound.add(
            codes.NOT_BUILT, "egressProxy", "not supported: there are no egress gateways", "remove it"
        )
    mode = outbound.choice("mode", OutboundMode.ALLOW_ANY)
    if "mode" in outbound and mode is OutboundMode.ALLOW_ANY:
        text = "opens nothing: a workload that may leave the mesh says so itself (pylis.io/outbound)"
        outbound.warn(codes.NARROWS_ONLY, "mode", text)
    found = Sidecar(
        metadata.namespace,
        metadata.name,
        labels,
        egress if "egress" in spec else None,
        mode is OutboundMode.REGISTRY_ONLY,
    )
    return (None if root.failed else found), root.problems


def _egress(item: Fields) -> list[Egress]:
    item.only("hosts", *_OF_LISTENER)
    for name in _OF_LISTENER:
        if name in item:
            why = "not supported: a WorkloadEntry says where its sidecar listens"
            item.add(codes.NOT_BUILT, name, why, "remove it")
    hosts = item.texts("hosts")
    if not hosts:
        item.add(codes.EMPTY_LIST, "hosts", "needs at least one NAMESPACE/HOST")
    found: list[Egress] = []
    for index, text in enumerate(hosts):
        namespace, slash, host = text.partition("/")
        known = namespace in (".", "*", _NOBODY) or is_label(namespace)
        if not slash or not known or not HOST.fullmatch(host):
            hint = "write NAMESPACE/HOST: ./*, */orders.shop, shop/*.shop or ~/*"
            item.add(codes.BAD_FORMAT, f"hosts[{index}]", f'"{text}" names no hosts', hint)
        else:
            found.append(Egress(namespace, host))
    return found
