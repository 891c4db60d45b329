"""What one sidecar needs, and no more: the parts of a ProxyPlan, and the plain way to all of them from a Mesh.

Least privilege: a sidecar is told only of services that policy lets its identity call, or that it declares
as upstreams. `Planner` looks at everything each time: it is the truth that `live`, which looks only at what an
edit can have changed, is tested against; both build the same parts with the functions here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from ca.revocation import Revocations
from ca.spiffe_id import SpiffeId, TrustDomain, workload_id
from controlplane.mesh.mesh import Mesh, workload
from controlplane.mesh.presence import Presence
from controlplane.mesh.traffic import as_seen, chosen, rules_by_host
from controlplane.resources.service_entry import ServiceEntry, ServicePort
from controlplane.resources.sidecar import Egress, Sidecar, admits, sidecar_of
from controlplane.resources.workload_entry import InterceptionLayout, WorkloadEntry
from policies.lower import lower
from policies.observe import is_observed, observed, observed_mode
from policies.peer_authentication import effective_mode
from policies.program import DecisionProgram, Protocol, Revoked
from policies.request_authentication import authentication
from policies.scope import may_ever_allow
from policies.select import select
from policies.workload import MeshSettings, MtlsMode
from xds.plan import (
    AccessLog,
    Address,
    AppProtocol,
    Destination,
    Endpoint,
    InboundPort,
    Interception,
    OriginalDestination,
    PipeAddress,
    ProxyPlan,
    SocketAddress,
    Upstream,
)


@dataclass(frozen=True, slots=True)
class Lookups:
    """What the parts are made of; `cut` is the mark of those who are cut off from a port (see `cut_mark`).

    `ready`: does a workload take requests? It is no endpoint otherwise; what it may present stays as it is.
    """

    domain: TrustDomain
    revocations: Revocations
    program: Callable[[WorkloadEntry, ServicePort], DecisionProgram]
    mode: Callable[[WorkloadEntry, ServicePort], MtlsMode]
    cut: Callable[[WorkloadEntry, ServicePort], str]
    ready: Callable[[WorkloadEntry], bool]


def inbound_ports(
    entry: WorkloadEntry, services: Iterable[ServiceEntry], look: Lookups
) -> Iterator[InboundPort]:
    """The entry's own ports; `services`: those it is behind, oldest first."""
    seen: set[str | int] = set()
    for service in services:
        for port in service.ports:
            app = _application(entry, port)
            names = {port.name, target(port)} if isinstance(app, OriginalDestination) else {port.name}
            if app is None or names & seen:
                continue
            seen |= names
            yield InboundPort(
                name=port.name,
                port=target(port),
                protocol=AppProtocol(port.protocol),
                listen=SocketAddress(entry.address, _port(entry, port)),
                app=app,
                mtls=look.mode(entry, port),
                program=look.program(entry, port),
                cut=look.cut(entry, port),
            )


def destination(
    host: str, port: ServicePort, members: Collection[WorkloadEntry], look: Lookups
) -> Destination:
    """One port of a service under one of its hosts; `members`: the workloads behind it."""
    modes = {look.mode(member, port) for member in members}
    identities = {node_id(member): identity(look.domain, member) for member in members}
    trusted = [m for m in members if not look.revocations.covers(identities[node_id(m)])]
    names = {str(identities[node_id(member)]) for member in trusted}
    return Destination(
        host=host,
        port=port.number,
        protocol=AppProtocol(port.protocol),
        endpoints=tuple(sorted({e for m in trusted if look.ready(m) for e in _endpoints(m, port)})),
        identities=tuple(sorted(names)),
        mtls=modes != {MtlsMode.DISABLE},
        cut=_mark({str(one) for one in identities.values()} - names),
    )


def revoked(revocations: Revocations) -> Revoked:
    """As a program has it."""
    principals = frozenset(one.removeprefix("spiffe://") for one in revocations.identities)
    latest = tuple(one.removeprefix("spiffe://") for one in revocations.latest_identities)
    return Revoked(principals, revocations.serials, latest, revocations.latest_serials)


def cut_mark(program: DecisionProgram) -> str:
    """Changes with those of the revoked who may be connected now; a port they never reached keeps its connections."""
    if not program.revoked:
        return ""
    before = replace(program, revoked=Revoked())
    may_be_there = {p for p in program.revoked.principals if may_ever_allow(before, p)}
    return _mark(may_be_there | program.revoked.serials)


