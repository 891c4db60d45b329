"""The mesh as tables: workloads, services and identities, each found from the others; and what is to be looked at again.

State only. Who fills it: `members` (workloads and services), `deciding` (programs and modes), `reaching` (callers);
`live` drives them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from ca.spiffe_id import SpiffeId
from controlplane.mesh import planning
from controlplane.mesh.labels import Labelled, Selectors
from controlplane.mesh.presence import Presence
from controlplane.resources.service_entry import ServiceEntry, ServicePort
from controlplane.resources.sidecar import Sidecar
from controlplane.resources.workload_entry import WorkloadEntry
from policies.program import DecisionProgram, Protocol
from policies.scope import Audience, audience
from policies.workload import MtlsMode, Workload
from xds.plan import Destination, InboundPort, Locality

Place = tuple[str, int]  # a service's host and port
View = tuple[str, str, Locality]  # a service's host; a caller's namespace and locality


@dataclass(frozen=True, slots=True)
class Judged:
    """A program, with what is asked of it again and again."""

    program: DecisionProgram
    audience: Audience
    cut: str

    @classmethod
    def of(cls, program: DecisionProgram) -> Judged:
        return cls(program, audience(program), planning.cut_mark(program))


@dataclass(eq=False, slots=True)
class Group:
    """Workloads that policy cannot tell apart: replicas, as a rule."""

    workload: Workload
    identity: SpiffeId
    entries: dict[str, WorkloadEntry] = field(default_factory=dict[str, WorkloadEntry])
    services: dict[Hashable, Service] = field(default_factory=lambda: dict[Hashable, Service]())
    programs: dict[tuple[int, Protocol], Judged] = field(default_factory=dict[tuple[int, Protocol], Judged])
    modes: dict[int, MtlsMode] = field(default_factory=dict[int, MtlsMode])
    sidecar: Sidecar | None = None  # the resource that narrows it

    def by_age(self) -> list[ServiceEntry]:
        return [s.entry for s in sorted(self.services.values(), key=lambda s: s.created)]


@dataclass(eq=False, slots=True)
class Target:
    """One port of a service, as something to be called."""

    service: Service
    index: int
    port: ServicePort
    callers: set[str] = field(default_factory=set[str])  # principals
    asked: tuple[tuple[str, str], ...] = ()  # under which keys identities that come later find it
    destinations: dict[str, Destination] = field(default_factory=dict[str, Destination])  # by host
    seen: dict[View, Destination] = field(default_factory=dict[View, Destination])

    @property
    def age(self) -> tuple[int, int]:
        return self.service.created, self.index


@dataclass(eq=False, slots=True)
class Service:
    entry: ServiceEntry
    created: int
    groups: dict[Group, None] = field(default_factory=dict[Group, None])
    targets: list[Target] = field(default_factory=list[Target])


@dataclass(eq=False, slots=True)
class Identity:
    """Everyone who calls with one principal."""

    groups: dict[Group, None] = field(default_factory=dict[Group, None])
    reach: dict[Target, None] = field(default_factory=dict[Target, None])


@dataclass(eq=False, slots=True)
class Node:
    """A proxy's parts as they were last planned.

    `declared`: its upstreams, and the authorizers its own ports ask (`asked`). `closed` as in `Sidecar`.
    """

    entry: WorkloadEntry
    group: Group
    inbound: tuple[InboundPort, ...] = ()
    scope: tuple[Destination, ...] = ()
    declared: frozenset[Place] = frozenset()
    asked: frozenset[Place] = frozenset()
    closed: bool = False


@dataclass(slots=True)
class Dirty:
    """What has to be looked at again; dicts keep the order, so that a run can be repeated."""

    programs: dict[Group, None] = field(default_factory=dict[Group, None])
    modes: dict[Group, None] = field(default_factory=dict[Group, None])
    inbound: dict[Group, None] = field(default_factory=dict[Group, None])
    callers: dict[Target, frozenset[str] | None] = field(default_factory=dict)  # of whom; None: everybody
    destinations: dict[Target, None] = field(default_factory=dict[Target, None])
    newcomers: dict[str, None] = field(default_factory=dict[str, None])
    principals: dict[str, None] = field(default_factory=dict[str, None])
    nodes: dict[str, None] = field(default_factory=dict[str, None])
    edited: dict[str, None] = field(default_factory=dict[str, None])
    gone: dict[str, None] = field(default_factory=dict[str, None])

    def ask(self, target: Target, concerned: frozenset[str] | None) -> None:
        """Who may call it is to be found out again for these principals, besides those already to be asked of."""
        known = self.callers.get(target, frozenset())
        self.callers[target] = None if known is None or concerned is None else known | concerned


@dataclass(slots=True)
class Graph:
    """`watched` are nodes by the agent that watches them, `presences` what those agents say.

    `by_host`, `hosts`, `declarers` and `by_namespace` (of principals) find by what a thing is known by.
    """

    nodes: dict[str, Node] = field(default_factory=dict[str, Node])
    groups: dict[tuple[object, ...], Group] = field(default_factory=dict[tuple[object, ...], Group])
    services: dict[Hashable, Service] = field(default_factory=dict[Hashable, Service])
    identities: dict[str, Identity] = field(default_factory=dict[str, Identity])
    by_namespace: dict[str, dict[str, None]] = field(default_factory=dict[str, dict[str, None]])
    by_labels: Labelled[Group] = field(default_factory=Labelled[Group])
    service_selectors: Selectors[Hashable] = field(default_factory=Selectors[Hashable])
    by_host: dict[Place, dict[Target, None]] = field(default_factory=dict[Place, dict[Target, None]])
    hosts: dict[str, dict[Target, None]] = field(default_factory=dict[str, dict[Target, None]])
    watched: dict[str, dict[str, None]] = field(default_factory=dict[str, dict[str, None]])
    presences: dict[str, Presence] = field(default_factory=dict[str, Presence])
    declarers: dict[Place, dict[str, None]] = field(default_factory=dict[Place, dict[str, None]])
    dirty: Dirty = field(default_factory=Dirty)

    def touch_services(self, group: Group) -> None:
        """The services the group is behind are to be looked at again, as destinations."""
        for service in group.services.values():
            self.dirty.destinations.update(dict.fromkeys(service.targets))

    def tell_users(self, target: Target) -> None:
        """Whoever may call the target, or declares it, is told anew."""
        self.dirty.principals.update(dict.fromkeys(sorted(target.callers)))
        for host in target.service.entry.hosts:
            self.dirty.nodes.update(self.declarers.get((host, target.port.number), {}))

    def declare(self, id_: str) -> None:
        """Whatever becomes of these services, the node is told."""
        node = self.nodes[id_]
        node.asked = planning.asked(node.inbound)
        now = planning.declared(node.entry) | node.asked
        for place in node.declared - now:
            drop(self.declarers, place, id_)
        for place in now - node.declared:
            self.declarers.setdefault(place, {})[id_] = None
        node.declared = now


_Bucket = TypeVar("_Bucket", bound=Hashable)
_Member = TypeVar("_Member", bound=Hashable)


def add(table: dict[_Bucket, dict[_Member, None]], buckets: Iterable[_Bucket], key: _Member) -> None:
    for bucket in buckets:
        table.setdefault(bucket, {})[key] = None


def drop(table: dict[_Bucket, dict[_Member, None]], bucket: _Bucket, key: _Member) -> None:
    table[bucket].pop(key, None)
    if not table[bucket]:
        del table[bucket]
