"""PeerAuthentication (security.istio.io/v1): whether a port takes plaintext.

A mesh without any is STRICT here, on purpose (Istio: PERMISSIVE). Scopes: mesh (root namespace, no selector),
namespace (no selector), workload (selector, not in the root namespace). In each scope the oldest object wins,
and UNSET inherits from the next wider one. Source: docs/reference/policy.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from policies import codes
from policies.authorization_policy import read_dry_run
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, read_metadata
from policies.problem import Origin, Problem
from policies.selector import read_selector, selects
from policies.values import read_port
from policies.workload import MeshSettings, MtlsMode, Workload


class WrittenMode(StrEnum):
    """`mtls.mode` as written; UNSET inherits."""

    UNSET = "UNSET"
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """`mode` and the modes of `ports` are None where they inherit."""

    namespace: str
    name: str
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    mode: MtlsMode | None = None
    ports: Mapping[int, MtlsMode | None] = field(default_factory=dict[int, MtlsMode | None])
    origin: Origin = Origin()

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class EffectiveMode:
    """The mode of a port and who said so (None: the default)."""

    mode: MtlsMode
    decided_by: PeerAuthentication | None = None


def parse(document: Document) -> tuple[PeerAuthentication | None, list[Problem]]:
    """The object and its warnings, or None and every problem."""
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    read_dry_run(root, metadata.annotations, allowed=False)
    spec = root.child("spec")
    spec.only("selector", "mtls", "portLevelMtls")
    selector = read_selector(spec)
    mode = _read_mode(spec.child("mtls"))
    ports = _read_ports(spec)
    if "portLevelMtls" in spec and not selector:
        spec.add(codes.PORTS_WITHOUT_SELECTOR, "portLevelMtls", "needs a selector with matchLabels")
    found = PeerAuthentication(metadata.namespace, metadata.name, selector, mode, ports, document.origin())
    return (None if root.failed else found), root.problems


def effective_mode(
    peer_authentications: Iterable[PeerAuthentication],
    workload: Workload,
    port: int,
    settings: MeshSettings,
    *,
    default: MtlsMode = MtlsMode.STRICT,
) -> MtlsMode:
    """The mode of a workload's own port; `peer_authentications` in the order of their creation."""
    return find_mode(peer_authentications, workload, port, settings, default=default).mode


def find_mode(
    peer_authentications: Iterable[PeerAuthentication],
    workload: Workload,
    port: int,
    settings: MeshSettings,
    *,
    default: MtlsMode = MtlsMode.STRICT,
) -> EffectiveMode:
    """`effective_mode` with the object that decided it."""
    root = settings.root_namespace
    mesh = namespace = own = None
    for found in peer_authentications:
        if not found.selector and found.namespace == root:
            mesh = mesh or found
        elif not found.selector and found.namespace == workload.namespace:
            namespace = namespace or found
        elif found.namespace == workload.namespace != root and selects(found.selector, workload.labels):
            own = own or found
    if own is not None:
        port_mode = own.ports.get(port)
        if port_mode is not None:
            return EffectiveMode(port_mode, own)
    for scope in (own, namespace, mesh):
        if scope is not None and scope.mode is not None:
            return EffectiveMode(scope.mode, scope)
    return EffectiveMode(default)


def _read_mode(mtls: Fields) -> MtlsMode | None:
    mtls.only("mode")
    written = mtls.choice("mode", WrittenMode.UNSET)
    return None if written is WrittenMode.UNSET else MtlsMode(written)


def _read_ports(spec: Fields) -> dict[int, MtlsMode | None]:
    written = spec.child("portLevelMtls")
    if "portLevelMtls" in spec and not written.value:
        spec.add(codes.EMPTY_LIST, "portLevelMtls", "names no port", "remove it or name a port")
    ports = dict[int, MtlsMode | None]()
    for text in written.value:
        port = read_port(text)
        if not port:
            written.add(codes.BAD_PORT, text, f'"{text}" is no port', "write the workload's port, 1 to 65535")
        mode = _read_mode(written.child(text))
        if port:
            ports[port] = mode
    return ports