def proxy_plan(
    entry: WorkloadEntry,
    settings: MeshSettings,
    inbound: tuple[InboundPort, ...],
    destinations: tuple[Destination, ...],
    access_log: AccessLog,
    jwks: Mapping[str, str],
    *,
    closed: bool,
) -> ProxyPlan | None:
    """The parts put together; None for a workload without a sidecar. `jwks`: by `JwtRule.key_source`.

    `closed` as in `Sidecar`.
    """
    if entry.sidecar is None:
        return None
    return ProxyPlan(
        node_id=node_id(entry),
        trust_domains=(settings.trust_domain, *settings.trust_domain_aliases),
        path_normalization=settings.path_normalization,
        inbound=inbound,
        http_proxy=_socket(entry.sidecar.http_proxy) if entry.sidecar.http_proxy else None,
        destinations=destinations,
        upstreams=tuple(
            Upstream(u.name, _socket(u.listen), u.service, u.port) for u in entry.sidecar.upstreams
        ),
        access_log=access_log,
        trusted_proxies=settings.trusted_proxies,
        explain_denials=settings.explain_denials,
        jwks=tuple((source, jwks[source]) for source in sorted(key_sources(inbound)) if source in jwks),
        interception=interception(entry.sidecar.interception, closed=closed),
        proxyless=entry.sidecar.proxyless,
    )


