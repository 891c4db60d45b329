"""Mesh → ProxyPlan: what one sidecar needs, and no more.

Least privilege: a sidecar is told only of services that policy lets its identity call, or that it declares
as upstreams. A Planner belongs to one Mesh and remembers the programs it made, so that planning all proxies
lowers each workload's policies once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ca.spiffe_id import SpiffeId, TrustDomain, workload_id
from controlplane.mesh.mesh import Mesh, workload
from controlplane.resources.service_entry import ServiceEntry, ServicePort
from controlplane.resources.workload_entry import WorkloadEntry
from policies.lower import lower
from policies.peer_authentication import effective_mode
from policies.program import DecisionProgram, Protocol, Revoked
from policies.scope import may_ever_allow
from policies.select import select
from policies.workload import MtlsMode
from xds.plan import (
    AccessLog,
    Address,
    AppProtocol,
    Destination,
    InboundPort,
    PipeAddress,
    ProxyPlan,
    SocketAddress,
    Upstream,
)


class Planner:
    """Plans proxies of one Mesh; make a new one when the mesh changes."""

    def __init__(self, mesh: Mesh, access_log: AccessLog = AccessLog.DENIED) -> None:
        self.mesh = mesh
        self._access_log = access_log
        self._trust_domain = TrustDomain.parse(mesh.settings.trust_domain)
        self._entries = {f"{entry.namespace}/{entry.name}": entry for entry in mesh.entries}
        self._programs: dict[tuple[str, int, Protocol], DecisionProgram] = {}
        self._behind = [(service, mesh.selected_by(service)) for service in mesh.services]
        cut_off = mesh.revocations
        self._revoked = Revoked(
            frozenset(identity.removeprefix("spiffe://") for identity in cut_off.identities), cut_off.serials
        )

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def identity(self, node_id: str) -> SpiffeId | None:
        """The one identity that may claim `node_id`; None when no such workload is registered."""
        entry = self._entries.get(node_id)
        return None if entry is None else self._identity(entry)

    def plan(self, node_id: str) -> ProxyPlan | None:
        """None when the node is not registered or has no sidecar."""
        entry = self._entries.get(node_id)
        if entry is None or entry.sidecar is None:
            return None
        settings = self.mesh.settings
        upstreams = tuple(
            Upstream(u.name, _socket(u.listen), u.service, u.port) for u in entry.sidecar.upstreams
        )
        return ProxyPlan(
            node_id=node_id,
            trust_domains=(settings.trust_domain, *settings.trust_domain_aliases),
            path_normalization=settings.path_normalization,
            inbound=tuple(self._inbound(entry)),
            http_proxy=_socket(entry.sidecar.http_proxy) if entry.sidecar.http_proxy else None,
            destinations=tuple(self._destinations(entry, {(u.host, u.port) for u in upstreams})),
            upstreams=upstreams,
            access_log=self._access_log,
        )

    def _inbound(self, entry: WorkloadEntry) -> Iterator[InboundPort]:
        seen: set[str] = set()
        for service, members in self._behind:
            if entry not in members:
                continue
            for port in service.ports:
                layout = entry.sidecar.inbound.get(port.name) if entry.sidecar else None
                if layout is None or port.name in seen:
                    continue
                seen.add(port.name)
                yield InboundPort(
                    name=port.name,
                    port=_target(port),
                    protocol=AppProtocol(port.protocol),
                    listen=_endpoint(entry, port),
                    app=_address(layout),
                    mtls=self._mode(entry, port),
                    program=self.program(entry, port),
                    cut=self._cut(self.program(entry, port)),
                )

    def _destinations(self, caller: WorkloadEntry, declared: set[tuple[str, int]]) -> Iterator[Destination]:
        seen: set[tuple[str, int]] = set()
        principal = self._identity(caller).principal
        for service, members in self._behind:
            for port in service.ports:
                reachable = [m for m in members if may_ever_allow(self.program(m, port), principal)]
                for host in service.hosts:
                    wanted = bool(reachable) or (host, port.number) in declared
                    if wanted and (host, port.number) not in seen:
                        seen.add((host, port.number))
                        yield self._destination(host, service, port, members)

    def _destination(
        self, host: str, _service: ServiceEntry, port: ServicePort, members: tuple[WorkloadEntry, ...]
    ) -> Destination:
        modes = {self._mode(member, port) for member in members}
        trusted = [m for m in members if not self.mesh.revocations.covers(self._identity(m))]
        gone = {str(self._identity(member)) for member in members if member not in trusted}
        return Destination(
            host=host,
            port=port.number,
            protocol=AppProtocol(port.protocol),
            endpoints=tuple(sorted({_endpoint(member, port) for member in trusted})),
            identities=tuple(sorted({str(self._identity(member)) for member in trusted})),
            mtls=modes != {MtlsMode.DISABLE},
            cut=_mark(gone),
        )

    def program(self, entry: WorkloadEntry, port: ServicePort) -> DecisionProgram:
        """What is decided about requests to this port of this workload."""
        protocol = Protocol.HTTP if AppProtocol(port.protocol).is_http else Protocol.TCP
        key = (f"{entry.namespace}/{entry.name}", _target(port), protocol)
        if key not in self._programs:
            settings = self.mesh.settings
            selected = select(self.mesh.policies, workload(entry), settings)
            program = lower(selected, settings, port=_target(port), protocol=protocol)
            self._programs[key] = replace(program, revoked=self._revoked)
        return self._programs[key]

    def _cut(self, program: DecisionProgram) -> str:
        """Changes with those of the revoked who may be connected now; a port they never reached keeps its
        connections."""
        if not self._revoked:
            return ""
        before = replace(program, revoked=Revoked())
        may_be_there = {p for p in self._revoked.principals if may_ever_allow(before, p)}
        return _mark(may_be_there | self._revoked.serials)

    def _mode(self, entry: WorkloadEntry, port: ServicePort) -> MtlsMode:
        found = self.mesh.peer_authentications
        return effective_mode(found, workload(entry), _target(port), self.mesh.settings)

    def _identity(self, entry: WorkloadEntry) -> SpiffeId:
        return workload_id(self._trust_domain, entry.namespace, entry.service_account)


def _mark(cut_off: Iterable[str]) -> str:
    """A short name of a set; "" for none."""
    names = sorted(cut_off)
    return f":{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}" if names else ""


def _target(port: ServicePort) -> int:
    return port.target_port or port.number


def _endpoint(entry: WorkloadEntry, port: ServicePort) -> SocketAddress:
    return SocketAddress(entry.address, entry.ports.get(port.name, _target(port)))


def _socket(text: str) -> SocketAddress:
    host, _, port = text.rpartition(":")
    return SocketAddress(host.strip("[]"), int(port))


def _address(text: str) -> Address:
    return PipeAddress(text.removeprefix("unix://")) if text.startswith("unix://") else _socket(text)