class Planner:
    """Plans proxies of one Mesh; make a new one when the mesh changes."""

    def __init__(
        self, mesh: Mesh, access_log: AccessLog = AccessLog.DENIED, jwks: Mapping[str, str] | None = None
    ) -> None:
        self.mesh = mesh
        self._jwks = jwks or {}
        self._access_log = access_log
        self._domain = TrustDomain.parse(mesh.settings.trust_domain)
        self._entries = {node_id(entry): entry for entry in mesh.entries}
        self._programs: dict[tuple[str, int, Protocol], DecisionProgram] = {}
        self._presences = {one.agent: one for one in mesh.presences}
        self._rules = rules_by_host(mesh.destination_rules)
        self._behind = [(service, mesh.selected_by(service)) for service in mesh.services]
        self._revoked = revoked(mesh.revocations)
        self._look = Lookups(
            self._domain,
            mesh.revocations,
            self.program,
            self._mode,
            lambda entry, port: cut_mark(self.program(entry, port)),
            lambda entry: is_ready(entry, self._presences.get(entry.watched_by)),
        )

    @property
    def node_ids(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def identity(self, node_id: str) -> SpiffeId | None:
        """The one identity that may claim `node_id`; None when no such workload is registered."""
        entry = self._entries.get(node_id)
        return None if entry is None else identity(self._domain, entry)

    def plan(self, node_id: str) -> ProxyPlan | None:
        """None when the node is not registered or has no sidecar."""
        entry = self._entries.get(node_id)
        if entry is None:
            return None
        services = [service for service, members in self._behind if entry in members]
        inbound = tuple(inbound_ports(entry, services, self._look))
        root = self.mesh.settings.root_namespace
        sidecar = sidecar_of(self.mesh.sidecars, entry.namespace, entry.labels, root)
        egress, closed = sidecar.egress if sidecar else None, is_closed(entry, sidecar)
        destinations = tuple(self._destinations(entry, asked(inbound), egress))
        return proxy_plan(
            entry, self.mesh.settings, inbound, destinations, self._access_log, self._jwks, closed=closed
        )

    def _destinations(
        self,
        caller: WorkloadEntry,
        asked: frozenset[tuple[str, int]],
        egress: tuple[Egress, ...] | None,
    ) -> Iterator[Destination]:
        seen: set[tuple[str, int]] = set()
        principal = identity(self._domain, caller).principal
        root = self.mesh.settings.root_namespace
        for service, members in self._behind:
            for port in service.ports:
                reachable = any(may_ever_allow(self.program(m, port), principal) for m in members)
                for host in service.hosts:
                    place = (host, port.number)
                    wanted = reachable or place in declared(caller)
                    wanted = wanted and admits(egress, caller.namespace, service.namespace, host)
                    if (wanted or place in asked) and place not in seen:
                        seen.add(place)
                        rule = chosen(self._rules, caller.namespace, service.namespace, host, root)
                        yield as_seen(destination(host, port, members, self._look), rule, caller.locality)

    def program(self, entry: WorkloadEntry, port: ServicePort) -> DecisionProgram:
        """What is decided about requests to this port of this workload."""
        key = (node_id(entry), target(port), protocol(port))
        if key not in self._programs:
            settings = self.mesh.settings
            selected = select(self.mesh.policies, workload(entry), settings)
            tokens = authentication(self.mesh.request_authentications, workload(entry), settings)
            program = lower(selected, settings, port=key[1], protocol=key[2], authentication=tokens)
            if is_observed(workload(entry)):
                program = observed(program, self._effective(entry, key[1]))
            self._programs[key] = replace(program, revoked=self._revoked)
        return self._programs[key]

    def _mode(self, entry: WorkloadEntry, port: ServicePort) -> MtlsMode:
        mode = self._effective(entry, target(port))
        return observed_mode(mode) if is_observed(workload(entry)) else mode

    def _effective(self, entry: WorkloadEntry, port: int) -> MtlsMode:
        return effective_mode(self.mesh.peer_authentications, workload(entry), port, self.mesh.settings)


def node_id(entry: WorkloadEntry) -> str:
    return f"{entry.namespace}/{entry.name}"


def identity(domain: TrustDomain, entry: WorkloadEntry) -> SpiffeId:
    return workload_id(domain, entry.namespace, entry.service_account)


def declared(entry: WorkloadEntry) -> frozenset[tuple[str, int]]:
    """(host, port) of the upstreams a workload says it needs, whatever policy says."""
    return frozenset((u.service, u.port) for u in entry.sidecar.upstreams) if entry.sidecar else frozenset()


def asked(inbound: Iterable[InboundPort]) -> frozenset[tuple[str, int]]:
    """(host, port) of the external authorizers that the ports' CUSTOM rules put requests to."""
    found = (d.authorizer for port in inbound for d in port.program.delegations)
    return frozenset((one.service, one.port) for one in found if one is not None)


def is_closed(entry: WorkloadEntry, sidecar: Sidecar | None) -> bool:
    """Does the Sidecar take the way out of the mesh that the workload's layout opens?"""
    opened = (
        entry.sidecar is not None
        and entry.sidecar.interception is not None
        and entry.sidecar.interception.passthrough
    )
    return opened and sidecar is not None and sidecar.closed


def is_ready(entry: WorkloadEntry, presence: Presence | None) -> bool:
    """A workload that nobody watches is always ready."""
    return not entry.watched_by or (presence is not None and presence.holds(node_id(entry)))


def key_sources(inbound: Iterable[InboundPort]) -> set[str]:
    """Where the keys of the ports' token rules are fetched from."""
    return {rule.key_source for port in inbound for rule in port.program.authentication.rules} - {""}


def protocol(port: ServicePort) -> Protocol:
    return _protocol(port.protocol)


@cache
def _protocol(name: str) -> Protocol:
    """There are a handful, and it is asked for at every edit of every replica."""
    return Protocol.HTTP if AppProtocol(name).is_http else Protocol.TCP


def _mark(cut_off: Iterable[str]) -> str:
    """A short name of a set; "" for none."""
    names = sorted(cut_off)
    return f":{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}" if names else ""


def target(port: ServicePort) -> int:
    return port.target_port or port.number


def _application(entry: WorkloadEntry, port: ServicePort) -> Address | OriginalDestination | None:
    """Where a port's requests go from the sidecar; None when the sidecar does not serve the port."""
    if entry.sidecar is None:
        return None
    if entry.sidecar.interception is not None:
        return OriginalDestination()
    if entry.sidecar.proxyless:
        return SocketAddress(entry.address, _port(entry, port))
    layout = entry.sidecar.inbound.get(port.name)
    return None if layout is None else _address(layout)


def _port(entry: WorkloadEntry, port: ServicePort) -> int:
    return entry.ports.get(port.name, target(port))


def _endpoints(entry: WorkloadEntry, port: ServicePort) -> list[Endpoint]:
    taken = entry.sidecar.interception if entry.sidecar else None
    addresses = {entry.address, *(taken.addresses if taken else ())}
    where = (SocketAddress(address, _port(entry, port)) for address in addresses)
    return [Endpoint(one, entry.locality) for one in where]


def interception(layout: InterceptionLayout | None, *, closed: bool) -> Interception | None:
    """`closed`: whatever the layout says, nothing is passed on to what is no service."""
    if layout is None:
        return None
    return Interception(
        inbound=tuple(
            SocketAddress(host, layout.inbound_port)
            for host in ("0.0.0.0", *(["::"] if layout.ipv6 else []))  # noqa: S104 - what is redirected arrives at any address
        ),
        outbound=tuple(
            SocketAddress(host, layout.outbound_port)
            for host in ("127.0.0.1", *(["::1"] if layout.ipv6 else []))
        ),
        networks=layout.networks,
        passthrough=layout.passthrough and not closed,
    )


@lru_cache(4096)
def _socket(text: str) -> SocketAddress:
    """Replicas are laid out alike, and share it."""
    host, _, port = text.rpartition(":")
    return SocketAddress(host.strip("[]"), int(port))


def _address(text: str) -> Address:
    return PipeAddress(text.removeprefix("unix://")) if text.startswith("unix://") else _socket(text)
